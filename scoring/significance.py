"""Tests for each pair of submissions whether one is faster, paired by study over the workloads.

Shapes: W workloads, K studies, N pairs of times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, combinations
from statistics import NormalDist

import numpy as np

from scoring.reading.results import Scope
from scoring.times import Floats, StudyTimes

LEVEL = 0.05  # probability of any wrong decision, over all pairs of a leaderboard
MOST_MORE = 1000  # studies; an estimate above it says no more than that
_ENUMERATED = 2**15  # subsets of half of the values
_GRID = 2**17  # points of the distribution where there are more
_EQUAL = 1e-9  # smaller differences are rounding errors


@dataclass(frozen=True, kw_only=True, slots=True)
class PairTest:
    """Whether one of two submissions is faster.

    Attributes:
        names: The names of both.
        pairs: The number of workloads times studies in which their times are compared.
        ratio: The geometric mean of the first's time over the second's, each ratio limited to r_max
            as in a score; a pruned trial is taken as a miss. 1 if there is nothing to compare.
        p: The two-sided p-value of the sign-flip test: the smallest and the largest that is
            possible, equal unless pruned trials leave it open.
        adjusted: The same after Holm's correction over all pairs of the leaderboard.
        more_studies: An estimate of the number of further studies on every workload after which
            the test would decide, if ratios keep their mean and mean square; 0 if it is decided,
            None if that is over `MOST_MORE` or never.
    """

    names: tuple[str, str]
    pairs: int
    ratio: float
    p: tuple[float, float]
    adjusted: tuple[float, float]
    more_studies: int | None

    @property
    def faster(self) -> str:
        """The name of the one that is significantly faster; "" if that is not shown."""
        return self.names[self.ratio > 1] if self.adjusted[1] <= LEVEL else ""

    def seen_from(self, name: str) -> PairTest:
        """The same test with one of its submissions as the first."""
        first, second = self.names
        if name == first:
            return self
        return replace(self, names=(second, first), ratio=1 / self.ratio)

    @property
    def in_words(self) -> str:
        """The verdict, with Holm's p-value, or its range."""
        first, second = self.names
        p = f"p = {p_range(*self.adjusted)}"
        if self.faster:
            how = "faster" if self.ratio < 1 else "slower"
            factor = max(self.ratio, 1 / self.ratio)
            return f"{first} is {how} than {second}: {factor:.2f} times, {p}"
        if self.adjusted[0] <= LEVEL:
            return f"{first} against {second}: pruned trials leave it open, {p}"
        more = f"{self.more_studies:,}" if self.more_studies else f"over {MOST_MORE:,}"
        studies = "study" if self.more_studies == 1 else "studies"
        return (
            f"{first} and {second}: not shown to differ, {p}; an estimated {more} more {studies} "
            "on every workload would decide"
        )


def p_range(low: float, high: float) -> str:
    """A p-value, or the range of one, with two digits: "0.034", "0.01 to 1"."""
    return f"{high:.2g}" if f"{low:.2g}" == f"{high:.2g}" else f"{low:.2g} to {high:.2g}"


def pair_tests(studies: StudyTimes, scope: Scope) -> list[PairTest]:
    """Tests every pair of submissions of a leaderboard, in the order of their names.

    The null hypothesis is that two submissions do not differ: in each study of each workload, the
    two times might as well be exchanged, so that the sign of their log ratio is a coin toss.
    Studies of the same number share seeds. The p-value is the share of all 2^N choices of signs
    with a sum of log ratios at least as far from 0 as the measured one.

    As in a score, only workloads that are not held out count, a ratio over r_max counts as r_max,
    and a miss is infinite: it counts as r_max against a time, and as a tie against another miss. A
    time of which only a lower bound is known, since a trial was pruned, gives a range of ratios
    and with it a range of p-values. A study in which only one of the two was planned is left out.

    Args:
        studies: Time to target of every study.
        scope: What the score is computed over.
    """
    names, r_max, scored = studies.submissions, scope.ruleset.r_max, len(scope.scored)
    pairs = list(combinations(range(len(names)), 2))
    ratios = [log_ratios(studies, a, b, r_max, scored) for a, b in pairs]
    p = [sign_flip_p(low, high) for _, low, high in ratios]
    lowest, highest = holm([low for low, _ in p]), holm([high for _, high in p])
    place = {number: place for place, number in enumerate(np.argsort(highest, kind="stable"))}
    tests = []
    for number, (a, b) in enumerate(pairs):
        as_misses, level = ratios[number][0], LEVEL / (len(pairs) - place[number])
        decided = highest[number] <= LEVEL
        tests.append(
            PairTest(
                names=(names[a], names[b]),
                pairs=len(as_misses),
                ratio=math.exp(as_misses.mean()) if len(as_misses) else 1.0,
                p=p[number],
                adjusted=(lowest[number], highest[number]),
                more_studies=0 if decided else more_studies(as_misses, scored, level),
            )
        )
    return tests


def log_ratios(
    studies: StudyTimes, a: int, b: int, r_max: float, scored: int
) -> tuple[Floats, Floats, Floats]:
    """The log ratios of the times of two submissions, limited to log(r_max) in size.

    Args:
        studies: Time to target of every study.
        a: Index of the first submission.
        b: Index of the second one.
        r_max: The largest ratio that counts.
        scored: The number of workloads to compare; the first ones.

    Returns:
        For each study of each workload in which both count: the ratio if pruned trials are taken
        as misses, the smallest possible one and the largest possible one, (N,) each.
    """
    (most_a, most_b), (least_a, least_b) = (
        times_swk[[a, b], :scored] for times_swk in (studies.seconds_swk, studies.floor_swk)
    )
    both = ~np.isnan(most_a) & ~np.isnan(most_b)
    limit = math.log(r_max)
    return (
        log_ratio(most_a[both], most_b[both], limit),
        log_ratio(least_a[both], most_b[both], limit),
        log_ratio(most_a[both], least_b[both], limit),
    )


