"""Checks the hardware of this machine, and whether it has other work: CPU, memory, GPUs, disks."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from harness.commands.doctor import ANSWER_SECONDS, GIB, Check, State, last_line
from harness.environment import cpu_model

LOW_MEMORY = 4 * GIB
LOW_DISK, FULL_DISK = 10 * GIB, 1 * GIB
BUSY = 0.5  # runnable processes per core
_GPU_FACTS = "name,driver_version,memory.total,memory.free"  # memory in MiB


def processor() -> Check:
    """Checks the CPU, and whether it has other work."""
    cores, load = usable_cores(), os.getloadavg()[0]
    found = f"{cpu_model()}, {cores} cores, load {load:.1f}"
    if load > BUSY * cores:
        advice = "other work distorts step times: end it, or wait until it is done"
        return Check("CPU", State.WARNING, found, advice)
    return Check("CPU", State.OK, found)


def usable_cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory(info: Path = Path("/proc/meminfo")) -> Check:
    """Checks main memory; it is unknown on systems without the file `info`."""
    if not info.is_file():
        return Check("memory", State.OK, "unknown on this system")
    lines = (line.split() for line in info.read_text(encoding="ascii").splitlines())
    sizes = {name: 1024 * float(size) for name, size, *_ in lines}  # "MemTotal: 123 kB"
    total, free = sizes["MemTotal:"], sizes["MemAvailable:"]
    found = f"{total / GIB:.1f} GiB, {free / GIB:.1f} GiB available"
    if free < LOW_MEMORY:
        advice = "low: run fewer trials at once (--max-concurrent), or end other work"
        return Check("memory", State.WARNING, found, advice)
    return Check("memory", State.OK, found)


def gpus() -> list[Check]:
    """Checks the GPUs that the driver lists, and whether torch sees them."""
    if shutil.which("nvidia-smi") is None:
        return [Check("GPUs", State.OK, "none: trials train on the CPU")]
    command = ["nvidia-smi", f"--query-gpu={_GPU_FACTS}", "--format=csv,noheader,nounits"]
    try:
        listing = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "output", "") or str(error)
        advice = "fix the NVIDIA driver; until then trials can train only on the CPU"
        return [Check("GPUs", State.WARNING, f"nvidia-smi fails: {last_line(output)}", advice)]
    import torch

    checks = [_gpu(number, line) for number, line in enumerate(listing.splitlines())]
    seen = torch.cuda.device_count()
    found = f"torch {torch.__version__} sees {seen} of {len(checks)}"
    if seen == 0 and checks:
        advice = "install torch for this driver's CUDA version, and check CUDA_VISIBLE_DEVICES"
        return [*checks, Check("GPUs", State.WARNING, found, advice)]
    return [*checks, Check("GPUs", State.OK, found)]


def _gpu(number: int, line: str) -> Check:
    """Checks one GPU, from nvidia-smi's line of `_GPU_FACTS`, in which a size may be "[N/A]"."""
    model, driver, *sizes = (cell.strip() for cell in line.rsplit(",", 3))
    name, found = f"GPU {number}", f"{model}, driver {driver}"
    try:
        total, free = (float(size) / 1024 for size in sizes)
    except ValueError:
        return Check(name, State.OK, f"{found}, memory unknown")
    found += f", {total:.1f} GiB, {free:.1f} GiB free"
    if free < 0.9 * total:
        advice = "other work uses its memory and distorts step times: see nvidia-smi"
        return Check(name, State.WARNING, found, advice)
    return Check(name, State.OK, found)


def disk(what: str, folder: Path, *, must_exist: bool = False) -> Check:
    """Checks the free space of a folder.

    Args:
        what: What the folder is for.
        folder: The folder.
        must_exist: Whether it must exist already; other folders are created when needed, and must
            be writable.
    """
    name, there = f"disk: {what}", folder.absolute()
    if must_exist and not folder.is_dir():
        return Check(name, State.PROBLEM, f"{folder}: no such folder", "pass the right folder")
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    found = f"{folder}: {free / GIB:,.1f} GiB free"
    if not must_exist and not os.access(there, os.W_OK):
        advice = "choose another folder, or change its permissions"
        return Check(name, State.PROBLEM, f"{found}, not writable", advice)
    if free < FULL_DISK:
        return Check(name, State.PROBLEM, found, "free space, or use a folder on another disk")
    if free < LOW_DISK:
        advice = "low: free space, or use a folder on another disk"
        return Check(name, State.WARNING, found, advice)
    return Check(name, State.OK, found)
