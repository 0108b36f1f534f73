"""The messages that the process of an attempt sends to its executor: one class per kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from logging import LogRecord
from typing import Any

from scoring.records import EvalRow, TrialResult


@dataclass(frozen=True, slots=True)
class Started:
    """The process has started."""

    where: Mapping[str, Any]  # node, host, pid, niceness, gpus


@dataclass(frozen=True, slots=True)
class Loaded:
    """Workload and submission are imported: no message from now on is a hang."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The trial resumes from a checkpoint."""

    rows: list[EvalRow]  # those that the checkpoint holds


@dataclass(frozen=True, slots=True)
class Measured:
    """The trial was evaluated."""

    row: EvalRow


@dataclass(frozen=True, slots=True)
class Printed:
    """The trial printed something."""

    text: str
    stream: str = "stdout"  # or "stderr"


@dataclass(frozen=True, slots=True)
class Logged:
    """The process wrote a line of the debug log."""

    line: LogRecord


@dataclass(frozen=True, slots=True)
class NotResumable:
    """A checkpoint could not be saved."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotRestored:
    """A checkpoint could not be restored."""

    reason: str


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life, sent while there is nothing else to report."""

    steps: int  # of this attempt


@dataclass(frozen=True, slots=True)
class Ended:
    """The attempt ended with a result."""

    result: TrialResult


@dataclass(frozen=True, slots=True)
class Broken:
    """The attempt failed outside the trial, in the harness."""

    traceback: str


OfTrial = Loaded | Resumed | Measured | NotResumable | NotRestored  # sent from inside the trial
Message = Started | OfTrial | Printed | Beat | Ended | Broken
