"""Callbacks of a sweep, such as the progress display and trackers; they cannot make it fail."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from scoring.escaping import error_message, first_line
from scoring.records import EvalRow, TrialResult, TrialSpec

if TYPE_CHECKING:  # a trial's process need not import pydantic
    from scoring.experiment import Experiment


class SweepCallback(Protocol):
    """Receives the events of a sweep: a live table, plain lines, a tracker."""

    def on_sweep_start(self, experiment: Experiment, out: Path, left: Sequence[TrialSpec]) -> None:
        """Called before the first trial, and when studies are added; `out` has plan and ledger."""

    def on_trial_start(self, spec: TrialSpec) -> None:
        """Called when an attempt of a trial has started."""

    def on_evaluation(self, spec: TrialSpec, row: EvalRow) -> None:
        """Called after each evaluation of a trial."""

    def on_trial_end(self, spec: TrialSpec, result: TrialResult) -> None:
        """Called when a trial has ended and its records are on disk."""

    def on_message(self, spec: TrialSpec | None, message: str) -> None:
        """Called with a message for the user, about a trial or (`spec` is None) the sweep."""


class CallbackList:
    """Calls several callbacks in order.

    An exception in one of them, such as a failure to write to the console, affects neither the
    others nor the sweep. The first exception of each is reported on stderr.
    """

    def __init__(self, callbacks: Sequence[SweepCallback]) -> None:
        self._callbacks = callbacks
        self._failed: set[int] = set()  # callbacks whose failure was reported

    def on_sweep_start(self, experiment: Experiment, out: Path, left: Sequence[TrialSpec]) -> None:
        """Calls all callbacks."""
        self._call("on_sweep_start", experiment, out, left)

    def on_trial_start(self, spec: TrialSpec) -> None:
        """Calls all callbacks."""
        self._call("on_trial_start", spec)

    def on_evaluation(self, spec: TrialSpec, row: EvalRow) -> None:
        """Calls all callbacks."""
        self._call("on_evaluation", spec, row)

    def on_trial_end(self, spec: TrialSpec, result: TrialResult) -> None:
        """Calls all callbacks."""
        self._call("on_trial_end", spec, result)

    def on_message(self, spec: TrialSpec | None, message: str) -> None:
        """Calls all callbacks with the message as one printable line."""
        self._call("on_message", spec, first_line(message))

    def _call(self, method: str, *arguments: Any) -> None:
        for number, callback in enumerate(self._callbacks):
            try:
                getattr(callback, method)(*arguments)
            except Exception as error:  # noqa: BLE001 - a callback may raise anything
                if number not in self._failed:
                    self._failed.add(number)
                    _warn(error)


def _warn(error: Exception) -> None:
    """Writes to stderr, if possible, that progress cannot be shown."""
    with suppress(Exception):
        sys.stderr.write(
            f"warning: progress cannot be shown ({error_message(error)}); the sweep continues\n"
        )
        sys.stderr.flush()
