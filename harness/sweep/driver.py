"""The driver of a sweep: tells executors which trial is next, and records what happens to it."""

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
from harness.system import debug_log, timers
from harness.system.signals import signals_blocked
from scoring.records import EvalRow, Failure, Status, TrialResult, TrialSpec
from scoring.tree import LOGS

log = debug_log.logger("driver")
MAX_FAILED_STARTS = 10  # failed starts of a trial's processes that count as an attempt
RECORDING_SECONDS = 1.0  # maximum time to record skipped trials while others run


class Driver:
    """Connects executors with the schedule and the recorder. Signals do not interrupt a record.

    Args:
        book: Ledger.
        out: Results tree.
        schedule: Decides which trial is next, and the deadline of each.
        recorder: Records events.
        options: How the sweep is run.
    """

    def __init__(
        self, book: Ledger, out: Path, schedule: Schedule, recorder: Recorder, options: SweepOptions
    ) -> None:
        self._out, self._tree = out, book.tree
        self._schedule, self._recorder = schedule, recorder
        self._checkpoints = options.checkpoint_dir or str(scratch())
        self._max_attempts = options.max_attempts
        self._failed_starts: Counter[str] = Counter()
        with writing(out):
            self._key = key_of_tree(out)

    def next(self, waiting: list[TrialSpec], wait: bool) -> TrialSpec | None:
        """Removes the trial to start next from `waiting`; records trials that can be skipped.

        Args:
            waiting: Trials without a process, in any order; the caller may append to it.
            wait: Whether other trials are running, whose results may make some trials unnecessary.

        Returns:
            None if no trial should start now: all waiting trials are parked, or recording skipped
            trials took RECORDING_SECONDS and the caller should handle other events first.
        """
        until = timers.monotonic() + RECORDING_SECONDS
        while (spec := self._schedule.pop(waiting, parked=not wait)) is not None:
            if (deadline := self.deadline(spec)) > 0:
                log.debug("%s: next of %d, until %g s", spec.key, len(waiting) + 1, deadline)
                return spec
            self._record_skipped(spec)
            if wait and timers.monotonic() > until:
                return None
        return None

    def deadline(self, spec: TrialSpec) -> float:
        """Returns the second of its clock after which a trial is stopped; 0 if it is given up."""
        return self._schedule.deadline(spec)

    def checkpoints(self, spec: TrialSpec) -> Place:
        """Returns where a trial's next attempt keeps checkpoints: a URI, or its own machine."""
        attempt = self._recorder.attempts(spec) + 1
        return Place.of_trial(self._checkpoints, self._tree, spec.key, self._key, attempt)

    def log_file(self, spec: TrialSpec) -> Path | None:
        """Returns where a trial's next attempt writes its debug log; None without --verbose."""
        attempt = self._recorder.attempts(spec) + 1
        return self._out / LOGS / f"{spec.key}.attempt_{attempt}.log" if debug_log.is_on() else None

    @signals_blocked()
    def started(self, spec: TrialSpec, where: Mapping[str, Any]) -> None:
        """Records that an attempt started; `where` has node, host, process and GPUs."""
        self._schedule.started(spec)
        self._recorder.started(spec, where)
        log.debug("%s: attempt %d started, %s", spec.key, self._recorder.attempts(spec), where)

    @signals_blocked()
    def resumed(self, spec: TrialSpec, rows: Sequence[EvalRow]) -> None:
        """Records that an attempt resumed from a checkpoint; `rows` are kept."""
        self._recorder.resumed(spec, rows)
        log.debug("%s: resumed from step %d", spec.key, rows[-1].global_step)

    @signals_blocked()
    def not_resumable(self, spec: TrialSpec, reason: str) -> None:
        """Records that a checkpoint could not be saved."""
        self._recorder.not_resumable(spec, reason)
        log.debug("%s: no checkpoint: %s", spec.key, reason)

    @signals_blocked()
    def not_restored(self, spec: TrialSpec, reason: str) -> None:
        """Records that a checkpoint could not be restored."""
        self._recorder.not_restored(spec, reason)
        log.debug("%s: checkpoint not restored: %s", spec.key, reason)

    @signals_blocked()
    def printed(self, spec: TrialSpec, text: str) -> None:
        """Records what a trial printed."""
        self._recorder.printed(spec, text)

    @signals_blocked()
    def heartbeat(self, spec: TrialSpec, steps: int) -> None:
        """Records that an attempt is alive and has made `steps` steps."""
        self._recorder.heartbeat(spec, steps)

    @signals_blocked()
    def measured(self, spec: TrialSpec, row: EvalRow) -> None:
        """Records an evaluation."""
        self._recorder.evaluated(spec, row)
        attempt = self._recorder.running(spec)
        self._schedule.evaluated(spec, attempt.rows if attempt else [])
        log.debug("%s: step %d, %s", spec.key, row.global_step, row.metrics)

    @signals_blocked()
    def ended(self, spec: TrialSpec, result: TrialResult) -> None:
        """Records the end of a trial."""
        result = self._schedule.with_reason(spec, self._recorder.with_observations(spec, result))
        self._schedule.ended(spec, result)
        self._recorder.ended(spec, result)
        log.debug(
            "%s: ended, %s, step %d, %.6g s. %s", spec.key, result.status, result.global_step,
            result.submission_seconds, result.message,
        )  # fmt: skip

    @signals_blocked()
    def _record_skipped(self, spec: TrialSpec) -> None:
        """Records a trial that is pruned before it starts."""
        pruned = TrialResult(status=Status.PRUNED, attempts=self._recorder.attempts(spec))
        result = self._schedule.with_reason(spec, pruned)
        self._schedule.ended(spec, result)
        self._recorder.pruned(spec, result)
        log.debug("%s: skipped, its result cannot change a score", spec.key)

    def lost(self, spec: TrialSpec, failure: Failure, message: str, traceback: str) -> bool:
        """Records that an attempt's process died. Returns whether to try again."""
        log.debug("%s: process lost, %s: %s", spec.key, failure, message)
        if self._recorder.running(spec) is None:  # its process never started
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
        """Records a trial that was stopped from outside as failed."""
        if self._recorder.running(spec) is None:
            self.started(spec, {})
        details = {"failure": failure, "message": message, "traceback": traceback}
        self.ended(spec, self._recorder.partial_result(spec, Status.FAILED, **details))

    @signals_blocked()
    def interrupt(self) -> None:
        """Records every running trial as interrupted."""
        log.debug("interrupted")
        for attempt in self._recorder.all_running():
            result = self._recorder.partial_result(attempt.spec, Status.INTERRUPTED)
            self.ended(attempt.spec, result)

    def summary(self) -> Summary:
        """Returns the state of the sweep."""
        return self._recorder.summary()
