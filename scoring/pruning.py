"""Computes which trials can still change the leaderboard, and up to which second of their clock.

A trial's time to target is bounded: it is at least `low` and, once the trial has met the target,
exactly `high`. A trial's *deadline* is a second such that every time above it gives the same scores
as a miss, whatever the other trials do. Past its deadline a trial may stop: only the fastest trial
of a study counts; of the studies, only the median; of the submissions, only those within r_max
times the fastest; on a workload with a held-out variant, only those that count on both.

There is one exception: a workload over r_max times the fastest does not count, yet whether it is
*finite* decides whether the submission's time on the held-out variant may be the variant's fastest,
which others are judged by. Such a trial is therefore only *parked* until its variant is known to be
no faster than the fastest.

Deadlines never increase as more becomes known, so that stopping a trial remains correct. The proof
is the set of facts that decide: with the bounds of those trials alone, and none of any other, the
deadline is not later than the second at which the trial stopped.

Shapes: S submissions, W workloads (those scored, then held-out variants), K studies, T trials.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from scoring.grid import Place

Floats = npt.NDArray[np.float64]
_NOTHING = -np.inf  # no time makes a difference
_ROUNDING = 1 + 1e-12  # of the mean of two times


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides whether a trial matters.

    Attributes:
        held_out: The column of each held-out variant's workload, by the variant's column.
        r_max: The largest ratio to the fastest time that counts.
    """

    held_out: Mapping[int, int]
    r_max: float


MEDIANS = Rules({}, np.inf)  # every change of a median matters: for speedups, references


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of every trial's time to target.

    Attributes:
        low: Lower bounds: (S, W, K, T). 0 before a trial has started, `after` its clock while it
            runs or once it was stopped, infinite if it ended without meeting the target.
        high: The time at which the target was met, else infinite: (S, W, K, T).
    """

    low: Floats
    high: Floats

    @classmethod
    def unknown(cls, shape: tuple[int, int, int, int]) -> Bounds:
        """The bounds before any trial has started."""
        return cls(np.zeros(shape), np.full(shape, np.inf))

    def learn(self, place: Place, met_at: float | None, pruned_at: float | None) -> None:
        """Updates the bounds of a trial that has ended.

        Args:
            place: The trial's index in (S, W, K, T).
            met_at: The time at which it met the target; None if it did not.
            pruned_at: The time at which it was pruned before that; None if it ran to its end.
        """
        if met_at is not None:
            self.low[place] = self.high[place] = met_at
        elif pruned_at is None:
            self.low[place] = np.inf
        elif pruned_at > 0:
            self.low[place] = after(pruned_at)


def after(clock: npt.ArrayLike) -> Floats:
    """The smallest possible time to target of a trial that had not met it at this second."""
    later: Floats = np.nextafter(clock, np.inf)
    return later


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The second of its clock up to which each trial can still matter: (S, W, K, T).

    Attributes:
        stop: Past this second a trial cannot change any score.
        park: Past this second a trial matters only if its submission turns out to be the fastest
            on the held-out variant, so it should wait for that; never above `stop`.
    """

    stop: Floats
    park: Floats


def deadlines(bounds: Bounds, held_out: Mapping[int, int], r_max: float) -> Deadlines:
    """Computes the deadlines of all trials.

    Args:
        bounds: What is known of the trials.
        held_out: The column of each held-out variant's workload, which counts only if the variant
            does, by the variant's column.
        r_max: The largest ratio to the fastest time that counts.
    """
    fastest = bounds.high.min(-1)  # of each study: (S, W, K)
    low, high = np.sort(bounds.low.min(-1)), np.sort(fastest)
    stop_at, park_at = _relevant(_median(low), _median(high), held_out, r_max)
    study = np.minimum(fastest, _upper_middle(high)[..., None])
    stop, park = (
        np.minimum(study, _of_studies(limit, low)[..., None]) for limit in (stop_at, park_at)
    )
    shape = bounds.low.shape
    return Deadlines(
        np.broadcast_to(stop[..., None], shape), np.broadcast_to(park[..., None], shape)
    )


def _relevant(
    low: Floats, high: Floats, held_out: Mapping[int, int], r_max: float
) -> tuple[Floats, Floats]:
    """Limits above which all medians are equivalent: to stop at and to park at, (S, W) each.

    Args:
        low: Lower bounds of the median over studies: (S, W).
        high: Upper bounds: (S, W).
        held_out: As in `deadlines`.
        r_max: As in `deadlines`.
    """
    entered = high.copy()  # a variant counts only with its workload
    for variant, workload in held_out.items():
        entered[np.isinf(high[:, workload]), variant] = np.inf
    best = entered.min(0)  # the fastest takes at most this: (W,)
    cap = r_max * best
    may_count = np.isfinite(low) & (low <= cap)
    stop = np.broadcast_to(cap, low.shape).copy()
    park = stop.copy()
    for variant, workload in held_out.items():
        park[:, workload] = np.where(may_count[:, variant], cap[workload], best[workload])
        may_be_best = low[:, variant] < best[variant]
        undecided = may_be_best & np.isinf(high[:, workload])
        stop[:, workload] = np.where(undecided, np.inf, park[:, workload])
        stop[:, variant] = np.where(may_count[:, workload], cap[variant], best[variant])
        stop[np.isinf(low[:, workload]), variant] = _NOTHING
        park[:, variant] = stop[:, variant]
    return stop, park


