"""Checks the hardware of this machine, and whether it has other work: CPU, memory, GPUs, disks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil
import pynvml

from harness.commands.doctor import GIB
from harness.commands.finding import Finding, State
from harness.environment import cpu_model

LOW_MEMORY = 4 * GIB
LOW_DISK, FULL_DISK = 10 * GIB, 1 * GIB
BUSY = 0.5  # runnable processes per core


def processor() -> Finding:
    """Checks the CPU, and whether it has other work."""
    cores, load = usable_cores(), os.getloadavg()[0]
    found = f"{cpu_model()}, {cores} cores, load {load:.1f}"
    if load > BUSY * cores:
        advice = "other work distorts step times: end it, or wait until it is done"
        return Finding("CPU", "", State.WARNING, found, advice)
    return Finding("CPU", "", State.OK, found)


def usable_cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> Finding:
    """Checks main memory."""
    size = psutil.virtual_memory()
    found = f"{size.total / GIB:.1f} GiB, {size.available / GIB:.1f} GiB available"
    if size.available < LOW_MEMORY:
        advice = "low: run fewer trials at once (--max-concurrent), or end other work"
        return Finding("memory", "", State.WARNING, found, advice)
    return Finding("memory", "", State.OK, found)


def gpus() -> list[Finding]:
    """Checks the GPUs that the driver lists, and whether torch sees them."""
    import torch

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return [Finding("GPUs", "", State.OK, "none: trials train on the CPU")]
    except pynvml.NVMLError as error:
        advice = "fix the NVIDIA driver; until then trials can train only on the CPU"
        return [Finding("GPUs", "", State.WARNING, f"the NVIDIA driver fails: {error}", advice)]
    try:
        checks = [_gpu(number) for number in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()
    seen = torch.cuda.device_count()
    found = f"torch {torch.__version__} sees {seen} of {len(checks)}"
    if seen == 0 and checks:
        advice = "install torch for this driver's CUDA version, and check CUDA_VISIBLE_DEVICES"
        return [*checks, Finding("GPUs", "", State.WARNING, found, advice)]
    return [*checks, Finding("GPUs", "", State.OK, found)]


def _gpu(number: int) -> Finding:
    """Checks one GPU; some models do not report their memory."""
    name = f"GPU {number}"
    try:
        device = pynvml.nvmlDeviceGetHandleByIndex(number)
        driver = pynvml.nvmlSystemGetDriverVersion()
        found = f"{pynvml.nvmlDeviceGetName(device)}, driver {driver}"
    except pynvml.NVMLError as error:
        return Finding(
            name, "", State.WARNING, f"fails: {error}", "reset it, or restart the machine"
        )
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(device)
    except pynvml.NVMLError:
        return Finding(name, "", State.OK, f"{found}, memory unknown")
    found += f", {memory.total / GIB:.1f} GiB, {memory.free / GIB:.1f} GiB free"
    if memory.free < 0.9 * memory.total:
        advice = "other work uses its memory and distorts step times: see nvidia-smi"
        return Finding(name, "", State.WARNING, found, advice)
    return Finding(name, "", State.OK, found)


def disk(what: str, folder: Path, *, must_exist: bool = False) -> Finding:
    """Checks the free space of a folder.

    Args:
        what: What the folder is for.
        folder: The folder.
        must_exist: Whether it must exist already; other folders are created when needed, and must
            be writable.
    """
    there = folder.absolute()
    if must_exist and not folder.is_dir():
        found = f"{folder}: no such folder"
        return Finding("disk", what, State.PROBLEM, found, "pass the right folder")
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    found = f"{folder}: {free / GIB:,.1f} GiB free"
    if not must_exist and not os.access(there, os.W_OK):
        advice = "choose another folder, or change its permissions"
        return Finding("disk", what, State.PROBLEM, f"{found}, not writable", advice)
    if free < FULL_DISK:
        advice = "free space, or use a folder on another disk"
        return Finding("disk", what, State.PROBLEM, found, advice)
    if free < LOW_DISK:
        advice = "low: free space, or use a folder on another disk"
        return Finding("disk", what, State.WARNING, found, advice)
    return Finding("disk", what, State.OK, found)
