"""The interface through which a trial reports evaluations and keeps checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, Protocol

from scoring.records import EvalRow

if TYPE_CHECKING:
    from harness.checkpoint.snapshot import Snapshot

Read = Callable[[IO[bytes]], dict[str, Any]]


class Control(Protocol):
    """What the trial loop calls to report evaluations and to keep checkpoints."""

    def report(self, row: EvalRow) -> None:
        """Called after every evaluation, with its results. Not timed."""

    def save(self, step: int, snapshot: Snapshot) -> None:
        """Saves a checkpoint; if that fails, the trial continues without it. Not timed."""

    def save_final(self, step: int, snapshot: Snapshot) -> None:
        """Saves the weights at the end of the trial; a failure is ignored. Not timed."""

    def restore(self, until: float, read: Read) -> dict[str, Any] | None:
        """Returns the last checkpoint of an earlier attempt; None if there is none.

        Args:
            until: The last step whose checkpoint may be returned.
            read: Reads a checkpoint file; a file that it cannot read is skipped.
        """

    def resumed(self, rows: list[EvalRow]) -> None:
        """Called when the trial resumes from a checkpoint, which holds these rows."""

    def beat(self) -> float:
        """Called after every step, as a sign of life. Timed, so it must be cheap.

        Returns:
            The submission time, in seconds, after which the trial's result no longer matters.
        """


class ControlError(RuntimeError):
    """An evaluation could not be reported: a failure outside the trial, not one of the trial."""
