"""Stops trials whose learning curve predicts that they will not matter, at a chosen risk.

This is not exact: it may move scores, and is meant for exploration. A trial is stopped if its best
value so far is further from the target than `factor` times that of the furthest trial of *other*
submissions on that workload which, at the same second of its clock, had yet to meet the target and
later met it. The factor is also chosen from those other submissions, by conformal risk control
(Angelopoulos et al. 2024, equation 4). It is the smallest with

    (others whose pruning would move a score by more than max_change + 1) / (others + 1) <= risk

where each of the others is judged by the rest alone. So the risk is that of a submission that the
limits were not fitted to: the probability that pruning it moves a score by more than `max_change`,
if it is like the others. With n others no risk below 1/(n + 1) can be promised, and no trial is
stopped: a finite number of submissions never shows that no other one moves a score further. As in
a jackknife, the limits come from one submission more than those that were tested; they need one
example more than those (`_EXAMPLES`), so that they are no stricter. `scoring.calibration` measures
how often and how far scores move on submissions and boards not used to fit the limits.

Shapes: S submissions, W workloads, K studies, T trials, F fractions of the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scoring.pruning import Floats
from scoring.reading.results import Results

MOVED = 0.01  # the change of a score that counts, unless another is given
FRACTIONS = np.arange(2, 20) / 20  # of the budget, at which curves are looked at
FACTORS = (8.0, 6.0, 4.0, 3.0, 2.5, 2.0, 1.75, 1.5, 1.25, 1.1, 1.0, 0.9, 0.75, 0.5)
_EXAMPLES = 3  # submissions with such trials that a workload needs to judge one of the others


@dataclass(frozen=True, slots=True)
class Curves:
    """The learning curves of finished trials.

    Attributes:
        seconds: The times at which curves are looked at: (W, F).
        gaps: The distance of the best value so far from the target, in the metric's unit; NaN
            before the first evaluation and after the trial ended: (S, W, K, T, F).
        met: The time at which the target was met, infinite for a miss: (S, W, K, T).
    """

    seconds: Floats
    gaps: Floats
    met: Floats

    @property
    def open(self) -> npt.NDArray[np.bool_]:
        """Whether a trial was still running without having met the target: (S, W, K, T, F)."""
        later = self.met[..., None] > self.seconds[None, :, None, None, :]
        return later & ~np.isnan(self.gaps)


def curves(results: Results, met: Floats) -> Curves:
    """Reads the learning curves of results.

    Args:
        results: Finished results.
        met: The time at which each trial met its target: (S, W, K, T).
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
    found: Curves, risk: float, scores: Callable[[Floats], Floats], max_change: float = MOVED
) -> Floats:
    """The second at which each trial would be stopped, infinite if it would not: (S, W, K, T).

    Each submission is judged by the others alone.

    Args:
        found: The curves of all trials.
        risk: The maximum probability that pruning a submission moves a score by more than
            `max_change`.
        scores: The scores (S,) that times to target (S, W, K, T) give.
        max_change: The change of a score that counts.
    """
    result = np.full(found.met.shape, np.inf)
    for submission in range(len(found.met)):
        limit = limits(found, risk, scores, submission, max_change)
        result[submission] = stops_of(found, submission, limit)
    return result


def change(
    found: Curves, submission: int, stopped: Floats, scores: Callable[[Floats], Floats]
) -> float:
    """The largest change of any score if one submission's trials stop at seconds (W, K, T)."""
    times = found.met.copy()
    times[submission][times[submission] > stopped] = np.inf
    return float(np.abs(scores(times) - scores(found.met)).max())


def limits(
    found: Curves,
    risk: float,
    scores: Callable[[Floats], Floats],
    submission: int | None,
    max_change: float = MOVED,
) -> Floats:
    """The limits on the distance of a trial's best value from the target, by `FRACTIONS`: (W, F).

    Infinite where no trial may be stopped.

    Args:
        found: The curves of all trials.
        risk: As in `stops`.
        scores: As in `stops`.
        submission: The index of the submission to judge by all others; None for one not among them.
        max_change: As in `stops`.
    """
    furthest = _furthest(found)
    others = [other for other in range(len(found.met)) if other != submission]

    def moves(other: int, factor: float) -> float:
        limit = _limit(furthest, {submission, other}, factor, _EXAMPLES)
        return change(found, other, stops_of(found, other, limit), scores)

    chosen = np.full(furthest.shape[1:], np.inf)
    for factor in FACTORS:  # the most cautious first
        changes = [moves(other, factor) for other in others]
        moved = sum(changed > max_change for changed in changes)
        if (moved + 1) / (len(others) + 1) > risk:
            break
        chosen = _limit(furthest, {submission}, factor, _EXAMPLES + 1)
    return chosen


def _furthest(found: Curves) -> Floats:
    """The distance of each submission's furthest trial that later met the target: (S, W, F).

    Negative infinity if there is none.
    """
    gaps = np.where(found.open & np.isfinite(found.met)[..., None], found.gaps, -np.inf)
    furthest: Floats = gaps.max((2, 3))
    return furthest


def _limit(
    furthest: Floats, without: Collection[int | None], factor: float, examples: int
) -> Floats:
    """The limits from all submissions except some, where there are enough examples: (W, F)."""
    others = furthest[[s for s in range(len(furthest)) if s not in without]]
    enough = np.isfinite(others).sum(0) >= examples
    return np.where(enough, factor * others.max(0, initial=-np.inf), np.inf)


def stops_of(found: Curves, submission: int, limit: Floats) -> Floats:
    """When each trial of a submission would be stopped: (W, K, T)."""
    beyond = found.open[submission] & (found.gaps[submission] > limit[:, None, None, :])
    seconds = np.where(beyond, found.seconds[:, None, None, :], np.inf)
    first: Floats = seconds.min(-1)
    return first
