"""The driver of a sweep: says which trial is next, and records all that trials do."""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.checkpoint.authentication import Place, key_of_tree
from harness.environment import scratch
from harness.sweep import ledger
from harness.sweep.callback import WITHOUT_CHECKPOINT, Watcher
from harness.sweep.ledger import Ledger
from harness.sweep.options import SweepOptions
from harness.sweep.trial_queue import TrialQueue
from harness.system import timers
from harness.system.signals import undisturbed
from scoring.plain import TIMES, to_plain
from scoring.records import EvalRow, Failure, Status, TrialResult, TrialSpec
from scoring.tree import write_trial

if TYPE_CHECKING:  # the plan imports torch, which a trial's process must not do too early
    from harness.sweep.limits import Limits
    from harness.sweep.pruner import Pruner


MOST_UNBORN = 10  # processes of a trial that never came to be, before that counts
HEARTBEAT_SECONDS = 60.0  # between those on record, of a trial
RECORDING_SECONDS = 1.0  # at a time, of trials that need not begin


@dataclass(frozen=True, slots=True)
class Summary:
    """How a sweep stands: trials by status, among those that have ended, and what is left."""

    by_status: Mapping[Status, int]
    failed: Sequence[tuple[TrialSpec, TrialResult]]
    left: int


@dataclass(slots=True)
class _Attempt:
    """An attempt under way."""

    spec: TrialSpec
    node: str
    rows: list[EvalRow] = field(default_factory=list)
    arrivals: list[tuple[float, float]] = field(default_factory=list)  # of this attempt's rows
    heard: float = -math.inf  # when a heartbeat was recorded
    given_up: bool = False


LOW_PRIORITY = (
    "trials on {host} run at niceness {niceness}: other work there displaces them, and their clock "
    "runs on; start Ray's nodes with RAY_worker_niceness=0 in their environment"
)


