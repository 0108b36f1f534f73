"""The driver of a sweep, as executors see it: which trial is next, and what happened to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.checkpoint.authentication import Place, key_of_tree
from harness.environment import scratch
from harness.sweep.ledger import Ledger, writing
from harness.sweep.options import SweepOptions
from harness.sweep.recorder import Recorder, Summary
from harness.sweep.schedule import Schedule
from harness.system import timers
from harness.system.signals import signals_blocked
from scoring.records import EvalRow, Failure, Status, TrialResult, TrialSpec

MAX_FAILED_STARTS = 10  # of a trial's processes, before that counts as an attempt
RECORDING_SECONDS = 1.0  # at a time, of trials that need not begin


class Driver:
    """Joins the schedule and the recorder of a sweep. No signal interrupts a record.

    Args:
        book: The ledger.
        out: The results tree.
        schedule: Decides which trial is next, and until when each matters.
        recorder: Records what happens.
        options: How the sweep is run.
    """

    def __init__(
        self, book: Ledger, out: Path, schedule: Schedule, recorder: Recorder, options: SweepOptions
    ) -> None:
        self._tree, self._schedule, self._recorder = book.tree, schedule, recorder
        self._checkpoints = options.checkpoint_dir or str(scratch())
        self._max_attempts = options.max_attempts
        self._failed_starts: Counter[str] = Counter()
        with writing(out):
            self._key = key_of_tree(out)

    def next(self, waiting: list[TrialSpec], wait: bool) -> TrialSpec | None:
        """Takes the trial to begin off those that wait; records those that need not begin.

        Args:
            waiting: Trials that have no process, in any order; the caller may append to it.
            wait: Whether others run, which may find something.

        Returns:
            None where nothing should begin just now: what waits is for the end, or so many trials
            need not begin that those that run should be listened to in between.
        """
        until = timers.monotonic() + RECORDING_SECONDS
        while (spec := self._schedule.pop(waiting, parked=not wait)) is not None:
            if self.deadline(spec) > 0:
                return spec
            self._record_skipped(spec)
            if wait and timers.monotonic() > until:
                return None
        return None

    def deadline(self, spec: TrialSpec) -> float:
        """Past this second of its clock a trial can change no score, or was given up."""
        return self._schedule.deadline(spec)

    def checkpoints(self, spec: TrialSpec) -> Place:
        """Where a trial's next attempt keeps checkpoints: at a URI, or on its own machine."""
        attempt = self._recorder.attempts(spec) + 1
        return Place.of_trial(self._checkpoints, self._tree, spec.key, self._key, attempt)

    @signals_blocked()
    def started(self, spec: TrialSpec, where: Mapping[str, Any]) -> None:
        """An attempt started; `where` names node, host, process and GPUs."""
        self._schedule.started(spec)
        self._recorder.started(spec, where)

    @signals_blocked()
    def resumed(self, spec: TrialSpec, rows: Sequence[EvalRow]) -> None:
        """An attempt resumed from a checkpoint: these rows stand, later ones are made again."""
        self._recorder.resumed(spec, rows)

    @signals_blocked()
    def not_resumable(self, spec: TrialSpec, reason: str) -> None:
        """A checkpoint could not be saved."""
        self._recorder.not_resumable(spec, reason)

    @signals_blocked()
    def not_restored(self, spec: TrialSpec, reason: str) -> None:
        """A checkpoint could not be restored."""
        self._recorder.not_restored(spec, reason)

    @signals_blocked()
    def heartbeat(self, spec: TrialSpec, steps: int) -> None:
        """A sign of life: so many steps in this attempt."""
        self._recorder.heartbeat(spec, steps)

    @signals_blocked()
    def measured(self, spec: TrialSpec, row: EvalRow) -> None:
        """A trial was evaluated."""
        self._recorder.evaluated(spec, row)
        attempt = self._recorder.running(spec)
        self._schedule.evaluated(spec, attempt.rows if attempt else [])

    @signals_blocked()
    def ended(self, spec: TrialSpec, result: TrialResult) -> None:
        """An attempt came to its end by itself."""
        result = self._schedule.explained(spec, self._recorder.observed(spec, result))
        self._schedule.ended(spec, result)
        self._recorder.ended(spec, result)

    @signals_blocked()
    def _record_skipped(self, spec: TrialSpec) -> None:
        """Records a trial that need not begin."""
        pruned = TrialResult(status=Status.PRUNED, attempts=self._recorder.attempts(spec))
        result = self._schedule.explained(spec, pruned)
        self._schedule.ended(spec, result)
        self._recorder.pruned(spec, result)

    def lost(self, spec: TrialSpec, failure: Failure, message: str, traceback: str) -> bool:
        """An attempt's process died; what it had reported stays. Returns whether to try again."""
        if self._recorder.running(spec) is None:  # its process never ran
            self._failed_starts[spec.key] += 1
            if self._failed_starts[spec.key] < MAX_FAILED_STARTS:
                self._recorder.not_started(spec, failure, message)
                return True
            self.started(spec, {})
        if self._schedule.attempts(spec) < self._max_attempts:
            self._lost(spec, failure, message)
            return True
        self.failed(spec, failure, message, traceback)
        return False

    @signals_blocked()
    def _lost(self, spec: TrialSpec, failure: Failure, message: str) -> None:
        self._recorder.lost(spec, failure, message)
        self._schedule.lost(spec)

    def failed(self, spec: TrialSpec, failure: Failure, message: str, traceback: str = "") -> None:
        """An attempt was ended from outside, and that is the trial's end."""
        if self._recorder.running(spec) is None:
            self.started(spec, {})
        details = {"failure": failure, "message": message, "traceback": traceback}
        self.ended(spec, self._recorder.cut_off(spec, Status.FAILED, **details))

    @signals_blocked()
    def interrupt(self) -> None:
        """Records every running trial as interrupted."""
        for attempt in self._recorder.all_running():
            self.ended(attempt.spec, self._recorder.cut_off(attempt.spec, Status.INTERRUPTED))

    def summary(self) -> Summary:
        """The state of the sweep."""
        return self._recorder.summary()
