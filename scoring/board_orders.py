"""What a board orders submissions by: scores, times to target, or the best metric so far.

Also how much of the differences between times is noise.

Shapes: N submissions, W workloads (those scored, then held-out variants), B scored ones, K studies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scoring.profiles import Floats, apply_rules, credit
from scoring.reading.results import Results, Scope
from scoring.records import RecordError, Status
from scoring.times import RULES, Integers, medians, study_times

SCORE = "score"


@dataclass(frozen=True, slots=True)
class Board:
    """What one board orders the submissions by; less is better.

    Attributes:
        scope: What it is scored over.
        value_nwk: Seconds to target, or the best metric so far of scored workloads; NaN for a study
            that is not planned.
        cut: Whether it is the best metric so far.
    """

    scope: Scope
    value_nwk: Floats
    cut: bool

    @property
    def studies(self) -> int:
        """The number of studies."""
        return int(self.value_nwk.shape[2])

    @property
    def planned_nw(self) -> Integers:
        """The number of studies of each submission on each workload: (N, W)."""
        planned: Integers = np.count_nonzero(~np.isnan(self.value_nwk), axis=-1)
        return planned

    def of(self, studies: Sequence[int]) -> Floats:
        """The medians over these studies: (N, W)."""
        return medians(self.value_nwk[:, :, list(studies)])

    def order(self, by: str, median_nw: Floats) -> Floats:
        """What "score" or a workload orders by: (..., N), from medians (..., N, W)."""
        scored = list(self.scope.scored)
        if by != SCORE:
            return median_nw[..., scored.index(by)]
        if self.cut:
            value_n: Floats = _ranks(median_nw).mean(axis=-1)
        else:
            value_n = -self.credit(median_nw).mean(axis=-1)
        return np.asarray(value_n.round(12))  # so that equal ones tie

    def credit(self, median_nw: Floats) -> Floats:
        """What each scored workload contributes to the scores: (..., N, B)."""
        ratios = apply_rules(median_nw, self.scope).ratios
        return credit(ratios, self.scope.ruleset.r_max, RULES.exact_area)


@dataclass(frozen=True, slots=True)
class Separation:
    """What separates submissions on a workload, and what separates studies.

    A study contributes to a score what its time contributes among the times of the same study of
    all submissions, from 0 for a miss to 1. The two numbers are the standard deviations of a
    one-way analysis of variance of these contributions (Searle, Casella and McCulloch 1992,
    section 3.6), so noise alone has a signal of about 0.

    Attributes:
        board: "first" or "reference".
        workload: Its name.
        signal: Standard deviation between submissions; NaN if there are fewer than two.
        noise: Standard deviation between studies of a submission; NaN if none has two.
    """

    board: str
    workload: str
    signal: float
    noise: float

    @property
    def ratio(self) -> float:
        """Signal over noise."""
        return self.signal / self.noise if self.noise > 0 else math.nan


def _ranks(values_nw: Floats) -> Floats:
    """The rank from 1 of each submission on each workload; those that tie share the mean."""
    others_nnw = values_nw[..., None, :, :]
    less = np.count_nonzero(others_nnw < values_nw[..., :, None, :], axis=-2)
    level = np.count_nonzero(others_nnw == values_nw[..., :, None, :], axis=-2)
    ranks: Floats = less + (level + 1) / 2
    return ranks


def times_board(results: Results, names: list[str]) -> Board:
    """Orders these submissions by time to target; a pruned trial counts as a miss."""
    studies = study_times(results, RULES)
    chosen = [studies.submissions.index(name) for name in names]
    return Board(results.scope, studies.seconds_swk[chosen], cut=False)


def cut_board(results: Results, names: list[str], fraction: float) -> Board:
    """Orders these submissions by the best metric of each study within a fraction of the budget.

    Raises:
        RecordError: A trial was pruned before that, so what it would have had there is unknown.
    """
    scored, studies = list(results.scope.scored), study_times(results, RULES)
    chosen = [studies.submissions.index(name) for name in names]
    is_planned_nbk = ~np.isnan(studies.seconds_swk[chosen, : len(scored)])
    best_nbk = np.where(is_planned_nbk, np.inf, np.nan)
    for trial in results.trials:
        if trial.extra or trial.submission not in names or trial.workload not in scored:
            continue
        end = fraction * trial.criteria.budget_seconds
        if trial.status == Status.PRUNED and trial.ended < end:
            raise RecordError(
                f"{trial.folder}: was pruned before {fraction:.15g} of its budget, so its metric "
                "there is unknown; use a board made with --pruning off"
            )
        read = trial.read()
        value = np.array(read.values, dtype=np.float64)[np.array(read.seconds) <= end]
        value = value[np.isfinite(value)] * (1 if trial.criteria.goal.direction == "min" else -1)
        place = (names.index(trial.submission), scored.index(trial.workload), trial.study)
        best_nbk[place] = min(best_nbk[place], value.min(initial=np.inf))
    return Board(results.scope, best_nbk, cut=True)


def separations(board: str, of: Board) -> list[Separation]:
    """Signal and noise of each scored workload."""
    credit_knb = of.credit(np.moveaxis(of.value_nwk, -1, 0))
    found = []
    for w, workload in enumerate(of.scope.scored):
        planned_nk = ~np.isnan(of.value_nwk[:, w])
        credits = zip(credit_knb[..., w].T, planned_nk, strict=True)
        groups = [credit_k[is_planned_k] for credit_k, is_planned_k in credits if any(is_planned_k)]
        found.append(Separation(board, workload, *_components(groups)))
    return found


def _components(groups: list[Floats]) -> tuple[float, float]:
    """The standard deviations between and within groups of values."""
    sizes = np.array([len(group) for group in groups])
    freedom = int(sizes.sum()) - len(groups)
    if len(groups) < 2 or not freedom:
        return math.nan, math.nan
    means = np.array([group.mean() for group in groups])
    mean = float(sizes @ means) / sizes.sum()
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in groups) / freedom
    between = float(sizes @ (means - mean) ** 2) / (len(groups) - 1)
    size = (sizes.sum() - (sizes**2).sum() / sizes.sum()) / (len(groups) - 1)
    return math.sqrt(max(0.0, between - within) / size), math.sqrt(within)
