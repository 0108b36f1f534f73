"""What this machine is, and whether trials have it to themselves: CPU, memory, GPUs, disks."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from harness.commands.doctor import ANSWER_SECONDS, GIB, Check, State, last_line
from harness.environment import cpu_model

LITTLE_MEMORY = 4 * GIB
LITTLE_DISK, HARDLY_ANY_DISK = 10 * GIB, 1 * GIB
BUSY = 0.5  # runnable processes per core
_GPU_FACTS = "name,driver_version,memory.total,memory.free"  # memory in MiB


def processor() -> Check:
    """The CPU, and whether it has other work."""
    cores, load = usable_cores(), os.getloadavg()[0]
    found = f"{cpu_model()}, {cores} cores, load {load:.1f}"
    if load > BUSY * cores:
        advice = "other work disturbs step times: wait for it, or end it"
        return Check("CPU", State.WARNING, found, advice)
    return Check("CPU", State.OK, found)


def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory(info: Path = Path("/proc/meminfo")) -> Check:
    """Main memory; of a system that keeps no `info` nothing is known."""
    if not info.is_file():
        return Check("memory", State.OK, "not known on this system")
    lines = (line.split() for line in info.read_text(encoding="ascii").splitlines())
    sizes = {name: 1024 * float(size) for name, size, *_ in lines}  # "MemTotal: 123 kB"
    total, free = sizes["MemTotal:"], sizes["MemAvailable:"]
    found = f"{total / GIB:.1f} GiB, {free / GIB:.1f} GiB available"
    if free < LITTLE_MEMORY:
        advice = "little: run fewer trials at once (more --cpus-per-trial), or end other work"
        return Check("memory", State.WARNING, found, advice)
    return Check("memory", State.OK, found)


def gpus() -> list[Check]:
    """Every GPU that the driver shows, and whether torch sees them."""
    if shutil.which("nvidia-smi") is None:
        return [Check("GPUs", State.OK, "none: trials train on the CPU")]
    command = ["nvidia-smi", f"--query-gpu={_GPU_FACTS}", "--format=csv,noheader,nounits"]
    try:
        listing = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "output", "") or str(error)
        advice = "mend the NVIDIA driver; trials can train on the CPU alone"
        return [Check("GPUs", State.WARNING, f"nvidia-smi fails: {last_line(said)}", advice)]
    import torch

    checks = [_gpu(number, line) for number, line in enumerate(listing.splitlines())]
    seen = torch.cuda.device_count()
    found = f"torch {torch.__version__} sees {seen} of {len(checks)}"
    if seen == 0 and checks:
        advice = "install torch for this driver's CUDA, and look at CUDA_VISIBLE_DEVICES"
        return [*checks, Check("GPUs", State.WARNING, found, advice)]
    return [*checks, Check("GPUs", State.OK, found)]


def _gpu(number: int, line: str) -> Check:
    """One GPU, from nvidia-smi's line of `_GPU_FACTS`; a size may be "[N/A]"."""
    model, driver, *sizes = (cell.strip() for cell in line.rsplit(",", 3))
    name, found = f"GPU {number}", f"{model}, driver {driver}"
    try:
        total, free = (float(size) / 1024 for size in sizes)
    except ValueError:
        return Check(name, State.OK, f"{found}, memory not known")
    found += f", {total:.1f} GiB, {free:.1f} GiB free"
    if free < 0.9 * total:
        advice = "other work holds its memory and disturbs step times: see nvidia-smi"
        return Check(name, State.WARNING, found, advice)
    return Check(name, State.OK, found)


def disk(what: str, folder: Path, *, made: bool = True) -> Check:
    """The free space of a folder.

    Args:
        what: What the folder is for.
        folder: Where.
        made: Whether it is made when needed, so that it may be absent.
    """
    name, there = f"disk: {what}", folder.absolute()
    if not made and not folder.is_dir():
        return Check(name, State.PROBLEM, f"{folder}: no such folder", "name the right one")
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    found = f"{folder}: {free / GIB:,.1f} GiB free"
    if made and not os.access(there, os.W_OK):
        advice = "name another one, or have it made writable"
        return Check(name, State.PROBLEM, f"{found}, not writable", advice)
    if free < HARDLY_ANY_DISK:
        return Check(name, State.PROBLEM, found, "make room, or name a folder on another disk")
    if free < LITTLE_DISK:
        advice = "little: make room, or name a folder on another disk"
        return Check(name, State.WARNING, found, advice)
    return Check(name, State.OK, found)
