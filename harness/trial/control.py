"""What a trial knows of the outside: whom it reports to, and who keeps its checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, Protocol

from scoring.records import EvalRow

if TYPE_CHECKING:
    from harness.checkpoint.snapshot import Snapshot

Read = Callable[[IO[bytes]], dict[str, Any]]


class Control(Protocol):
    """All that a trial knows of the outside."""

    def report(self, row: EvalRow) -> None:
        """Takes one evaluation, as soon as it was made. Not timed."""

    def save(self, step: int, snapshot: Snapshot) -> None:
        """Keeps a checkpoint; where it cannot, the trial continues without. Not timed."""

    def save_final(self, step: int, snapshot: Snapshot) -> None:
        """Keeps the weights of the evaluation that reached the goal, likewise."""

    def restore(self, until: float, read: Read) -> dict[str, Any] | None:
        """The last checkpoint of an earlier attempt, of step `until` at most; None for none.

        Args:
            until: A step.
            read: Reads a file, and may fail: the checkpoint is then none.
        """

    def resumed(self, rows: list[EvalRow]) -> None:
        """Is called when the trial resumes from a checkpoint, which holds these rows."""

    def beat(self) -> float:
        """Called after every step: the trial is alive. Timed, so it costs next to nothing.

        Returns:
            The second of the submission clock past which the trial matters no more.
        """


class ControlError(RuntimeError):
    """The outside failed to take a row: a fault of the harness's surroundings, not of the trial."""
