"""Stops trials on a prediction: limits that are fitted to earlier results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scoring.records import EvalRow, TrialSpec


@dataclass(frozen=True, slots=True)
class Limits:
    """Maximum distance of a trial's best value from the target (`scoring.prediction.limits`).

    Attributes:
        risk: Maximum probability that the stopped trials of a submission change a score by more
            than the change that counts.
        fractions: Fractions of the budget at which trials are checked.
        gaps: Limits at these fractions by submission and workload, in the metric's unit.
        calibration: Describes the effect of such limits on scores in earlier results.
    """

    risk: float
    fractions: Sequence[float]
    gaps: Mapping[tuple[str, str], Sequence[float]]
    calibration: str = ""

    def exceeded_by(self, spec: TrialSpec, rows: Sequence[EvalRow]) -> bool:
        """Whether the rows of a running trial exceed a limit."""
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
