"""Records events of trials: in the ledger first, then in their folders, then for callbacks."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.sweep.callback import SweepCallback
from harness.sweep.events import (
    AttemptEnded,
    AttemptLost,
    AttemptNotRestored,
    AttemptNotResumable,
    AttemptNotStarted,
    AttemptResumed,
    AttemptStarted,
    Evaluated,
    Heartbeat,
    Pruned,
)
from harness.sweep.ledger import Ledger, writing
from harness.system import timers
from scoring.plain import TIMES
from scoring.records import EvalRow, Failure, Status, TrialResult, TrialSpec
from scoring.tree import append_to_log, write_trial

HEARTBEAT_SECONDS = 60.0  # between recorded heartbeats, per trial
LOW_PRIORITY = (
    "trials on {host} run at niceness {niceness}: other processes there can slow them down while "
    "their clock runs; start Ray's nodes with RAY_worker_niceness=0 in their environment"
)


@dataclass(slots=True)
class RunningAttempt:
    """A running attempt as its rows arrive."""

    spec: TrialSpec
    node: str
    rows: list[EvalRow] = field(default_factory=list)
    arrivals: list[tuple[float, float]] = field(default_factory=list)  # time, total_seconds of rows
    heartbeat: float = float("-inf")  # time of the last recorded heartbeat
    printed: bool = False  # whether it has printed something


@dataclass(slots=True)
class _Trial:
    """What a driver knows about one trial."""

    attempts: int = 0  # number of attempts started, including those of earlier drivers
    running: RunningAttempt | None = None
    shared_node: bool = False  # whether other trials ran on its node
    status: Status | None = None  # set when it has ended


@dataclass(frozen=True, slots=True)
class Summary:
    """The state of a sweep: ended trials by status, and the number of trials left."""

    by_status: Mapping[Status, int]
    failed: Sequence[tuple[TrialSpec, TrialResult]]
    left: int


class Recorder:
    """Records events of trials.

    Args:
        book: Ledger.
        out: Results tree.
        callback: Callback that receives every event after it is recorded.
        planned: Number of trials to run.
    """

    def __init__(self, book: Ledger, out: Path, callback: SweepCallback, planned: int) -> None:
        self._book, self._out, self._callback, self._planned = book, out, callback, planned
        self._trials: defaultdict[str, _Trial] = defaultdict(_Trial)
        for name, attempts in book.attempts.items():
            self._trials[name].attempts = attempts
        self._nodes: defaultdict[str, set[str]] = defaultdict(set)  # running trials by node
        self._low_priority = False  # whether the warning was given
        self._failed: dict[str, tuple[TrialSpec, TrialResult]] = {}

    def add(self, count: int) -> None:
        """Adds trials to those that are planned."""
        self._planned += count

    def attempts(self, spec: TrialSpec) -> int:
        """Returns the number of attempts of a trial that this and earlier drivers started."""
        return self._trials[spec.key].attempts

    def running(self, spec: TrialSpec) -> RunningAttempt | None:
        """Returns the running attempt of a trial, if there is one."""
        return self._trials[spec.key].running

    def all_running(self) -> list[RunningAttempt]:
        """Returns the running attempts of all trials."""
        return [trial.running for trial in self._trials.values() if trial.running]

    def started(self, spec: TrialSpec, where: Mapping[str, Any]) -> None:
        """Records that an attempt started; `where` has node, host, process and GPUs."""
        trial = self._trials[spec.key]
        trial.attempts += 1
        trial.running = RunningAttempt(spec, str(where.get("node", "")))
        on_node = self._nodes[trial.running.node]  # trials on one node slow each other down
        on_node.add(spec.key)
        for name in on_node if len(on_node) > 1 else ():
            self._trials[name].shared_node = True
        self._book.append(AttemptStarted(**self._ids(spec), where=where))
        self._callback.on_trial_start(spec)
        if not self._low_priority and where.get("niceness", 0) > max(0, os.nice(0)):
            self._low_priority = True
            self._callback.on_message(None, LOW_PRIORITY.format(**where))

    def not_started(self, spec: TrialSpec, failure: Failure, message: str) -> None:
        """Records that the processes of an attempt could not start."""
        self._book.append(AttemptNotStarted(**self._ids(spec), failure=failure, message=message))

    def resumed(self, spec: TrialSpec, rows: Sequence[EvalRow]) -> None:
        """Records that an attempt resumed from a checkpoint; `rows` are kept."""
        self._running(spec).rows = list(rows)
        last, seconds = rows[-1], rows[-1].submission_seconds
        self._book.append(
            AttemptResumed(
                **self._ids(spec), step=last.global_step, submission_seconds=seconds,
                rows=tuple(rows),
            )
        )  # fmt: skip
        self._callback.on_message(spec, f"resumes from its checkpoint of step {last.global_step:,}")

    def not_resumable(self, spec: TrialSpec, reason: str) -> None:
        """Records that a checkpoint could not be saved."""
        self._book.append(AttemptNotResumable(**self._ids(spec), reason=reason))
        self._callback.on_message(spec, f"cannot be checkpointed: {reason}")

    def not_restored(self, spec: TrialSpec, reason: str) -> None:
        """Records that a checkpoint could not be restored."""
        self._book.append(AttemptNotRestored(**self._ids(spec), reason=reason))
        self._callback.on_message(spec, f"cannot resume from a checkpoint: {reason}")

    def printed(self, spec: TrialSpec, text: str) -> None:
        """Adds what a trial printed to its log; without it, the sweep can continue."""
        attempt, number = self._running(spec), self.attempts(spec)
        if not attempt.printed and number > 1:
            text = f"[attempt {number}]\n{text}"
        attempt.printed = True
        with suppress(OSError, ValueError):
            append_to_log(self._out, spec, text)

    def heartbeat(self, spec: TrialSpec, steps: int) -> None:
        """Records, at most once per minute, that an attempt has made `steps` steps."""
        attempt, now = self._running(spec), timers.monotonic()
        if now - attempt.heartbeat >= HEARTBEAT_SECONDS:
            attempt.heartbeat = now
            self._book.append(Heartbeat(**self._ids(spec), steps=steps), sync=False)

    def evaluated(self, spec: TrialSpec, row: EvalRow) -> None:
        """Records an evaluation."""
        self._book.append(Evaluated(**self._ids(spec), row=row))
        attempt = self._running(spec)
        attempt.rows.append(row)
        attempt.arrivals.append((timers.monotonic(), row.total_seconds))
        self._callback.on_evaluation(spec, row)

    def lost(self, spec: TrialSpec, failure: Failure, message: str) -> None:
        """Records that the process of an attempt died and the trial will be tried again."""
        rows = self._close(spec).rows
        seconds = rows[-1].submission_seconds if rows else 0.0
        self._book.append(
            AttemptLost(
                **self._ids(spec), failure=failure, message=message, submission_seconds=seconds
            )
        )
        self._callback.on_message(spec, f"lost its process; will be resumed: {message}")

    def with_observations(self, spec: TrialSpec, result: TrialResult) -> TrialResult:
        """Returns a result with what the driver has observed of the trial."""
        trial, arrivals = self._trials[spec.key], self._running(spec).arrivals
        seen = {"driver_rows": [[at - arrivals[0][0], total] for at, total in arrivals]}
        return replace(
            result,
            attempts=trial.attempts,
            environment=result.environment | {"shared_node": trial.shared_node},
            integrity=result.integrity and result.integrity | seen,
        )

    def partial_result(self, spec: TrialSpec, status: Status, **details: Any) -> TrialResult:
        """Returns the result of an attempt that was stopped from outside."""
        rows = self._running(spec).rows
        if rows:
            details |= {name: getattr(rows[-1], name) for name in ("global_step", "work", *TIMES)}
        return TrialResult(status=status, rows=rows, **details)

    def ended(self, spec: TrialSpec, result: TrialResult) -> None:
        """Records the end of a trial."""
        rows = len(result.rows)
        plain = replace(result, rows=[])
        self._book.append(AttemptEnded(**self._ids(spec), result=plain, rows=rows))
        self._close(spec)
        self._trials[spec.key].shared_node = False
        self._write(spec, result)

    def pruned(self, spec: TrialSpec, result: TrialResult) -> None:
        """Records a trial that is pruned before it starts."""
        self._book.append(Pruned(**self._ids(spec)))
        self._write(spec, result)

    def _write(self, spec: TrialSpec, result: TrialResult) -> None:
        """Writes a trial's folder and notifies the callback."""
        with writing(self._out):
            write_trial(self._out, spec, result)
        self._trials[spec.key].status = result.status
        if result.status is Status.FAILED:
            self._failed[spec.key] = spec, result
        self._callback.on_trial_end(spec, result)

    def summary(self) -> Summary:
        """Returns the state of the sweep."""
        ended = (trial.status for trial in self._trials.values() if trial.status)
        by_status = Counter(ended)
        return Summary(
            by_status=by_status,
            failed=list(self._failed.values()),
            left=self._planned - by_status.total() + by_status[Status.INTERRUPTED],
        )

    def _ids(self, spec: TrialSpec) -> dict[str, Any]:
        return {"trial": spec.key, "attempt": self._trials[spec.key].attempts}

    def _running(self, spec: TrialSpec) -> RunningAttempt:
        attempt = self._trials[spec.key].running
        if attempt is None:
            raise KeyError(f"{spec.key} is not running")
        return attempt

    def _close(self, spec: TrialSpec) -> RunningAttempt:
        """Marks an attempt as no longer running, and returns it."""
        attempt = self._running(spec)
        self._trials[spec.key].running = None
        self._nodes[attempt.node].remove(spec.key)
        return attempt