class Driver:
    """Records a sweep's events, in the ledger first, then in the trial's folder; tells others."""

    def __init__(
        self,
        book: Ledger,
        out: Path,
        watcher: Watcher,
        specs: Sequence[TrialSpec],
        options: SweepOptions,
        pruner: Pruner | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._pruner, self._limits = pruner, limits
        self._book, self._out, self._watcher = book, out, watcher
        self._checkpoints = options.checkpoint_dir or str(scratch())
        self._max_attempts = options.max_attempts
        with ledger.writing(out):
            self._key = key_of_tree(out)
        self._attempts = book.attempts.copy()
        self._begun: Counter[str] = Counter()  # attempts of this driver
        self._unborn: Counter[str] = Counter()  # and those whose process never came to be
        self._queue = TrialQueue(pruner, options.order, self._begun)
        self._planned = len(specs)
        self._running: dict[str, _Attempt] = {}
        self._nodes: defaultdict[str, set[str]] = defaultdict(set)  # the trials that run there
        self._shared: set[str] = set()  # trials whose node had other work too
        self._displaced = False  # whether a trial was seen to run at a low priority
        self._ended: dict[str, Status] = {}
        self._failed: dict[str, tuple[TrialSpec, TrialResult]] = {}

    def deadline(self, spec: TrialSpec) -> float:
        """Past this second of its clock a trial can change no score, or was given up."""
        attempt = self._running.get(spec.name)
        if attempt is not None and attempt.given_up:
            return 0.0
        return math.inf if self._pruner is None else self._pruner.deadline(spec)

    def next(self, waiting: list[TrialSpec], wait: bool) -> TrialSpec | None:
        """Takes the trial to begin off those that wait; records those that need not begin.

        Args:
            waiting: Trials that have no process, in any order; the caller may append to it.
            wait: Whether others are under way, which may find something.

        Returns:
            None where nothing should begin just now: what waits is for the end, or so many trials
            need not begin that those under way should be listened to in between.
        """
        until = timers.monotonic() + RECORDING_SECONDS
        while (spec := self._queue.pop(waiting, parked=not wait)) is not None:
            if self.deadline(spec) > 0:
                return spec
            self._needless(spec)
            if wait and timers.monotonic() > until:
                return None
        return None

    @undisturbed()
    def _needless(self, spec: TrialSpec) -> None:
        """Records a trial that need not begin."""
        self._append("pruned", spec)
        result = TrialResult(status=Status.PRUNED, attempts=self._attempts[spec.name])
        self._record(spec, self._proven(spec, result))

    @undisturbed()
    def started(self, spec: TrialSpec, where: Mapping[str, Any]) -> None:
        """An attempt began; `where` names node, host, process and GPUs."""
        self._attempts[spec.name] += 1
        self._begun[spec.name] += 1
        attempt = _Attempt(spec, str(where.get("node", "")))
        self._running[spec.name] = attempt
        beside = self._nodes[attempt.node]  # trials on one node slow each other down
        beside.add(spec.name)
        self._shared.update(beside if len(beside) > 1 else [])
        self._append("attempt_started", spec, **where)
        self._watcher.started(spec)
        if not self._displaced and where.get("niceness", 0) > max(0, os.nice(0)):
            self._displaced = True
            self._watcher.told(None, LOW_PRIORITY.format(**where))

    def _is_over(self, spec: TrialSpec) -> _Attempt:
        """Takes an attempt off those under way."""
        attempt = self._running.pop(spec.name)
        self._nodes[attempt.node].remove(spec.name)
        return attempt

    def checkpoints(self, spec: TrialSpec) -> Place:
        """Where a trial's next attempt keeps checkpoints: at a URI, or on its own machine."""
        attempt = self._attempts[spec.name] + 1
        return Place.of_trial(self._checkpoints, self._book.tree, spec.name, self._key, attempt)

    def take(self, spec: TrialSpec, kind: str, payload: Any) -> None:
        """Records what an attempt says."""
        if kind == "row":
            self.measured(spec, payload)
        elif kind == "resumed":
            self.resumed(spec, payload)
        elif kind in WITHOUT_CHECKPOINT:
            self.without_checkpoint(spec, kind, payload)
        elif kind == "beat":
            self.heard(spec, payload)
        elif kind != "loaded":
            raise ValueError(f"an attempt cannot say {kind!r}")

    @undisturbed()
    def heard(self, spec: TrialSpec, steps: int) -> None:
        """A sign of life: so many steps in this attempt; goes on record once a minute."""
        attempt, now = self._running[spec.name], timers.monotonic()
        if now - attempt.heard >= HEARTBEAT_SECONDS:
            attempt.heard = now
            self._append("heartbeat", spec, sync=False, steps=steps)

    @undisturbed()
    def resumed(self, spec: TrialSpec, rows: Sequence[EvalRow]) -> None:
        """An attempt went on from a checkpoint: these rows stand, later ones are made again."""
        self._running[spec.name].rows = list(rows)
        last = rows[-1]
        seconds = last.submission_seconds
        self._append(
            "attempt_resumed", spec, step=last.global_step, submission_seconds=seconds, rows=rows
        )
        self._watcher.told(spec, f"resumes from its checkpoint of step {last.global_step:,}")

    @undisturbed()
    def without_checkpoint(self, spec: TrialSpec, kind: str, reason: str) -> None:
        """A checkpoint could not be saved or restored."""
        self._append(f"attempt_{kind}", spec, reason=reason)
        self._watcher.told(spec, f"{WITHOUT_CHECKPOINT[kind]}: {reason}")

    @undisturbed()
    def measured(self, spec: TrialSpec, row: EvalRow) -> None:
        """A row came in."""
        self._append("row", spec, row=row)
        attempt = self._running[spec.name]
        attempt.rows.append(row)
        attempt.arrivals.append((timers.monotonic(), row.total_seconds))
        if self._limits is not None and self._limits.forbid(spec, attempt.rows):
            attempt.given_up = True
        self._watcher.measured(spec, row)

    @undisturbed()
    def ended(self, spec: TrialSpec, result: TrialResult) -> None:
        """An attempt came to its end by itself."""
        attempt = self._running[spec.name]
        if result.status is Status.PRUNED and self._limits and attempt.given_up:
            risk = f"its curve says that it will not matter, at a risk of {self._limits.risk:g}"
            result = replace(result, status=Status.PREDICTED, message=risk)
        result = replace(
            result,
            attempts=self._attempts[spec.name],
            environment=result.environment | {"shared_node": spec.name in self._shared},
            integrity=result.integrity and result.integrity | _observed(attempt),
        )
        result = self._proven(spec, result)
        self._append("attempt_ended", spec, **to_plain(result) | {"rows": len(result.rows)})
        self._is_over(spec)
        self._shared.discard(spec.name)
        self._record(spec, result)

    def _proven(self, spec: TrialSpec, result: TrialResult) -> TrialResult:
        """A pruned trial's result with its proof."""
        if self._pruner is None or result.status is not Status.PRUNED:
            return result
        return replace(result, proof=self._pruner.proof(spec, result.submission_seconds))

    def _record(self, spec: TrialSpec, result: TrialResult) -> None:
        """Writes a trial's folder, and passes its end on."""
        if self._pruner is not None:
            self._pruner.learn(spec, result)
        with ledger.writing(self._out):
            write_trial(self._out, spec, result)
        self._ended[spec.name] = result.status
        if result.status is Status.FAILED:
            self._failed[spec.name] = spec, result
        self._watcher.ended(spec, result)

    def lost(self, spec: TrialSpec, failure: Failure, message: str, traceback: str) -> bool:
        """An attempt's process died; what it had reported stays. Returns whether to try again."""
        if spec.name not in self._running:  # it never came to be, as on a node about to die
            self._unborn[spec.name] += 1
            if self._unborn[spec.name] < MOST_UNBORN:
                self._append("attempt_not_started", spec, failure=failure, message=message)
                return True
            self.started(spec, {})
        if self._begun[spec.name] < self._max_attempts:
            self._lost(spec, failure, message)
            return True
        self.failed(spec, failure, message, traceback)
        return False

    @undisturbed()
    def _lost(self, spec: TrialSpec, failure: Failure, message: str) -> None:
        rows = self._is_over(spec).rows
        seconds = rows[-1].submission_seconds if rows else 0.0
        self._append(
            "attempt_lost", spec, failure=failure, message=message, submission_seconds=seconds
        )
        self._watcher.told(spec, f"lost its process and will go on: {message}")

    def failed(self, spec: TrialSpec, failure: Failure, message: str, traceback: str = "") -> None:
        """An attempt was ended from outside, and that is the trial's end."""
        if spec.name not in self._running:
            self.started(spec, {})
        details = {"failure": failure, "message": message, "traceback": traceback}
        self.ended(spec, self._cut_off(spec, Status.FAILED, **details))

    @undisturbed()
    def interrupt(self) -> None:
        """Records every running trial as interrupted."""
        for attempt in list(self._running.values()):
            self.ended(attempt.spec, self._cut_off(attempt.spec, Status.INTERRUPTED))

    def summary(self) -> Summary:
        """How the sweep stands."""
        by_status = Counter(self._ended.values())
        return Summary(
            by_status=by_status,
            failed=list(self._failed.values()),
            left=self._planned - by_status.total() + by_status[Status.INTERRUPTED],
        )

    def _cut_off(self, spec: TrialSpec, status: Status, **details: Any) -> TrialResult:
        rows = self._running[spec.name].rows
        if rows:
            details |= {name: getattr(rows[-1], name) for name in ("global_step", "work", *TIMES)}
        return TrialResult(status=status, rows=rows, **details)

    def _append(self, event: str, spec: TrialSpec, **data: Any) -> None:
        self._book.append(event, trial=spec.name, attempt=self._attempts[spec.name], **data)


def _observed(attempt: _Attempt) -> dict[str, Any]:
    """When this attempt's rows came in, beside the total time that each row says."""
    arrivals = attempt.arrivals
    return {"driver_rows": [[at - arrivals[0][0], total] for at, total in arrivals]}
