r"""Decides which submissions are faster while studies are added, valid however often one looks.

If two submissions do not differ, the log ratio d of their times in a study is as likely to be
positive as negative. So betting a share tanh(s d) of a capital on positive ratios multiplies it by
1 + tanh(s d), which is 1 on average, whatever the scale s, and however studies were chosen from
earlier results. The capital is a test martingale: the probability that it ever reaches 1/p is at
most p (Ville 1939). The factor is the likelihood ratio of the sign of d if d is normal with s =
mean / variance. As that is unknown, the capital is divided equally over several scales; the mean of
test martingales is one too (Ramdas et al. 2023, *Game-Theoretic Statistics and Safe Anytime-Valid
Inference*).

Shapes: S submissions, W workloads (those scored, then held-out variants), K studies, T trials, N
pairs of times, L scales.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from scoring.grid import Place
from scoring.pruning import Bounds, Floats
from scoring.records import Decide, Order
from scoring.significance import holm, log_ratio

SCALES = 4.0 ** np.arange(4)
Counts = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is to be decided, and at which probability of an error.

    Attributes:
        decide: The first place, or the order of every pair.
        confidence: One minus the probability that any decision is wrong.
        max_studies: The largest number of studies of a submission on a workload.
        order: Whether to add one study at a time, for the fewest hours, or one on every workload,
            for the earliest end.
    """

    decide: Decide = Decide.ALL
    confidence: float = 0.95
    max_studies: int = 20
    order: Order = Order.COST


@dataclass(slots=True)
class Observations:
    """The trials of a leaderboard that have ended, and what a study costs.

    Attributes:
        bounds: Bounds of each trial's time to target.
        ended: Whether it has ended, or was pruned: (S, W, K, T).
        started: Whether it has started: (S, W, K, T).
        seconds: How long it ran, on its clock: (S, W, K, T).
    """

    bounds: Bounds
    ended: npt.NDArray[np.bool_]
    started: npt.NDArray[np.bool_]
    seconds: Floats

    @classmethod
    def none(cls, shape: tuple[int, int, int, int]) -> Observations:
        """No trial has ended yet."""
        unknown = Bounds.unknown(shape)
        return cls(unknown, np.zeros(shape, bool), np.zeros(shape, bool), np.zeros(shape))

    def learn(
        self, place: Place, met_at: float | None, pruned_at: float | None, seconds: float
    ) -> None:
        """Adds a trial that has ended; arguments as in `Bounds.learn`."""
        self.bounds.learn(place, met_at, pruned_at)
        self.ended[place] = True
        self.started[place] = pruned_at != 0
        self.seconds[place] = seconds

    @property
    def hours(self) -> float:
        """The hours of all trials."""
        return float(self.seconds.sum()) / 3600

    def of(self, submissions: Sequence[int]) -> Observations:
        """The observations of some submissions only."""
        chosen = list(submissions)
        bounds = Bounds(self.bounds.low[chosen], self.bounds.high[chosen])
        return Observations(bounds, self.ended[chosen], self.started[chosen], self.seconds[chosen])

    def log_ratios(self, a: int, b: int, w: int, r_max: float) -> tuple[Floats, Floats]:
        """The smallest and largest possible log ratios of two submissions on a workload: (N,) each.

        Studies in which a trial has not ended are left out, and those that were pruned before any
        of their trials started: that depended on other studies only. Ratios are limited as in
        `significance.log_ratios`.
        """
        pair = [a, b]
        is_known_k = (self.ended[pair, w].all(-1) & self.started[pair, w].any(-1)).all(0)
        least_a, least_b = self.bounds.low[pair, w].min(-1)[:, is_known_k]
        most_a, most_b = self.bounds.high[pair, w].min(-1)[:, is_known_k]
        limit = math.log(r_max)
        return log_ratio(least_a, most_b, limit), log_ratio(most_a, least_b, limit)


def log_capital(ratios: Floats) -> Floats:
    """The logarithm of the capital after betting that log ratios are positive.

    Args:
        ratios: Log ratios: (..., N).
    """
    factors = log_factors(ratios).sum(axis=-2)
    capital: Floats = np.logaddexp.reduce(factors, axis=-1) - math.log(len(SCALES))
    return capital