def _of_studies(limit: Floats, low: Floats) -> Floats:
    """Converts limits on the median into limits on a study's time: (S, W).

    With an even number of studies the median is the mean of the middle two: it is above the limit
    if the upper one is above twice the limit minus the lower one.

    Args:
        limit: Limits above which all medians are equivalent: (S, W).
        low: Lower bounds of the studies in ascending order: (S, W, K).
    """
    count = low.shape[-1]
    of_study = limit
    if count % 2 == 0:
        lower = low[..., (count - 1) // 2]
        finite = np.isfinite(limit)
        slack = np.subtract(limit, lower, out=np.zeros(limit.shape), where=finite & (lower < limit))
        of_study = (limit + slack) * _ROUNDING
    median = _median(low)
    return np.where((median > limit) | np.isinf(median), 0.0, of_study)


def _median(ordered: Floats) -> Floats:
    """The median over the last axis, which is in ascending order, as `times.medians` defines it."""
    count = ordered.shape[-1]
    lower, upper = ordered[..., (count - 1) // 2], _upper_middle(ordered)
    return np.where(lower == upper, lower, (lower + upper) / 2)


def _upper_middle(ordered: Floats) -> Floats:
    middle: Floats = ordered[..., ordered.shape[-1] // 2]
    return middle


def connected(column: int, held_out: Mapping[int, int]) -> list[int]:
    """The columns whose trials affect the deadlines of one column, including itself; ascending.

    These are a workload and its held-out variants: the deadlines of one workload do not depend on
    the trials of another.
    """
    found, before = {column}, 0
    while len(found) > before:
        before = len(found)
        pairs = [{variant, workload} for variant, workload in held_out.items()]
        found = found.union(*(pair for pair in pairs if pair & found))
    return sorted(found)


def prove(bounds: Bounds, place: Place, second: float, rules: Rules) -> list[Place]:
    """The trials whose bounds decide that a trial may stop at a second of its clock.

    The result is minimal and prefers closely related trials: complete submissions are left out
    first, then complete workloads, then single trials, those of the same study last. Only trials of
    `connected` columns can be in it, so the bounds of these columns alone give the same result.
    """
    known = (bounds.low > 0) | np.isfinite(bounds.high)
    known[place] = False
    facts = np.argwhere(known)
    same = np.logical_and.accumulate(facts[:, :3] == place[:3], axis=1)
    facts = facts[np.lexsort(same.T)]  # the last key, the study, has priority
    keep = np.ones(len(facts), bool)

    def enough(keep: npt.NDArray[np.bool_]) -> bool:
        return _holds(bounds, facts[keep], place, second, rules)

    if enough(keep):
        numbers = [(axis, n) for axis in (0, 1) for n in dict.fromkeys(facts[:, axis].tolist())]
        _leave_out([np.flatnonzero(facts[:, axis] == n) for axis, n in numbers], keep, enough)
        _leave_out(list(np.flatnonzero(keep)[:, None]), keep, enough)
    return [(s, w, k, t) for s, w, k, t in facts[keep].tolist()]


def _leave_out(
    groups: Sequence[npt.NDArray[np.intp]],
    keep: npt.NDArray[np.bool_],
    enough: Callable[[npt.NDArray[np.bool_]], bool],
) -> None:
    """Removes from `keep`, in order, each group without which the others are still enough.

    Fewer facts never decide more. So if several groups can be left out together, each of them can
    be, and their number is found by doubling and bisection.
    """

    def without(first: int, count: int) -> npt.NDArray[np.bool_]:
        fewer = keep.copy()
        for group in groups[first : first + count]:
            fewer[group] = False
        return fewer

    def can_go(first: int, count: int) -> bool:
        return enough(without(first, count))

    first = 0
    while first < len(groups):
        count = _most(partial(can_go, first), len(groups) - first)
        keep[:] = without(first, count)
        first += count + 1  # the next one is needed


def _most(possible: Callable[[int], bool], limit: int) -> int:
    """The largest possible number up to `limit`, if all below a possible one are; 0 always is."""
    most, more = 0, 1
    while more <= limit and possible(more):
        most, more = more, 2 * more
    untried = range(most + 1, min(more, limit + 1))
    return most + bisect.bisect_left(untried, True, key=lambda n: not possible(n))


def holds(bounds: Bounds, facts: list[Place], place: Place, second: float, rules: Rules) -> bool:
    """Whether the bounds of these trials alone decide that a trial may stop at a second."""
    return _holds(bounds, np.array(facts, np.intp).reshape(-1, 4), place, second, rules)


def _holds(
    bounds: Bounds, facts: npt.NDArray[np.intp], place: Place, second: float, rules: Rules
) -> bool:
    """Like `holds`; submissions without facts are unknown, so they are left out of the arrays."""
    rows, numbers = np.unique(np.append(facts[:, 0], place[0]), return_inverse=True)
    there, here = tuple(facts.T), (numbers[:-1], *facts.T[1:])
    alone, own = Bounds.unknown((len(rows), *bounds.low.shape[1:])), (numbers[-1], *place[1:])
    alone.low[here], alone.high[here] = bounds.low[there], bounds.high[there]
    if second > 0:
        alone.low[own] = after(second)
    return bool(deadlines(alone, rules.held_out, rules.r_max).stop[own] <= second)
