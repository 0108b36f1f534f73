"""How a trial's end is described: what went wrong, and the memory it took."""

from __future__ import annotations

import resource
import sys
import traceback
from typing import Any

import torch

from harness.spec import DataError
from scoring.escaping import error_message, error_text, printable
from scoring.records import Failure

TRACEBACK_CHARACTERS = 4000


def describe_error(error: BaseException) -> dict[str, Any]:
    """The message, one line, and the traceback's tail, as a failed TrialResult holds them.

    Whatever the exception holds, and whatever its `__str__` does, both can be printed and written.
    """
    lines = "".join(traceback.format_exception(error))
    return {
        "message": error_message(error),
        "traceback": printable(lines[-TRACEBACK_CHARACTERS:]),
    }


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the GPU or the machine had no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in error_text(error)


def failure_of(error: BaseException, phase: Failure | None) -> Failure | None:
    """Whose fault an exception is: `phase`, unless the exception itself says more."""
    if is_out_of_memory(error):
        return Failure.OOM
    return Failure.DATA_ERROR if isinstance(error, DataError) else phase


def peak_memory(device: torch.device) -> int:
    """Peak bytes allocated on the GPU, or the peak resident size of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
