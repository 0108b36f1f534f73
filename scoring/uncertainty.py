"""Estimates how much of a leaderboard is luck, by a bootstrap over studies or also workloads.

Shapes: R resamples, S submissions, W workloads (B scored ones, then held-out variants), K studies.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scoring.profiles import Floats, apply_rules, credit
from scoring.reading.results import Scope
from scoring.times import Integers, Method, StudyTimes, medians

RESAMPLES = 10_000
LEVEL = 0.95
_CHUNK = 2_000_000  # study times in memory at a time

Draws = list[dict[int, Integers]]  # by workload: the draws (R, K) for each number of studies K


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """The result of resampling a leaderboard.

    Attributes:
        resampled: "studies", or "workloads" for both.
        resamples: Number of resamples.
        seed: Seed of the draws.
        low: Lower end of each score's 95% interval: (S,).
        high: Upper end.
        sampling_low: Lower end if pruned trials are taken as misses, so that only sampling makes
            the interval wide.
        sampling_high: Upper end, under the same assumption.
        ranks: How often the row's submission had rank 1, 2, ...: (S, S). Submissions that tie share
            the best of their ranks. Pruned trials are taken as misses.
        ranks_low: How often it had that rank whatever the times of pruned trials were.
        ranks_high: How often it may have had that rank.
        beats: How often the row's submission scored above the column's, a tie counting half:
            (S, S). Pruned trials are taken as misses.
        beats_low: How often it did whatever the times of pruned trials were.
        beats_high: How often it may have.
    """

    resampled: str
    resamples: int
    seed: int
    low: Floats
    high: Floats
    sampling_low: Floats
    sampling_high: Floats
    ranks: Floats
    ranks_low: Floats
    ranks_high: Floats
    beats: Floats
    beats_low: Floats
    beats_high: Floats

    @property
    def is_open(self) -> bool:
        """Whether pruned trials make intervals or rank probabilities wider than sampling does."""
        return bool(
            (self.low < self.sampling_low).any()
            or (self.high > self.sampling_high).any()
            or (self.ranks_low < self.ranks_high).any()
            or (self.beats_low < self.beats_high).any()
        )


def bootstrap(
    studies: StudyTimes,
    scope: Scope,
    method: Method,
    resampled: str = "studies",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Uncertainty:
    """Scores the board repeatedly from studies drawn with replacement.

    For each workload, a resample draws as many studies as there are, the same ones for all
    submissions, since studies of the same number share their seeds. It then scores all submissions
    relative to the fastest of the resample. With `resampled` = "workloads" it also draws the scored
    workloads with replacement, each with its held-out variant. Intervals are percentiles (Efron and
    Tibshirani 1993, *An Introduction to the Bootstrap*, section 13.3).

    An interval estimates where a score would be if the studies were repeated with these
    submissions, workloads, search spaces and machines. It does not describe other hardware, nor
    other workloads (for which `resampled` = "workloads" gives an indication). With few studies it
    is coarse and too narrow: a resampled median is always one of the measured times, so that for a
    single workload with three studies the interval contains the true median 75% of the time, with
    five 94% (1 - 2/2^K). A workload missed in all studies is missed in all resamples.

    The time of a pruned trial is between the second at which it stopped and infinity. The score
    itself does not depend on it, but resamples without the studies that decided it do. The ends of
    an interval therefore combine the worst (best) possible times of the submission with the best
    (worst) possible times of the others. The bounds of rank probabilities are found in the same
    way: in each resample a submission is at best behind those that certainly score higher, and at
    worst behind those that may; the bounds of `beats` compare the smallest possible score of one
    with the largest possible score of the other. A failed trial is a miss.

    Args:
        studies: Time to target of every study.
        scope: What the score is computed over.
        method: How to score.
        resampled: "studies" or "workloads".
        seed: Seed that, with a workload's name, determines the draws of its studies.
        resamples: Number of resamples, R.
    """
    options = (studies, scope, method, resampled, seed, resamples)
    sampled = resampled_scores(studies.seconds_swk, *options)
    tail = (1 - LEVEL) / 2
    sampling_low, sampling_high = np.quantile(sampled, [tail, 1 - tail], axis=0)
    least_rs, most_rs = sampled.copy(), sampled.copy()
    is_open = not np.array_equal(studies.floor_swk, studies.seconds_swk, equal_nan=True)
    for s in range(sampled.shape[1]) if is_open else ():
        least, most = extremes(studies, s)
        least_rs[:, s] = resampled_scores(least, *options)[:, s]
        most_rs[:, s] = resampled_scores(most, *options)[:, s]
    rank_sr = np.ascontiguousarray(_ranks(sampled).T)
    count = len(rank_sr)
    surely, possibly = _rank_bounds(least_rs, most_rs)
    return Uncertainty(
        resampled=resampled,
        resamples=resamples,
        seed=seed,
        low=np.quantile(least_rs, tail, axis=0),
        high=np.quantile(most_rs, 1 - tail, axis=0),
        sampling_low=sampling_low,
        sampling_high=sampling_high,
        ranks=np.stack([np.bincount(rank_r, minlength=count) for rank_r in rank_sr]) / resamples,
        ranks_low=surely,
        ranks_high=possibly,
        beats=_beats(sampled, sampled),
        beats_low=_beats(least_rs, most_rs),
        beats_high=_beats(most_rs, least_rs),
    )


def _beats(scores_rs: Floats, others_rs: Floats) -> Floats:
    """How often each submission's score is above that of each other one: (S, S)."""
    scores_sr, others_sr = np.ascontiguousarray(scores_rs.T), np.ascontiguousarray(others_rs.T)
    beats = np.stack([share_above(score_r, others_sr) for score_r in scores_sr])
    np.fill_diagonal(beats, 0.5)
    return beats


