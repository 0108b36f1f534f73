"""What the process of an attempt says to the executor that runs it: one class per kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scoring.records import EvalRow, TrialResult


@dataclass(frozen=True, slots=True)
class Started:
    """The process runs."""

    where: Mapping[str, Any]  # node, host, pid, niceness, gpus


@dataclass(frozen=True, slots=True)
class Loaded:
    """Workload and submission are imported: from now on silence is a hang."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The trial resumes from a checkpoint."""

    rows: list[EvalRow]  # that the checkpoint holds


@dataclass(frozen=True, slots=True)
class Measured:
    """The trial was evaluated."""

    row: EvalRow


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
    """A sign of life, while there is nothing else to say."""

    steps: int  # of this attempt


@dataclass(frozen=True, slots=True)
class Ended:
    """The attempt ended by itself."""

    result: TrialResult


@dataclass(frozen=True, slots=True)
class Broken:
    """The attempt failed outside the trial."""

    traceback: str


OfTrial = Loaded | Resumed | Measured | NotResumable | NotRestored  # said from inside the trial
Message = Started | OfTrial | Beat | Ended | Broken
