"""Two submissions side by side, workload by workload, paired by study."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from scoring.names import known_names
from scoring.profiles import Floats, apply_rules, scores
from scoring.proofs import refused_by
from scoring.reading.results import Results
from scoring.records import RecordError
from scoring.times import Method, medians, study_times
from scoring.uncertainty import (
    LEVEL,
    RESAMPLES,
    extremes,
    repeated,
    resampled_medians,
    resampled_scores,
    study_draws,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """The difference between two submissions on one workload.

    Attributes:
        workload: Its name.
        seconds: The medians of both: infinite for a miss, NaN if pruning left it open.
        difference: The first's minus the second's in seconds: negative if the first is faster,
            -inf or inf if only one reached the target, NaN if neither did or a median is open.
        low: Lower end of the difference's 95% interval; NaN with a single study.
        high: Upper end.
        faster: The probability that the first is faster: 1/2 if neither reached the target, NaN
            if it depends on the times of pruned trials or there is a single study.
    """

    workload: str
    seconds: tuple[float, float]
    difference: float
    low: float
    high: float
    faster: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two submissions of one leaderboard.

    Attributes:
        names: The names of both.
        workloads: The scored workloads, then held-out variants.
        scores: The scores of both, relative to all submissions of the leaderboard.
        above: The probability that the first scores above the second, a tie counting half; NaN
            if it depends on the times of pruned trials.
    """

    names: tuple[str, str]
    workloads: list[Difference]
    scores: tuple[float, float]
    above: float


def compare(results: Results, first: str, second: str, method: Method, seed: int = 0) -> Comparison:
    """Compares two submissions of `results`.

    Each resample draws studies with replacement, the same ones for both: studies of the same number
    share seeds, so that what they share cancels. The interval is that of the difference of the
    medians. `uncertainty.bootstrap` describes the effect of few studies and of pruned trials.

    Raises:
        RecordError: One of them is not among the results, both are the same, or a trial that the
            method needs was pruned.
    """
    names = list(results.submissions)
    for name in (first, second):
        if name not in names:
            raise RecordError(f"no submission {name!r}. {known_names(name, names)}")
    if first == second:
        raise RecordError(f"{first} is compared with itself; name two submissions")
    if reason := refused_by(method, results):
        raise RecordError(reason)
    scope = results.scope
    studies = study_times(results, method)
    pair = [names.index(first), names.index(second)]
    times_sw = medians(studies.seconds_swk, method)
    is_open_sw = medians(studies.floor_swk, method) != times_sw
    is_open_sw &= ~np.isnan(times_sw)
    known_sw = np.where(is_open_sw, np.nan, np.nan_to_num(times_sw, nan=np.inf, posinf=np.inf))
    score_s = scores(apply_rules(times_sw, scope), scope.ruleset.r_max, method.exact_area)
    draws_rwk = study_draws(studies.workloads, studies.seconds_swk.shape[2], seed, RESAMPLES)
    options = (studies.workloads, scope, method, "studies", seed, RESAMPLES)
    behind, ahead = extremes(studies, pair[0])  # the worst and the best case of the first
    sampled = [resampled_medians(case[pair], draws_rwk, method) for case in (ahead, behind)]
    score_rs = [resampled_scores(case, *options)[:, pair] for case in (ahead, behind)]
    found = Comparison(
        names=(first, second),
        workloads=[
            _difference(workload, known_sw[pair, w], *(case[:, :, w] for case in sampled))
            for w, workload in enumerate(studies.workloads)
        ],
        scores=(float(score_s[pair[0]]), float(score_s[pair[1]])),
        above=_if_equal(*(_first_wins(case[:, 0] - case[:, 1]) for case in score_rs)),
    )
    return found if repeated(scope, "studies") else _without_odds(found)


def _without_odds(found: Comparison) -> Comparison:
    """The same comparison without intervals and probabilities, for a single study."""
    nan = math.nan
    rows = [replace(row, low=nan, high=nan, faster=nan) for row in found.workloads]
    return replace(found, workloads=rows, above=math.nan)


def _difference(workload: str, seconds: Floats, ahead: Floats, behind: Floats) -> Difference:
    """Compares the medians of one workload.

    Args:
        workload: Its name.
        seconds: The medians of both: (2,).
        ahead: The medians of each resample, in the best possible case for the first: (R, 2).
        behind: In the worst possible case; different only if trials were pruned.
    """
    earliest_r, latest_r = _lead(ahead), _lead(behind)
    tail = (1 - LEVEL) / 2
    a, b = seconds.tolist()
    return Difference(
        workload=workload,
        seconds=(a, b),
        difference=math.nan if math.isinf(a) and math.isinf(b) else a - b,
        low=float(np.quantile(earliest_r, tail, method="inverted_cdf")),
        high=float(np.quantile(latest_r, 1 - tail, method="inverted_cdf")),
        faster=_if_equal(_first_wins(-earliest_r), _first_wins(-latest_r)),
    )


def _lead(sampled_rs: Floats) -> Floats:
    """How many seconds the first is behind the second, 0 where both miss: (R,)."""
    sampled_rs = np.where(np.isnan(sampled_rs), np.inf, sampled_rs)
    neither_r = np.isinf(sampled_rs).all(axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(neither_r, 0.0, sampled_rs[:, 0] - sampled_rs[:, 1])


def _if_equal(best: float, worst: float) -> float:
    return best if best == worst else math.nan


def _first_wins(lead_r: Floats) -> float:
    """How often the first is in the lead, a tie counting half."""
    return float((lead_r > 0).mean() + (lead_r == 0).mean() / 2)