def share_above(score_r: Floats, others: Floats) -> Floats:
    """How often a score is above another one, or each of several (..., R), a tie counting half."""
    above = np.count_nonzero(score_r > others, axis=-1)
    level = np.count_nonzero(score_r == others, axis=-1)
    share: Floats = (above + level / 2) / len(score_r)
    return share


def _rank_bounds(least_rs: Floats, most_rs: Floats) -> tuple[Floats, Floats]:
    """How often each submission certainly had each rank, and how often it may have: (S, S).

    Args:
        least_rs: The smallest possible score of each submission in each resample.
        most_rs: The largest possible score.
    """
    resamples, count = least_rs.shape
    surely, possibly = np.zeros((count, count)), np.zeros((count, count))
    places = np.arange(count)
    for s in range(count):
        best_r = np.count_nonzero(least_rs > most_rs[:, s, None], axis=1)
        may_be_above_rs = most_rs > least_rs[:, s, None]
        may_be_above_rs[:, s] = False
        worst_r = np.count_nonzero(may_be_above_rs, axis=1)
        within_rs = (best_r[:, None] <= places) & (places <= worst_r[:, None])
        surely[s] = np.count_nonzero(within_rs & (best_r == worst_r)[:, None], axis=0)
        possibly[s] = np.count_nonzero(within_rs, axis=0)
    return surely / resamples, possibly / resamples


def repeated(scope: Scope, resampled: str) -> bool:
    """Whether there is anything to resample; if not, intervals are meaningless points."""
    return scope.studies > 1 or resampled == "workloads"


def extremes(studies: StudyTimes, s: int) -> tuple[Floats, Floats]:
    """Seconds (S, W, K) that give submission number `s` its smallest and its largest score.

    A score decreases with the submission's own times and increases with those of the others,
    through the fastest time.
    """
    least, most = studies.floor_swk.copy(), studies.seconds_swk.copy()
    least[s], most[s] = studies.seconds_swk[s], studies.floor_swk[s]
    return least, most


