"""Stopping trials whose learning curve says that they will not matter, at a stated risk.

Not exact: it may move scores, and is meant for exploring. A trial is stopped where the best value
so far is further from the target than `factor` times the furthest, at that second of the clock, of
any trial of *other* submissions on that workload that went on to meet the target. The factor comes
from those other submissions too, by conformal risk control (Angelopoulos et al. 2024, equation 4):
the smallest with

    (submissions among them whose pruning would move a score by more than 0.01, plus 1) / (all of
    them, plus 1) <= risk,

each of them judged by the rest. So if a new submission is like the others, the chance that pruning
it moves a score by more than 0.01 is at most the risk; with n others, no risk below 1/(n + 1) stops
anything. The risk does not bound how far a score moves: with `max_change`, the factor is also one
at which pruning none of the others moves a score by more than that. `scoring.calibration` says what
both come to on submissions and boards that limits were not fitted to.

Shapes: S submissions, W workloads, K studies, T trials, F fractions of the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scoring.pruning import Floats
from scoring.reading.results import Results

MOVED = 0.01  # what a score may change by unnoticed
FRACTIONS = np.arange(2, 20) / 20  # of the budget, where curves are looked at
FACTORS = (8.0, 6.0, 4.0, 3.0, 2.5, 2.0, 1.75, 1.5, 1.25, 1.1, 1.0, 0.9, 0.75, 0.5)
_EXAMPLES = 3  # submissions with such trials that a workload must have


@dataclass(frozen=True, slots=True)
class Curves:
    """What is known of finished trials.

    Attributes:
        seconds: Where curves are looked at: (W, F).
        gaps: How far the best value so far is from the target, in the metric's unit, never below 0;
            NaN where there is no evaluation yet, or the trial had ended: (S, W, K, T, F).
        met: When the target was met, infinite for a miss: (S, W, K, T).
    """

    seconds: Floats
    gaps: Floats
    met: Floats

    @property
    def open(self) -> npt.NDArray[np.bool_]:
        """Whether a trial was still on its way to the target: (S, W, K, T, F)."""
        later = self.met[..., None] > self.seconds[None, :, None, None, :]
        return later & ~np.isnan(self.gaps)


def curves(results: Results, met: Floats) -> Curves:
    """Reads the learning curves of results.

    Args:
        results: Finished ones.
        met: When each trial met its target: (S, W, K, T).
    """
    grid = results.grid
    budgets = [criteria.budget_seconds for criteria in results.scope.workloads.values()]
    seconds = np.outer(budgets, FRACTIONS)
    gaps = np.full((*met.shape, len(FRACTIONS)), np.nan)
    for trial in results.trials:
        if trial.extra or not trial.evaluations:
            continue
        evaluations, place = trial.read(), grid.place(trial)
        best = np.minimum.accumulate(list(map(trial.criteria.goal.distance, evaluations.values)))
        at = seconds[place[1]]
        last = np.searchsorted(evaluations.seconds, at, side="right") - 1
        seen = (last >= 0) & (at <= trial.submission_seconds)
        gaps[place] = np.where(seen, best[np.maximum(last, 0)], np.nan)
    return Curves(seconds, gaps, met)


def stops(
    found: Curves, risk: float, scores: Callable[[Floats], Floats], max_change: float = 1.0
) -> Floats:
    """At which second each trial would be stopped, infinite where it would not: (S, W, K, T).

    Each submission is judged by the others alone.

    Args:
        found: All that is known.
        risk: The chance, at most, that pruning a submission moves a score by more than 0.01.
        scores: The scores (S,) that times to target (S, W, K, T) give.
        max_change: Of a score, by pruning any one of the others; 1 for no bound.
    """
    result = np.full(found.met.shape, np.inf)
    for submission in range(len(found.met)):
        limit = limits(found, risk, scores, submission, max_change)
        result[submission] = stops_of(found, submission, limit)
    return result


def change(
    found: Curves, submission: int, stopped: Floats, scores: Callable[[Floats], Floats]
) -> float:
    """The most that any score changes where one submission's trials stop at seconds (W, K, T)."""
    times = found.met.copy()
    times[submission][times[submission] > stopped] = np.inf
    return float(np.abs(scores(times) - scores(found.met)).max())


def limits(
    found: Curves,
    risk: float,
    scores: Callable[[Floats], Floats],
    submission: int | None,
    max_change: float = 1.0,
) -> Floats:
    """How far from the target the best value of a trial may be, by `FRACTIONS`: (W, F).

    Infinite where nothing is known.

    Args:
        found: All that is known.
        risk: As in `stops`.
        scores: Likewise.
        submission: Whose trials are judged, by all others; None for one that is not among them.
        max_change: As in `stops`.
    """
    furthest = _furthest(found)
    others = [other for other in range(len(found.met)) if other != submission]

    def moves(other: int, factor: float) -> float:
        limit = _limit(furthest, {submission, other}, factor)
        return change(found, other, stops_of(found, other, limit), scores)

    chosen = np.full(furthest.shape[1:], np.inf)
    for factor in FACTORS:  # from the most careful on
        changes = [moves(other, factor) for other in others]
        moved = sum(changed > MOVED for changed in changes)
        if (moved + 1) / (len(others) + 1) > risk or max(changes, default=0.0) > max_change:
            break
        chosen = _limit(furthest, {submission}, factor)
    return chosen


def _furthest(found: Curves) -> Floats:
    """Of each submission the furthest trial that went on to meet the target: (S, W, F).

    Negative infinity where there is none.
    """
    gaps = np.where(found.open & np.isfinite(found.met)[..., None], found.gaps, -np.inf)
    furthest: Floats = gaps.max((2, 3))
    return furthest


def _limit(furthest: Floats, without: Collection[int | None], factor: float) -> Floats:
    """The limits that all submissions but some give: (W, F)."""
    others = furthest[[s for s in range(len(furthest)) if s not in without]]
    enough = np.isfinite(others).sum(0) >= _EXAMPLES
    return np.where(enough, factor * others.max(0, initial=-np.inf), np.inf)


def stops_of(found: Curves, submission: int, limit: Floats) -> Floats:
    """When each trial of a submission would be stopped: (W, K, T)."""
    beyond = found.open[submission] & (found.gaps[submission] > limit[:, None, None, :])
    seconds = np.where(beyond, found.seconds[:, None, None, :], np.inf)
    first: Floats = seconds.min(-1)
    return first
