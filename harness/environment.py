"""Describes where a trial ran: versions and hardware, recorded with every result."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from scoring.escaping import error_message
from scoring.files import private_folder
from scoring.records import UserError

_PACKAGES = ("chronograd", "torch", "numpy", "ray", "schedulefree")


def describe(device: str, threads: int) -> dict[str, Any]:
    """Returns versions, processor, GPU and host of this process."""
    return {
        "versions": dict(_versions()),
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "pid": os.getpid(),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "threads": threads,
        "device": device,
        "gpu": gpu_model(device),
        "native_bfloat16": has_bfloat16(device),
    }


def scratch() -> Path:
    """Returns this user's temporary folder on this machine, for files that can be recreated.

    Raises:
        UserError: The folder is not private to this user.
    """
    folder = Path(tempfile.gettempdir()) / f"chronograd-{os.geteuid()}"
    try:
        return private_folder(folder)
    except OSError as error:
        reason = error_message(error)
        raise UserError(
            f"{folder}: cannot be used ({reason}); remove it, or set TMPDIR to another folder"
        ) from None


def node_type(device: str) -> str:
    """Returns the hardware that step times depend on: the GPU model, or else the CPU model."""
    return gpu_model(device) or cpu_model()


def cpu_model() -> str:
    """Returns the processor's name as reported by the operating system."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def has_bfloat16(device: str) -> bool:
    """Whether the device has instructions for bfloat16 products; some methods depend on it.

    `submissions.muon` computes in float32 on a CPU without them.
    """
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def gpu_model(device: str) -> str | None:
    """Returns the GPU's name; None for a trial on a CPU."""
    if device != "cuda":
        return None
    import torch

    return torch.cuda.get_device_name()


def installed_version(package: str) -> str | None:
    """Returns the version of a package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _versions() -> Mapping[str, str | None]:
    """Returns the versions of the packages that results depend on."""
    return {name: installed_version(name) for name in _PACKAGES}


@cache
def _git_commit() -> str | None:
    """Returns the commit of the checkout that this code runs from, with `+` if it is modified."""
    here = Path(__file__).parent
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=40"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
