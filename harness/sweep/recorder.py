"""Records what trials do: in the ledger first, then in their folders, then for callbacks."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
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
from scoring.tree import write_trial

HEARTBEAT_SECONDS = 60.0  # between those on record, per trial
LOW_PRIORITY = (
    "trials on {host} run at niceness {niceness}: other work there displaces them while their "
    "clock runs; start Ray's nodes with RAY_worker_niceness=0 in their environment"
)


@dataclass(slots=True)
class Running:
    """A running attempt."""

    spec: TrialSpec
    node: str
    rows: list[EvalRow] = field(default_factory=list)
    arrivals: list[tuple[float, float]] = field(default_factory=list)  # of this attempt's rows
    heartbeat: float = float("-inf")  # when one was recorded last


@dataclass(slots=True)
class _Trial:
    """All that a driver knows of one trial."""

    attempts: int = 0  # started, also by earlier drivers
    running: Running | None = None
    shared_node: bool = False  # its node had other work too
    status: Status | None = None  # once it has ended


@dataclass(frozen=True, slots=True)
class Summary:
    """The state of a sweep: trials by status, among those that have ended, and what is left."""

    by_status: Mapping[Status, int]
    failed: Sequence[tuple[TrialSpec, TrialResult]]
    left: int


class Recorder:
    """Records events of trials.

    Args:
        book: The ledger.
        out: The results tree.
        callback: Is called after every record.
        planned: How many trials are to run.
    """

    def __init__(self, book: Ledger, out: Path, callback: SweepCallback, planned: int) -> None:
        self._book, self._out, self._callback, self._planned = book, out, callback, planned
        self._trials: defaultdict[str, _Trial] = defaultdict(_Trial)
        for name, attempts in book.attempts.items():
            self._trials[name].attempts = attempts
        self._nodes: defaultdict[str, set[str]] = defaultdict(set)  # the trials that run there
        self._low_priority = False  # whether a trial was seen to run at one
        self._failed: dict[str, tuple[TrialSpec, TrialResult]] = {}

    def attempts(self, spec: TrialSpec) -> int:
        """How many attempts of a trial were started, by this driver and earlier ones."""
        return self._trials[spec.key].attempts

    def running(self, spec: TrialSpec) -> Running | None:
        """The running attempt of a trial."""
        return self._trials[spec.key].running

    def all_running(self) -> list[Running]:
        """The running attempts of all trials."""
        return [trial.running for trial in self._trials.values() if trial.running]

    def started(self, spec: TrialSpec, where: Mapping[str, Any]) -> None:
        """An attempt started; `where` names node, host, process and GPUs."""
        trial = self._trials[spec.key]
        trial.attempts += 1
        trial.running = Running(spec, str(where.get("node", "")))
        beside = self._nodes[trial.running.node]  # trials on one node slow each other down
        beside.add(spec.key)
        for name in beside if len(beside) > 1 else ():
            self._trials[name].shared_node = True
        self._book.append(AttemptStarted(**self._of(spec), where=where))
        self._callback.on_trial_start(spec)
        if not self._low_priority and where.get("niceness", 0) > max(0, os.nice(0)):
            self._low_priority = True
            self._callback.on_message(None, LOW_PRIORITY.format(**where))

    def not_started(self, spec: TrialSpec, failure: Failure, message: str) -> None:
        """The processes of an attempt never ran."""
        self._book.append(AttemptNotStarted(**self._of(spec), failure=failure, message=message))

    def resumed(self, spec: TrialSpec, rows: Sequence[EvalRow]) -> None:
        """An attempt resumed from a checkpoint: these rows stand, later ones are made again."""
        self._running(spec).rows = list(rows)
        last, seconds = rows[-1], rows[-1].submission_seconds
        self._book.append(
            AttemptResumed(
                **self._of(spec), step=last.global_step, submission_seconds=seconds,
                rows=tuple(rows),
            )
        )  # fmt: skip
        self._callback.on_message(spec, f"resumes from its checkpoint of step {last.global_step:,}")

    def not_resumable(self, spec: TrialSpec, reason: str) -> None:
        """A checkpoint could not be saved."""
        self._book.append(AttemptNotResumable(**self._of(spec), reason=reason))
        self._callback.on_message(spec, f"cannot be checkpointed: {reason}")

    def not_restored(self, spec: TrialSpec, reason: str) -> None:
        """A checkpoint could not be restored."""
        self._book.append(AttemptNotRestored(**self._of(spec), reason=reason))
        self._callback.on_message(spec, f"does not resume from a checkpoint: {reason}")

    def heartbeat(self, spec: TrialSpec, steps: int) -> None:
        """An attempt has made so many steps; recorded once a minute."""
        attempt, now = self._running(spec), timers.monotonic()
        if now - attempt.heartbeat >= HEARTBEAT_SECONDS:
            attempt.heartbeat = now
            self._book.append(Heartbeat(**self._of(spec), steps=steps), sync=False)

    def evaluated(self, spec: TrialSpec, row: EvalRow) -> None:
        """A trial was evaluated."""
        self._book.append(Evaluated(**self._of(spec), row=row))
        attempt = self._running(spec)
        attempt.rows.append(row)
        attempt.arrivals.append((timers.monotonic(), row.total_seconds))
        self._callback.on_evaluation(spec, row)

    def lost(self, spec: TrialSpec, failure: Failure, message: str) -> None:
        """The process of an attempt died; the trial will be tried again."""
        rows = self._over(spec).rows
        seconds = rows[-1].submission_seconds if rows else 0.0
        self._book.append(
            AttemptLost(
                **self._of(spec), failure=failure, message=message, submission_seconds=seconds
            )
        )
        self._callback.on_message(spec, f"lost its process; will be resumed: {message}")

    def observed(self, spec: TrialSpec, result: TrialResult) -> TrialResult:
        """An attempt's result with what was seen of it from outside."""
        trial, arrivals = self._trials[spec.key], self._running(spec).arrivals
        seen = {"driver_rows": [[at - arrivals[0][0], total] for at, total in arrivals]}
        return replace(
            result,
            attempts=trial.attempts,
            environment=result.environment | {"shared_node": trial.shared_node},
            integrity=result.integrity and result.integrity | seen,
        )

    def cut_off(self, spec: TrialSpec, status: Status, **details: Any) -> TrialResult:
        """The result of an attempt that was ended from outside."""
        rows = self._running(spec).rows
        if rows:
            details |= {name: getattr(rows[-1], name) for name in ("global_step", "work", *TIMES)}
        return TrialResult(status=status, rows=rows, **details)

    def ended(self, spec: TrialSpec, result: TrialResult) -> None:
        """A trial ended."""
        rows = len(result.rows)
        plain = replace(result, rows=[])
        self._book.append(AttemptEnded(**self._of(spec), result=plain, rows=rows))
        self._over(spec)
        self._trials[spec.key].shared_node = False
        self._write(spec, result)

    def pruned(self, spec: TrialSpec, result: TrialResult) -> None:
        """A trial need not begin."""
        self._book.append(Pruned(**self._of(spec)))
        self._write(spec, result)

    def _write(self, spec: TrialSpec, result: TrialResult) -> None:
        """Writes a trial's folder, and passes its end on."""
        with writing(self._out):
            write_trial(self._out, spec, result)
        self._trials[spec.key].status = result.status
        if result.status is Status.FAILED:
            self._failed[spec.key] = spec, result
        self._callback.on_trial_end(spec, result)

    def summary(self) -> Summary:
        """The state of the sweep."""
        ended = (trial.status for trial in self._trials.values() if trial.status)
        by_status = Counter(ended)
        return Summary(
            by_status=by_status,
            failed=list(self._failed.values()),
            left=self._planned - by_status.total() + by_status[Status.INTERRUPTED],
        )

    def _of(self, spec: TrialSpec) -> dict[str, Any]:
        return {"trial": spec.key, "attempt": self._trials[spec.key].attempts}

    def _running(self, spec: TrialSpec) -> Running:
        attempt = self._trials[spec.key].running
        if attempt is None:
            raise KeyError(f"{spec.key} does not run")
        return attempt

    def _over(self, spec: TrialSpec) -> Running:
        """Takes an attempt off those that run."""
        attempt = self._running(spec)
        self._trials[spec.key].running = None
        self._nodes[attempt.node].remove(spec.key)
        return attempt
