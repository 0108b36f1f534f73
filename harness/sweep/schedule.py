"""Decides which trial of a sweep starts next, and at which second each one is stopped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.sweep.trial_queue import TrialQueue
from harness.system import debug_log
from scoring.records import EvalRow, Order, Status, TrialResult, TrialSpec

if TYPE_CHECKING:  # numpy must not be imported before a trial's process sets its threads
    from harness.sweep.limits import Limits
    from harness.sweep.pruner import Pruner
    from harness.sweep.studies import AutoStudies


log = debug_log.logger("schedule")


class Schedule:
    """Order and deadlines of trials. Records nothing.

    Args:
        pruner: Derives deadlines from results; None to prune no trial.
        order: Which waiting trial starts next.
        limits: Limits for `Pruning.PREDICT`; None for none.
        studies: Decides which studies are added; None for a fixed number.
    """

    def __init__(
        self,
        pruner: Pruner | None,
        order: Order,
        limits: Limits | None,
        studies: AutoStudies | None = None,
    ) -> None:
        self._pruner, self._limits, self._studies = pruner, limits, studies
        self._attempts: Counter[str] = Counter()  # attempts started by this driver, by trial
        self._given_up: set[str] = set()
        self._queue = TrialQueue(pruner, order, self._attempts)

    def pop(self, waiting: list[TrialSpec], parked: bool) -> TrialSpec | None:
        """Removes the trial to start next from `waiting`, like `TrialQueue.pop`."""
        return self._queue.pop(waiting, parked)

    def deadline(self, spec: TrialSpec) -> float:
        """Returns the second of its clock after which a trial is stopped; 0 if it is given up."""
        if spec.key in self._given_up:
            return 0.0
        return math.inf if self._pruner is None else self._pruner.deadline(spec)

    def started(self, spec: TrialSpec) -> None:
        """Counts an attempt that started."""
        self._attempts[spec.key] += 1

    def lost(self, spec: TrialSpec) -> None:
        """Handles a lost attempt: the next one is judged by its own evaluations."""
        self._given_up.discard(spec.key)

    def attempts(self, spec: TrialSpec) -> int:
        """Returns the number of attempts of a trial that this driver has started."""
        return self._attempts[spec.key]

    def evaluated(self, spec: TrialSpec, rows: Sequence[EvalRow]) -> None:
        """Gives up a running trial if its rows exceed a limit."""
        if self._limits is not None and self._limits.exceeded_by(spec, rows):
            self._given_up.add(spec.key)
            log.debug("%s: given up on a prediction from %d evaluations", spec.key, len(rows))

    def with_reason(self, spec: TrialSpec, result: TrialResult) -> TrialResult:
        """Returns a result with the reason why the trial was stopped early, if it was."""
        if result.status is not Status.PRUNED:
            return result
        if self._limits is not None and spec.key in self._given_up:
            reason = f"stopped on a prediction from its curve, at a risk of {self._limits.risk:g}"
            if self._limits.calibration:
                reason += f"; {self._limits.calibration}"
            return replace(result, status=Status.PREDICTED, message=reason)
        if self._pruner is None:
            return result
        return replace(result, proof=self._pruner.proof(spec, result.submission_seconds))

    def ended(self, spec: TrialSpec, result: TrialResult) -> None:
        """Passes the result of a trial to those who decide what else must run."""
        for learner in (self._pruner, self._studies):
            if learner is not None:
                learner.learn(spec, result)
