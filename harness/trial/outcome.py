"""Describes how a trial ended: its error, the class of the failure, and its peak memory."""

from __future__ import annotations

import resource
import sys
import traceback
from pathlib import Path
from typing import Any

import torch

from harness.spec import DataError
from harness.submission.source import place_of
from scoring.escaping import error_message, error_text, printable
from scoring.records import Failure

TRACEBACK_CHARACTERS = 4000


def describe_error(error: BaseException, folder: Path | None = None) -> dict[str, Any]:
    """Returns the message in one line and the end of the traceback, for a failed TrialResult.

    Both can be printed and written to a file, whatever the exception contains. The message ends
    with the place in the submission's files where the exception arose, if it did.

    Args:
        error: The exception.
        folder: The submission's folder; None if the place is not needed.
    """
    try:
        lines = "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 - the exception may have any attributes
        calls = BaseException.__dict__["__traceback__"].__get__(error)
        lines = "".join([*traceback.format_tb(calls), error_message(error), "\n"])
    place = "" if folder is None else place_of(error, folder)
    return {
        "message": error_message(error, place),
        "traceback": printable(lines[-TRACEBACK_CHARACTERS:]),
    }


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether the GPU or the machine ran out of memory."""
    kind = type(error)  # `isinstance` would ask the exception
    if issubclass(kind, (torch.OutOfMemoryError, MemoryError)):
        return True
    return issubclass(kind, RuntimeError) and "can't allocate memory" in error_text(error)


def failure_of(error: BaseException, phase: Failure | None) -> Failure | None:
    """Returns the class of a failure: `phase`, unless the exception itself is more specific."""
    if is_out_of_memory(error):
        return Failure.OOM
    return Failure.DATA_ERROR if issubclass(type(error), DataError) else phase


def peak_memory(device: torch.device) -> int:
    """Returns the peak bytes allocated on the GPU, or the peak resident size of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
