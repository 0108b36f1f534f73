"""What a trial knows of the outside: whom it reports to, and who keeps its checkpoints."""

from __future__ import annotations

from typing import Any, Protocol

from scoring.records import EvalRow


class Control(Protocol):
    """All that a trial knows of the outside."""

    def report(self, row: EvalRow) -> None:
        """Takes one evaluation, as soon as it was made. Not timed."""

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Keeps a checkpoint: plain data and tensors. Not timed."""

    def restore(self, until: float) -> dict[str, Any] | None:
        """The last checkpoint of an earlier attempt, of step `until` at most; None for none."""

    def resumed(self, rows: list[EvalRow]) -> None:
        """Takes notice that the trial goes on from a checkpoint, which holds these rows."""

    def not_resumable(self, reason: str) -> None:
        """Takes notice that there will be no checkpoints, and why."""

    def beat(self) -> float:
        """Called after every step: the trial is alive. Timed, so it costs next to nothing.

        Returns:
            The second of the submission clock past which the trial matters no more.
        """


class ControlError(RuntimeError):
    """The outside failed to take a row: a fault of the harness's surroundings, not of the trial."""
