"""Which trials can still change the leaderboard, and up to which second of their clock.

What is known of a trial is an interval: its time to target is at least `low` and, once it has met
the target, exactly `high`. A trial's *deadline* is a second such that every time above it gives the
same scores as a miss, whatever the trials that are still under way will do. Past it the trial is
wasted and may stop: in the study only the fastest trial counts; of the studies only the median; of
the submissions only those within r_max times the fastest; of a workload with a held-out variant
only those that count on both.

One trap: a workload over r_max times the fastest does not count, yet whether it is *finite* decides
if its held-out variant may set the fastest time of that variant, which others are judged by. So
such a trial is no more than *parked*, until its variant is known to be no faster than the fastest.

Deadlines never grow as more becomes known, so that a trial that was stopped stays rightly stopped.
The proof is the facts that decide: with what is known of those trials alone, and nothing of any
other, the deadline is no later than the second at which the trial stopped.

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
_NOTHING = -np.inf  # no time at all makes a difference
_ROUNDING = 1 + 1e-12  # of a mean of two times


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides whether a trial matters.

    Attributes:
        held_out: By column of a held-out variant that of its workload.
        r_max: How many times the fastest a submission may take.
    """

    held_out: Mapping[int, int]
    r_max: float


MEDIANS = Rules({}, np.inf)  # whatever changes no median: what speedups and references need


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is known of every trial's time to target.

    Attributes:
        low: The time to target is at least this: (S, W, K, T). See `after` for a trial under way
            or stopped; 0 for one that has not begun, infinite for one that ended without.
        high: The time where the target was met, else infinite: (S, W, K, T).
    """

    low: Floats
    high: Floats

    @classmethod
    def unknown(cls, shape: tuple[int, int, int, int]) -> Bounds:
        """Before anything has begun."""
        return cls(np.zeros(shape), np.full(shape, np.inf))

    def learn(self, place: Place, met_at: float | None, pruned_at: float | None) -> None:
        """Adds what the end of a trial says of its time to target.

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
    """The least time to target of a trial that had not met it at this second of its clock."""
    later: Floats = np.nextafter(clock, np.inf)
    return later


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Up to which second of its clock each trial can still matter: (S, W, K, T).

    Attributes:
        stop: Past it a trial cannot change any score.
        park: Past it a trial matters only if its submission's held-out variant turns out to be the
            fastest, so that it should wait for that; nowhere above `stop`.
    """

    stop: Floats
    park: Floats


def deadlines(bounds: Bounds, held_out: Mapping[int, int], r_max: float) -> Deadlines:
    """The deadlines of all trials, given all that is known.

    Args:
        bounds: What is known.
        held_out: By column of a held-out variant the column of its workload, which counts only if
            the variant does.
        r_max: How many times the fastest a submission may take.
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
    """Medians above these limits are alike: to stop at, and to park at: (S, W) each.

    Args:
        low: The median over studies is at least this: (S, W).
        high: And at most this.
        held_out: As in `deadlines`.
        r_max: Likewise.
    """
    entered = high.copy()  # where a variant enters only with its workload
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
    """From limits on the median, (S, W), to limits on a study's time.

    With an even number of studies the median is the mean of the middle two: that it is above the
    limit takes an upper one above twice the limit less the lower one.

    Args:
        limit: Medians above it are alike: (S, W).
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
    """The median over the last axis, which is in ascending order, as `times.medians` has it."""
    count = ordered.shape[-1]
    lower, upper = ordered[..., (count - 1) // 2], _upper_middle(ordered)
    return np.where(lower == upper, lower, (lower + upper) / 2)


def _upper_middle(ordered: Floats) -> Floats:
    middle: Floats = ordered[..., ordered.shape[-1] // 2]
    return middle


def connected(column: int, held_out: Mapping[int, int]) -> list[int]:
    """The columns whose trials decide about those of one column, itself included; ascending.

    These are a workload and its held-out variants: deadlines of one workload do not depend on
    what is known of another.
    """
    found, before = {column}, 0
    while len(found) > before:
        before = len(found)
        pairs = [{variant, workload} for variant, workload in held_out.items()]
        found = found.union(*(pair for pair in pairs if pair & found))
    return sorted(found)


def prove(bounds: Bounds, place: Place, second: float, rules: Rules) -> list[Place]:
    """The trials whose facts decide that a trial may stop at a second of its clock.

    As few as are needed, and the closest: what is left out first are other submissions as a whole,
    then other workloads, then single trials, those of its own study last. Only trials of
    `connected` columns can be among them, so bounds of these columns alone give the same facts.
    """
    known = (bounds.low > 0) | np.isfinite(bounds.high)
    known[place] = False
    facts = np.argwhere(known)
    same = np.logical_and.accumulate(facts[:, :3] == place[:3], axis=1)
    facts = facts[np.lexsort(same.T)]  # the last key, that of the study, counts most
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
    """Takes out of `keep`, one group after another, each that the others are enough without.

    Fewer facts never decide more. So where several groups can be left out together, each of them
    can be, and the number of them is found by doubling and halving.
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
    """The largest number up to `limit` that is possible, as all below it are; 0 always is."""
    most, more = 0, 1
    while more <= limit and possible(more):
        most, more = more, 2 * more
    untried = range(most + 1, min(more, limit + 1))
    return most + bisect.bisect_left(untried, True, key=lambda n: not possible(n))


def holds(bounds: Bounds, facts: list[Place], place: Place, second: float, rules: Rules) -> bool:
    """Whether these facts alone decide that a trial may stop at a second of its clock."""
    return _holds(bounds, np.array(facts, np.intp).reshape(-1, 4), place, second, rules)


def _holds(
    bounds: Bounds, facts: npt.NDArray[np.intp], place: Place, second: float, rules: Rules
) -> bool:
    """As `holds`; of submissions that no fact is about nothing is known, so they are left out."""
    rows, numbers = np.unique(np.append(facts[:, 0], place[0]), return_inverse=True)
    there, here = tuple(facts.T), (numbers[:-1], *facts.T[1:])
    alone, own = Bounds.unknown((len(rows), *bounds.low.shape[1:])), (numbers[-1], *place[1:])
    alone.low[here], alone.high[here] = bounds.low[there], bounds.high[there]
    if second > 0:
        alone.low[own] = after(second)
    return bool(deadlines(alone, rules.held_out, rules.r_max).stop[own] <= second)
