"""Two submissions side by side, workload by workload, paired by study."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scoring.profiles import Floats, apply_rules, scores
from scoring.records import RecordError
from scoring.results import Results
from scoring.times import Method, medians, study_times
from scoring.uncertainty import LEVEL, RESAMPLES, resampled_medians, resampled_scores, study_draws


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One workload.

    Attributes:
        workload: Its name.
        seconds: The medians of both, infinite for a miss.
        difference: The first's less the second's in seconds; negative is faster, -inf or inf
            where only one reached the target, NaN where neither did.
        low: Lower end of the difference's 95% interval.
        high: Upper end.
        faster: The probability that the first is faster; where neither reached the target, 1/2.
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
        names: Both.
        workloads: Those scored, then held-out variants.
        scores: Of both, against all submissions of the leaderboard.
        above: The probability that the first scores above the second, a tie counting half.
    """

    names: tuple[str, str]
    workloads: list[Difference]
    scores: tuple[float, float]
    above: float


def compare(results: Results, first: str, second: str, method: Method, seed: int = 0) -> Comparison:
    """Compares two submissions of `results`.

    Each resample draws studies with replacement, the same ones for both: where studies of one
    number share seeds, what they share cancels. The interval is that of the difference of the
    medians. What so few studies do to it, `uncertainty.bootstrap` says.

    Raises:
        RecordError: One of them is not among the results, or both are the same.
    """
    names = list(results.submissions)
    for name in (first, second):
        if name not in names:
            raise RecordError(f"no submission {name!r}; there are: {', '.join(names)}")
    if first == second:
        raise RecordError(f"{first}: is compared with itself; name two submissions")
    scope = results.scope
    studies = study_times(results, method)
    pair = [names.index(first), names.index(second)]
    times_sw = medians(studies.seconds_swk, method)
    draws_rwk = study_draws(studies.workloads, studies.seconds_swk.shape[2], seed, RESAMPLES)
    sampled_rsw = resampled_medians(studies.seconds_swk[pair], draws_rwk, method)
    score_s = scores(apply_rules(times_sw, scope), scope.ruleset.r_max, method.exact_area)
    score_rs = resampled_scores(studies, scope, method, "studies", seed, RESAMPLES)[:, pair]
    return Comparison(
        names=(first, second),
        workloads=[
            _difference(workload, times_sw[pair, w], sampled_rsw[:, :, w])
            for w, workload in enumerate(studies.workloads)
        ],
        scores=(float(score_s[pair[0]]), float(score_s[pair[1]])),
        above=_first_wins(score_rs[:, 0] - score_rs[:, 1]),
    )


def _difference(workload: str, seconds: Floats, sampled_rs: Floats) -> Difference:
    """One workload from the medians of both, (2,), and of each resample, (R, 2)."""
    sampled_rs = np.where(np.isnan(sampled_rs), np.inf, sampled_rs)
    neither_r = np.isinf(sampled_rs).all(axis=1)
    with np.errstate(invalid="ignore"):
        difference_r = np.where(neither_r, 0.0, sampled_rs[:, 0] - sampled_rs[:, 1])
        a, b = np.where(np.isnan(seconds), np.inf, seconds).tolist()
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(difference_r, [tail, 1 - tail], method="inverted_cdf")
    return Difference(
        workload=workload,
        seconds=(a, b),
        difference=math.nan if math.isinf(a) and math.isinf(b) else a - b,
        low=float(low),
        high=float(high),
        faster=_first_wins(-difference_r),
    )


def _first_wins(lead_r: Floats) -> float:
    """How often the first is in the lead, a tie counting half."""
    return float((lead_r > 0).mean() + (lead_r == 0).mean() / 2)