def log_ratio(times: Floats, others: Floats, limit: float) -> Floats:
    """log(time / other), at most `limit` in size; 0 if both are infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(times) - np.log(others)
    return np.clip(np.where(np.isnan(ratio), 0.0, ratio), -limit, limit)


def sign_flip_p(low_n: Floats, high_n: Floats) -> tuple[float, float]:
    """The smallest and the largest two-sided p-value of values that are only known as ranges.

    The one-sided p-value is the share of subsets of the values with a sum of at most 0 (negate
    these, and the sum is at least the observed one). So it decreases in every value, and its
    extremes are at the ends of all ranges. If the sum may be 0, the two-sided p-value may be 1.
    """
    at_low = at_high = _two_sided(low_n)
    if not np.array_equal(low_n, high_n):
        at_high = _two_sided(high_n)
    spans_0 = low_n.sum() <= 0 <= high_n.sum()
    return min(at_low, at_high), 1.0 if spans_0 else max(at_low, at_high)


def _two_sided(values_n: Floats) -> float:
    return min(1.0, 2 * sums_at_most_0(values_n if values_n.sum() > 0 else -values_n))


def sums_at_most_0(values_n: Floats) -> float:
    """The share of all subsets of the values with a sum of at most 0; exact up to 30 values.

    The values are split into halves, and for each sum of a subset of one half, the sums of the
    other that are small enough are counted (Horowitz and Sahni 1974). Equal values are counted
    together and zeros left out, so that it is often exact for more than 30. Otherwise values are
    rounded to a fine grid, which changes the share by less than 0.5% of it.
    """
    values_n = values_n[np.abs(values_n) > _EQUAL]
    distinct, counts = np.unique(values_n.round(12), return_counts=True)
    halves: list[list[tuple[float, int]]] = [[], []]
    sizes = [1, 1]
    for count, value in sorted(zip(counts.tolist(), distinct.tolist(), strict=True), reverse=True):
        half = int(sizes[1] < sizes[0])
        halves[half].append((value, count))
        sizes[half] *= count + 1
    if max(sizes) > _ENUMERATED:
        return _sums_at_most_0_on_grid(values_n)
    (sums, shares), (others, other_shares) = (_subset_sums(half) for half in halves)
    order = np.argsort(others)
    cumulative = np.concatenate([[0.0], np.cumsum(other_shares[order])])
    return float(shares @ cumulative[np.searchsorted(others[order], _EQUAL - sums, "right")])


def _subset_sums(half: Sequence[tuple[float, int]]) -> tuple[Floats, Floats]:
    """The sums of all subsets of values that occur `count` times, and the share of each sum."""
    sums, shares = np.zeros(1), np.ones(1)
    for value, count in half:
        taken = np.arange(count + 1)
        ways = np.array([math.comb(count, number) for number in taken.tolist()]) / 2.0**count
        sums = np.add.outer(value * taken, sums).ravel()
        shares = np.multiply.outer(ways, shares).ravel()
    return sums, shares


def _sums_at_most_0_on_grid(values_n: Floats) -> float:
    """`sums_at_most_0` from the distribution of the sum over all subsets, on a grid."""
    step = np.abs(values_n).sum() / _GRID
    moves = np.rint(values_n / step).astype(int)
    zero = int(-moves[moves < 0].sum())  # index of the sum 0
    share = np.zeros(zero + int(moves[moves > 0].sum()) + 1)
    share[zero] = 1.0
    for move in moves[moves != 0].tolist():
        half = share / 2
        share = half.copy()
        if move > 0:
            share[move:] += half[:-move]
        else:
            share[:move] += half[-move:]
    return float(share[: zero + 1].sum())


def holm(p: Sequence[float]) -> list[float]:
    """Holm's p-values (1979): their error probability holds for all of them together."""
    order = sorted(range(len(p)), key=p.__getitem__)
    steps = ((len(p) - place) * p[number] for place, number in enumerate(order))
    adjusted = dict(zip(order, accumulate(steps, max), strict=True))
    return [min(1.0, adjusted[number]) for number in range(len(p))]


def more_studies(ratios_n: Floats, workloads: int, level: float) -> int | None:
    """Estimates how many more studies on every workload would decide; None for too many.

    The sum of the log ratios over the root of their sum of squares is about normal under the null
    hypothesis. If they keep their mean and mean square, it grows with the root of N.

    Args:
        ratios_n: The log ratios so far: (N,).
        workloads: The number of workloads in a study.
        level: The two-sided level of this test.
    """
    mean = abs(float(ratios_n.mean())) if len(ratios_n) else 0.0
    if mean <= _EQUAL:
        return None
    root = NormalDist().inv_cdf(1 - level / 2) / mean * math.sqrt(float((ratios_n**2).mean()))
    needed = max(root**2, 1 - math.log2(level))  # with fewer, even the same sign throughout
    more = max(1, math.ceil((needed - len(ratios_n)) / workloads))
    return more if more <= MOST_MORE else None
