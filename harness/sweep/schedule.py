"""Which trial of a sweep begins next, and until when each of them matters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.sweep.trial_queue import TrialQueue
from scoring.records import EvalRow, Order, Status, TrialResult, TrialSpec

if TYPE_CHECKING:  # the pruner needs numpy, of which a trial's process should not set the threads
    from harness.sweep.limits import Limits
    from harness.sweep.pruner import Pruner


class Schedule:
    """Decides; records nothing.

    Args:
        pruner: What is known of the trials; None where none is pruned.
        order: Which waiting trial begins next.
        limits: Where trials are given up on a prediction; None for nowhere.
    """

    def __init__(self, pruner: Pruner | None, order: Order, limits: Limits | None) -> None:
        self._pruner, self._limits = pruner, limits
        self._begun: Counter[str] = Counter()  # attempts of this driver, by trial
        self._given_up: set[str] = set()
        self._queue = TrialQueue(pruner, order, self._begun)

    def pop(self, waiting: list[TrialSpec], parked: bool) -> TrialSpec | None:
        """Takes the trial to begin next off those that wait, as `TrialQueue.pop`."""
        return self._queue.pop(waiting, parked)

    def deadline(self, spec: TrialSpec) -> float:
        """Past this second of its clock a trial can change no score, or was given up."""
        if spec.key in self._given_up:
            return 0.0
        return math.inf if self._pruner is None else self._pruner.deadline(spec)

    def started(self, spec: TrialSpec) -> None:
        """An attempt started."""
        self._begun[spec.key] += 1

    def lost(self, spec: TrialSpec) -> None:
        """An attempt was lost: the next one is judged by its own evaluations."""
        self._given_up.discard(spec.key)

    def attempts(self, spec: TrialSpec) -> int:
        """How many attempts of a trial this driver has started."""
        return self._begun[spec.key]

    def evaluated(self, spec: TrialSpec, rows: Sequence[EvalRow]) -> None:
        """A running trial has these rows now."""
        if self._limits is not None and self._limits.exceeded_by(spec, rows):
            self._given_up.add(spec.key)

    def explained(self, spec: TrialSpec, result: TrialResult) -> TrialResult:
        """A result with the reason why the trial was stopped, if it was."""
        if result.status is not Status.PRUNED:
            return result
        if self._limits is not None and spec.key in self._given_up:
            reason = f"its curve says that it will not matter, at a risk of {self._limits.risk:g}"
            if self._limits.calibration:
                reason += f"; {self._limits.calibration}"
            return replace(result, status=Status.PREDICTED, message=reason)
        if self._pruner is None:
            return result
        return replace(result, proof=self._pruner.proof(spec, result.submission_seconds))

    def ended(self, spec: TrialSpec, result: TrialResult) -> None:
        """A trial ended: other trials may matter less now."""
        if self._pruner is not None:
            self._pruner.learn(spec, result)