def log_factors(ratios: Floats) -> Floats:
    """log(1 + tanh(s d)) for each log ratio and scale: (..., N, L)."""
    return math.log(2) - np.logaddexp(0.0, -2 * ratios[..., None] * SCALES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What is known about two submissions.

    Attributes:
        names: The names of both.
        pairs: The number of pairs of times.
        log_capitals: The logarithms of the capitals that bet on the first, and on the second, being
            the faster one; lower bounds if trials were pruned.
        p: The p-value that is valid at any time; corrected for all pairs by Holm's method when the
            order of all is to be decided.
        faster: The name of the faster one, "" if that is not decided.
        settled: Whether no more studies are needed: it is decided, or one of them cannot be first.
    """

    names: tuple[str, str]
    pairs: int
    log_capitals: tuple[float, float]
    p: float
    faster: str
    settled: bool


def decide(
    seen: Observations, names: Sequence[str], scored: int, r_max: float, question: Question
) -> list[Decision]:
    """What the observed studies decide about each pair of submissions.

    For the order of all pairs, the p-value of a pair is twice the inverse of the larger capital,
    corrected by Holm's method, which is valid at any time since each p-value is. For the first
    place, a submission is out once another one's capital against it reaches 2 (S - 1) / (1 -
    confidence). If one submission is the fastest, it is out by mistake with at most half of the
    stated probability. If m tie, all but one of these would have to be out, which has at most m /
    (2 (m - 1)) of it.

    Args:
        seen: The trials that have ended.
        names: The names of the submissions.
        scored: The number of scored workloads, which come first.
        r_max: The largest ratio that counts.
        question: What is to be decided.
    """
    alpha = 1 - question.confidence
    pairs = list(combinations(range(len(names)), 2))
    counts, capitals = [], []
    for a, b in pairs:
        ranges = [seen.log_ratios(a, b, w, r_max) for w in range(scored)]
        low, high = (np.concatenate([of[end] for of in ranges]) for end in (0, 1))
        counts.append(len(low))
        capitals.append((float(log_capital(-high)), float(log_capital(low))))
    factor = 2 if question.decide is Decide.ALL else 2 * (len(names) - 1)
    p = [min(1.0, factor * math.exp(-max(both))) for both in capitals]
    if question.decide is Decide.ALL:
        p = holm(p)
    winners = [
        (pair[both[1] > both[0]] if p_value <= alpha else None)
        for pair, both, p_value in zip(pairs, capitals, p, strict=True)
    ]
    out = {a + b - won for (a, b), won in zip(pairs, winners, strict=True) if won is not None}
    if question.decide is Decide.ALL:
        settled = [won is not None for won in winners]
    else:
        settled = [bool(out & {*pair}) for pair in pairs]
    return [
        Decision(
            names=(names[a], names[b]),
            pairs=count,
            log_capitals=both,
            p=p_value,
            faster="" if won is None else names[won],
            settled=is_settled,
        )
        for (a, b), count, both, p_value, won, is_settled in zip(
            pairs, counts, capitals, p, winners, settled, strict=True
        )
    ]


def next_counts(
    seen: Observations,
    counts_sw: Counts,
    decisions: Sequence[Decision],
    scored: int,
    held_out: Mapping[int, int],
    r_max: float,
    question: Question,
) -> Counts:
    """The numbers of studies after the next ones are added; the same if none can decide anything.

    Each pair that is not settled asks for the workloads on which it has the fewest studies, so that
    no workload has more weight than another by more than one study. A workload on which all of its
    studies tie, since both miss, is left out: it decides nothing. Of the workloads that are asked
    for, the one comes first on which the pairs can expect to gain most per hour; with
    `Order.LATENCY` all of them run. A held-out variant has as many studies as its workload.

    Args:
        seen: The trials that have ended: all of the studies counted.
        counts_sw: The numbers of studies: (S, W).
        decisions: What they decide, from `decide`.
        scored: The number of scored workloads, which come first.
        held_out: The column of each held-out variant's workload, by the variant's column.
        r_max: The largest ratio that counts.
        question: What is to be decided.
    """
    asked: dict[int, list[tuple[float, tuple[int, int]]]] = {}  # by workload: gain and pair
    for pair, decision in zip(combinations(range(len(counts_sw)), 2), decisions, strict=True):
        if decision.settled:
            continue
        gain_w = _expected_gains(seen, *pair, scored, r_max)
        level_w = counts_sw[[*pair], :scored].min(axis=0)
        open_w = [w for w in np.flatnonzero(gain_w).tolist() if level_w[w] < question.max_studies]
        for w in open_w:
            if level_w[w] == min(level_w[open_w]):
                asked.setdefault(w, []).append((float(gain_w[w]), pair))
    new_sw = counts_sw.copy()
    gains_per_hour = {}
    for w, pairs in sorted(asked.items()):
        level = min(int(counts_sw[s, w]) for _, pair in pairs for s in pair)
        added = sorted({s for _, pair in pairs for s in pair if counts_sw[s, w] == level})
        gains_per_hour[w] = sum(gain for gain, _ in pairs) / _seconds(seen, added, w, held_out)
    for w in sorted(gains_per_hour, key=lambda w: (-gains_per_hour[w], w)):
        for _, pair in asked[w]:
            level = counts_sw[[*pair], w].min()
            for s in pair:
                new_sw[s, w] = max(new_sw[s, w], level + 1)
        if question.order is Order.COST:
            break
    for variant, workload in held_out.items():
        new_sw[:, variant] = new_sw[:, workload]
    return new_sw


def _expected_gains(seen: Observations, a: int, b: int, scored: int, r_max: float) -> Floats:
    """How consistently one of two submissions is faster on each workload, from 0 to 1: (W,).

    It is the mean share of the capital that a bet on the scale that fits best won or lost.
    """
    ranges = [seen.log_ratios(a, b, w, r_max) for w in range(scored)]
    middle_w = [(low + high) / 2 for low, high in ranges]
    factors_l = log_factors(np.concatenate(middle_w)).sum(axis=0)
    other_way_l = log_factors(-np.concatenate(middle_w)).sum(axis=0)
    scale = SCALES[np.maximum(factors_l, other_way_l).argmax()]
    return np.array(
        [abs(np.tanh(scale * ratios).mean()) if len(ratios) else 0.0 for ratios in middle_w]
    )


def _seconds(
    seen: Observations, submissions: Sequence[int], w: int, held_out: Mapping[int, int]
) -> float:
    """The mean seconds so far of a study of each of these submissions, with its variants."""
    columns = [w, *(variant for variant, workload in held_out.items() if workload == w)]
    total = 0.0
    for column in columns:
        for s in submissions:
            ended_k = seen.ended[s, column].all(-1)
            if ended_k.any():
                total += float(seen.seconds[s, column].sum(-1)[ended_k].mean())
    return max(total, 1e-9)
