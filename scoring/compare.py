"""Two submissions side by side, workload by workload, paired by study."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from scoring.names import known_names
from scoring.profiles import Floats, apply_rules, scores
from scoring.proofs import refused_by
from scoring.reading.results import Results, Scope
from scoring.records import RecordError
from scoring.significance import PairTest, pair_tests
from scoring.times import Method, StudyTimes, medians, study_times
from scoring.uncertainty import (
    LEVEL,
    RESAMPLES,
    extremes,
    repeated,
    resampled_medians,
    resampled_scores,
    share_above,
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
        faster: The probability that the first is faster, a tie counting half; pruned trials are
            taken as misses. NaN with a single study.
        faster_low: The smallest that it may be, whatever pruned trials would have measured.
        faster_high: The largest.
    """

    workload: str
    seconds: tuple[float, float]
    difference: float
    low: float
    high: float
    faster: float
    faster_low: float
    faster_high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two submissions of one leaderboard.

    Attributes:
        names: The names of both.
        workloads: The scored workloads, then held-out variants.
        scores: The scores of both, relative to all submissions of the leaderboard.
        above: The probability that the first scores above the second, a tie counting half; pruned
            trials are taken as misses. NaN with a single study.
        above_low: The smallest that it may be, whatever pruned trials would have measured.
        above_high: The largest.
        test: Whether one of them is faster over all workloads.
    """

    names: tuple[str, str]
    workloads: list[Difference]
    scores: tuple[float, float]
    above: float
    above_low: float
    above_high: float
    test: PairTest


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
    times_sw = medians(studies.seconds_swk)
    is_open_sw = medians(studies.floor_swk) != times_sw
    is_open_sw &= ~np.isnan(times_sw)
    known_sw = np.where(is_open_sw, np.nan, np.nan_to_num(times_sw, nan=np.inf, posinf=np.inf))
    score_s = scores(apply_rules(times_sw, scope), scope.ruleset.r_max, method.exact_area)
    draws = study_draws(studies.workloads, studies.planned_sw, seed, RESAMPLES)
    cases = (studies.seconds_swk, *extremes(studies, pair[0]))  # as misses, at worst, at best
    sampled = [resampled_medians(case[pair], studies.planned_sw[pair], draws) for case in cases]
    found = Comparison(
        names=(first, second),
        workloads=[
            _difference(workload, known_sw[pair, w], *(case[:, :, w] for case in sampled))
            for w, workload in enumerate(studies.workloads)
        ],
        scores=(float(score_s[pair[0]]), float(score_s[pair[1]])),
        test=_test(studies, scope, first, second),
        **_above(studies, scope, method, seed, pair),
    )
    return found if repeated(scope, "studies") else _without_odds(found)


def _test(studies: StudyTimes, scope: Scope, first: str, second: str) -> PairTest:
    """The test of the two, corrected for all pairs of the leaderboard."""
    pair = {first, second}
    return next(
        test.seen_from(first) for test in pair_tests(studies, scope) if pair == {*test.names}
    )


def _above(
    studies: StudyTimes, scope: Scope, method: Method, seed: int, pair: list[int]
) -> dict[str, float]:
    """The probability that the first scores above the second, and its range, by field."""

    def resampled(seconds_swk: Floats, s: int) -> Floats:
        every = resampled_scores(seconds_swk, studies, scope, method, "studies", seed, RESAMPLES)
        return every[:, s]

    a, b = pair
    above = float(share_above(resampled(studies.seconds_swk, a), resampled(studies.seconds_swk, b)))
    if np.array_equal(studies.floor_swk, studies.seconds_swk, equal_nan=True):
        return {"above": above, "above_low": above, "above_high": above}
    least, most = zip(
        *([resampled(case, s) for case in extremes(studies, s)] for s in pair), strict=True
    )
    low, high = share_above(least[0], most[1]), share_above(most[0], least[1])
    return {"above": above, "above_low": float(low), "above_high": float(high)}


def _without_odds(found: Comparison) -> Comparison:
    """The same comparison without intervals and probabilities, for a single study."""
    nan = math.nan
    rows = [
        replace(row, low=nan, high=nan, faster=nan, faster_low=nan, faster_high=nan)
        for row in found.workloads
    ]
    return replace(found, workloads=rows, above=nan, above_low=nan, above_high=nan)


def _difference(
    workload: str, seconds: Floats, sampled: Floats, behind: Floats, ahead: Floats
) -> Difference:
    """Compares the medians of one workload.

    Args:
        workload: Its name.
        seconds: The medians of both: (2,).
        sampled: The medians of each resample, with pruned trials as misses: (R, 2).
        behind: In the worst possible case for the first; different only if trials were pruned.
        ahead: In the best possible case.
    """
    lead_r, latest_r, earliest_r = map(_lead, (sampled, behind, ahead))
    tail = (1 - LEVEL) / 2
    a, b = seconds.tolist()
    return Difference(
        workload=workload,
        seconds=(a, b),
        difference=math.nan if math.isinf(a) and math.isinf(b) else a - b,
        low=float(np.quantile(earliest_r, tail, method="inverted_cdf")),
        high=float(np.quantile(latest_r, 1 - tail, method="inverted_cdf")),
        faster=_first_wins(-lead_r),
        faster_low=_first_wins(-latest_r),
        faster_high=_first_wins(-earliest_r),
    )


def _lead(sampled_rs: Floats) -> Floats:
    """How many seconds the first is behind the second, 0 where both miss: (R,)."""
    sampled_rs = np.where(np.isnan(sampled_rs), np.inf, sampled_rs)
    neither_r = np.isinf(sampled_rs).all(axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(neither_r, 0.0, sampled_rs[:, 0] - sampled_rs[:, 1])


def _first_wins(lead_r: Floats) -> float:
    """How often the first is in the lead, a tie counting half."""
    return float(share_above(lead_r, np.zeros_like(lead_r)))
