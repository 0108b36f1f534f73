"""Where trials are given up on a prediction: limits that came of earlier results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scoring.records import EvalRow, TrialSpec


@dataclass(frozen=True, slots=True)
class Limits:
    """How far from the target the best value of a trial may be (`scoring.prediction.limits`).

    Attributes:
        risk: The chance, at most, that giving up a submission's trials moves a score by over 0.01.
        fractions: Of the budget, where curves are looked at.
        gaps: By submission and workload the limit at each of them, in the metric's unit.
        calibration: What such limits did to scores in earlier results, in words.
    """

    risk: float
    fractions: Sequence[float]
    gaps: Mapping[tuple[str, str], Sequence[float]]
    calibration: str = ""

    def exceeded_by(self, spec: TrialSpec, rows: Sequence[EvalRow]) -> bool:
        """Whether a trial under way is too far behind, by its rows so far."""
        gaps = self.gaps.get((spec.submission, spec.workload), ())
        for fraction, limit in zip(self.fractions, gaps, strict=False):
            second = fraction * spec.budget_seconds
            if rows[-1].submission_seconds < second:
                break
            best = min(
                (
                    spec.goal.distance(row.metrics[spec.goal_column])
                    for row in rows
                    if row.submission_seconds <= second
                ),
                default=-math.inf,
            )
            if best > limit:
                return True
        return False
