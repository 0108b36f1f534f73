"""Who looks on at a sweep: the progress display and the trackers, none of which can harm it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from scoring.escaping import error_message, first_line
from scoring.records import EvalRow, TrialResult, TrialSpec

if TYPE_CHECKING:  # the plan imports torch, which a trial's process must not do too early
    from scoring.experiment import Experiment


class SweepCallback(Protocol):
    """Somebody who looks on: a live table, plain lines, a tracker."""

    def on_sweep_start(self, experiment: Experiment, out: Path, left: Sequence[TrialSpec]) -> None:
        """Called once, before the first trial; `out` has the plan and a ledger."""

    def on_trial_start(self, spec: TrialSpec) -> None:
        """A trial began."""

    def on_evaluation(self, spec: TrialSpec, row: EvalRow) -> None:
        """A trial was evaluated."""

    def on_trial_end(self, spec: TrialSpec, result: TrialResult) -> None:
        """A trial ended, and its records are on the disk."""

    def on_message(self, spec: TrialSpec | None, message: str) -> None:
        """Something that a user should know of a trial, or of the sweep."""


class CallbackList:
    """Several callbacks as one, called one after another.

    What one of them raises reaches neither the others nor the sweep: a console that cannot be
    written, or a table that cannot be drawn, costs no trial. The first time, a line on stderr says
    so.
    """

    def __init__(self, callbacks: Sequence[SweepCallback]) -> None:
        self._watchers = callbacks
        self._failed: set[int] = set()  # of which it was said

    def on_sweep_start(self, experiment: Experiment, out: Path, left: Sequence[TrialSpec]) -> None:
        """Passed on."""
        self._call("on_sweep_start", experiment, out, left)

    def on_trial_start(self, spec: TrialSpec) -> None:
        """Passed on."""
        self._call("on_trial_start", spec)

    def on_evaluation(self, spec: TrialSpec, row: EvalRow) -> None:
        """Passed on."""
        self._call("on_evaluation", spec, row)

    def on_trial_end(self, spec: TrialSpec, result: TrialResult) -> None:
        """Passed on."""
        self._call("on_trial_end", spec, result)

    def on_message(self, spec: TrialSpec | None, message: str) -> None:
        """Passed on, as one printable line."""
        self._call("on_message", spec, first_line(message))

    def _call(self, method: str, *arguments: Any) -> None:
        for number, callback in enumerate(self._watchers):
            try:
                getattr(callback, method)(*arguments)
            except Exception as error:  # noqa: BLE001 - whatever a display raises
                if number not in self._failed:
                    self._failed.add(number)
                    warn_of_display(error)


def warn_of_display(error: Exception) -> None:
    """Says on stderr, if that can be written, that progress was not shown."""
    with suppress(Exception):
        sys.stderr.write(
            f"warning: progress cannot be shown ({error_message(error)}); the sweep continues\n"
        )
        sys.stderr.flush()