def _ranks(scores_rs: Floats) -> npt.NDArray[np.int32]:
    """The rank from 0 of each submission in each resample: the number of those above it."""
    order = np.argsort(-scores_rs, axis=1)
    ordered = np.take_along_axis(scores_rs, order, axis=1)
    leads = np.ones(ordered.shape, dtype=bool)  # whether it is the first of those that tie
    leads[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    place = np.where(leads, np.arange(ordered.shape[1], dtype=np.int32), 0)
    ranks = np.empty(ordered.shape, dtype=np.int32)
    np.put_along_axis(ranks, order, np.maximum.accumulate(place, axis=1), axis=1)
    return ranks


def resampled_scores(
    seconds_swk: Floats,
    studies: StudyTimes,
    scope: Scope,
    method: Method,
    resampled: str,
    seed: int,
    resamples: int,
) -> Floats:
    """The scores of all resamples, (R, S), to 12 digits so that equal ones are equal.

    Args:
        seconds_swk: Seconds of the studies in place of those of `studies`.
        studies: The names and numbers of studies.
        scope: As in `bootstrap`; so are the others.
        method: How to score.
        resampled: "studies" or "workloads".
        seed: Seed of the draws.
        resamples: Number of resamples, R.
    """
    planned_sw = studies.planned_sw
    draws = study_draws(studies.workloads, planned_sw, seed, resamples)
    weights_rb = _workload_weights(len(scope.scored), resampled, seed, resamples)
    size = max(1, _CHUNK // math.prod(seconds_swk.shape))
    parts = []
    for start in range(0, resamples, size):
        part = slice(start, start + size)
        drawn = [{count: draws_rk[part] for count, draws_rk in of.items()} for of in draws]
        times_rsw = resampled_medians(seconds_swk, planned_sw, drawn)
        ratios_rsb = apply_rules(times_rsw, scope).ratios
        credit_rsb = credit(ratios_rsb, scope.ruleset.r_max, method.exact_area)
        parts.append(np.einsum("rsb,rb->rs", credit_rsb, weights_rb[part]))
    return np.concatenate(parts).round(12)


def resampled_medians(seconds_swk: Floats, planned_sw: Integers, draws: Draws) -> Floats:
    """Median seconds of each resample: (R, S, W)."""
    resamples = len(next(iter(draws[0].values())))
    times_rsw = np.empty((resamples, *planned_sw.shape))
    for w, by_count in enumerate(draws):
        for count, draws_rk in by_count.items():
            rows = np.flatnonzero(planned_sw[:, w] == count)
            times_rsw[:, rows, w] = medians(seconds_swk[rows, w][:, draws_rk]).T
    return times_rsw


def study_draws(workloads: list[str], planned_sw: Integers, seed: int, resamples: int) -> Draws:
    """The studies that each resample draws for each workload, as many as there are.

    Submissions with the same number of studies draw the same ones. Where numbers differ, each still
    draws all of its own studies with the same probability, and they share as many draws as that
    allows. A workload's draws depend only on its name, the seed and the numbers of studies.
    """
    return [
        _draws(_generator(seed, name), np.unique(planned_sw[:, w]).tolist(), resamples)
        for w, name in enumerate(workloads)
    ]


def _draws(
    generator: np.random.Generator, counts: list[int], resamples: int
) -> dict[int, Integers]:
    """The draws (R, K) for each number of studies K, in ascending order."""
    found: dict[int, Integers] = {}
    before = np.empty((resamples, 0), np.intp)
    for count in counts:
        drawn = generator.integers(0, count, (resamples, count))
        fewer = before.shape[1]
        if fewer:  # keep a draw with the probability that a draw is one of the fewer studies
            kept = generator.random(before.shape) < fewer / count
            others = generator.integers(fewer, count, before.shape)
            drawn[:, :fewer] = np.where(kept, before, others)
        found[count] = before = drawn
    return found


def _workload_weights(count: int, resampled: str, seed: int, resamples: int) -> Floats:
    """The weight of each scored workload in each resample: (R, B), with sum 1."""
    if resampled == "studies":
        return np.full((resamples, count), 1 / count)
    drawn = _generator(seed, "").multinomial(count, np.full(count, 1 / count), size=resamples)
    return drawn / count


def _generator(seed: int, name: str) -> np.random.Generator:
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest())
    return np.random.default_rng([seed, digest])
