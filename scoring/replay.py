"""Computes what exact pruning would have saved on finished logs, and whether any score changes.

Trials are replayed from their logs, each until its deadline or its end. The clocks of trials that
run side by side advance together; hours are those of the submission clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scoring import plain
from scoring.grid import held_out_columns
from scoring.order import likely_winners_first
from scoring.prediction import MOVED, curves, stops
from scoring.profiles import apply_rules, scores
from scoring.pruning import Bounds, Floats, after, deadlines
from scoring.reading.results import Results, Scope
from scoring.times import medians

RISKS = (0.1, 0.2, 0.3, 0.5)

Group = npt.NDArray[np.intp]  # flat indices of trials that run side by side


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """One order of trials, replayed.

    Attributes:
        name: The pruning.
        order: The order of the trials.
        hours: The hours still run.
        saved_percent: The hours saved, in percent of those in the logs.
        largest_change: The largest change of a score.
        moved: Number of submissions whose scores changed by more than the change that counts.
    """

    name: str
    order: str
    hours: float
    saved_percent: float
    largest_change: float
    moved: int

    @property
    def scores_unchanged(self) -> bool:
        """Whether every score is the same to 1e-12."""
        return self.largest_change <= 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class Logs:
    """Finished trials as arrays (S, W, K, T); one that was not read took no time and is a miss.

    Attributes:
        scope: What the trials are scored over.
        logged: Seconds on the submission clock.
        met: The time at which the target was met, infinite for a miss.
        planned: The number of studies of each submission on each workload: (S, W); None for K.
    """

    scope: Scope
    logged: Floats
    met: Floats
    planned: npt.NDArray[np.intp] | None = None

    @property
    def hours(self) -> float:
        """The hours of all trials."""
        return float(self.logged.sum()) / 3600

    @property
    def held_out(self) -> dict[int, int]:
        """The column of each held-out variant's workload, by the variant's column."""
        return held_out_columns(self.scope.workloads, self.scope.held_out)

    def scores(self, times: Floats) -> Floats:
        """Scores (S,) from times to target (S, W, K, T)."""
        times_swk = times.min(-1)
        if self.planned is not None:
            is_planned = np.arange(times.shape[2]) < self.planned[..., None]
            times_swk = np.where(is_planned, times_swk, np.nan)
        stages = apply_rules(medians(times_swk), self.scope)
        return scores(stages, self.scope.ruleset.r_max, exact=True)


def logs(results: Results) -> Logs:
    """The trials that the written rule counts."""
    grid = results.grid
    logged, met = np.zeros(grid.shape), np.full(grid.shape, np.inf)
    for trial in results.trials:
        if trial.extra:
            continue
        place = grid.place(trial)
        logged[place] = trial.submission_seconds
        if trial.hit is not None and trial.within_budget:
            met[place] = trial.hit.submission_seconds
    planned = np.array(
        [[results.scope.planned(s, w) for w in results.scope.workloads] for s in grid.rows]
    )
    return Logs(scope=results.scope, logged=logged, met=met, planned=planned)


def replay(results: Results) -> tuple[Logs, list[Replayed]]:
    """Replays logs under exact pruning, in several orders.

    Returns:
        The logs, and the result of each order: "sequential", one trial after the other by name;
        "side by side", the trials of a study together; "cost" and "latency", as in `chronograd
        sweep --order`; and "oracle", which knows how every study ends, for comparison.
    """
    found = logs(results)
    return found, [replay_order(found, order) for order in ORDERS]


def replay_order(found: Logs, order: str) -> Replayed:
    """Replays logs under exact pruning, in one of `ORDERS`."""
    return _replayed(found, "exact", order, np.full(found.met.shape, np.inf))


def replay_predictions(results: Results, found: Logs, max_change: float = MOVED) -> list[Replayed]:
    """Replays logs in the order "cost" with prediction on top, at several risks.

    See `scoring.prediction`; each submission is judged by the others.
    """
    read = curves(results, found.met)
    return [
        _replayed(
            found,
            f"predict, risk {risk:g}",
            "cost",
            stops(read, risk, found.scores, max_change),
            max_change,
        )
        for risk in RISKS
    ]


def to_plain(results: Results, found: Logs, policies: Sequence[Replayed]) -> dict[str, Any]:
    """The JSON data of `chronograd replay --json`."""
    return {
        "ruleset": results.scope.ruleset.name,
        "tuning": results.scope.tuning,
        "hours": found.hours,
        "policies": [
            {**plain.to_plain(policy), "scores_unchanged": policy.scores_unchanged}
            for policy in policies
        ],
    }


def _replayed(
    found: Logs, name: str, order: str, predicted: Floats, max_change: float = MOVED
) -> Replayed:
    """Replays one order; `predicted` is when prediction stops each trial: (S, W, K, T)."""
    run = _Run(found, predicted)
    for group in ORDERS[order](run):
        run.advance(group)
    run.finish()
    hours = float(run.clock.sum()) / 3600
    shape = found.met.shape
    change = np.abs(found.scores(run.high.reshape(shape)) - found.scores(found.met))
    return Replayed(
        name=name,
        order=order,
        hours=hours,
        saved_percent=100 * (1 - hours / found.hours) if found.hours else 0.0,
        largest_change=float(change.max(initial=0.0)),
        moved=int((change > max_change).sum()),
    )


class _Run:
    """The state of a replay: clocks and bounds of all trials, flat."""

    def __init__(self, found: Logs, predicted: Floats) -> None:
        self.logs = found
        self.shape = found.met.shape
        self.met = np.where(found.met > predicted, np.inf, found.met).ravel()
        alone = np.minimum(found.logged, found.met)  # if no other trial ran
        self.length = np.minimum(alone, predicted).ravel()
        self.clock, self.low = np.zeros(self.met.size), np.zeros(self.met.size)
        self.high = np.full(self.met.size, np.inf)
        self.ended = np.zeros(self.met.size, bool)

    @property
    def bounds(self) -> Bounds:
        """What is known of the trials."""
        return Bounds(self.low.reshape(self.shape), self.high.reshape(self.shape))

    def advance(self, group: Group, *, parked: bool = False) -> None:
        """Runs trials side by side until each has ended or is at its deadline.

        Args:
            group: The trials to run.
            parked: Whether to continue parked trials.
        """
        while True:
            limit = self._deadlines(parked)[group]
            ends = ~self.ended[group] & (self.length[group] <= limit)
            runs = ~self.ended[group] & (ends | (self.clock[group] < limit))
            halted = group[~self.ended[group] & ~runs]
            self.low[halted] = after(self.clock[halted])  # nothing is known while it runs
            if not runs.any():
                return
            until = np.minimum(self.length[group], limit)
            left = np.where(runs, until - self.clock[group], np.inf)
            soonest = left.min()
            arrived, under_way = left <= soonest, runs & (left > soonest)
            self.clock[group[under_way]] += soonest
            self.clock[group[arrived]] = until[arrived]
            done = group[arrived & ends]
            self.ended[done] = True
            self.low[done] = self.high[done] = self.met[done]

    def finish(self) -> None:
        """Runs what was parked and still matters, study by study."""
        while True:
            left = ~self.ended & (self.clock < self._deadlines(parked=True))
            if not left.any():
                return
            studies = np.arange(left.size) // self.shape[3]
            self.advance(np.flatnonzero(left & (studies == studies[left.argmax()])), parked=True)

    def _deadlines(self, parked: bool) -> Floats:
        found = deadlines(self.bounds, self.logs.held_out, self.logs.scope.ruleset.r_max)
        return (found.stop if parked else found.park).ravel()


def _pairs(run: _Run) -> Iterator[list[int]]:
    """The column of each workload, with that of its held-out variant."""
    variants = {owner: variant for variant, owner in run.logs.held_out.items()}
    for column in range(run.shape[1]):
        if column not in run.logs.held_out:
            yield [column, variants[column]] if column in variants else [column]


def _study(run: _Run, submission: int, column: int, study: int) -> Group:
    first = np.ravel_multi_index((submission, column, study, 0), run.shape)
    return np.arange(first, first + run.shape[3])


def _side_by_side(run: _Run) -> Iterator[Group]:
    for submission in range(run.shape[0]):
        for pair in _pairs(run):
            for column in pair:
                for study in range(run.shape[2]):
                    yield _study(run, submission, column, study)


def _sequential(run: _Run) -> Iterator[Group]:
    for group in _side_by_side(run):
        yield from group[:, None]


def _latency(run: _Run) -> Iterator[Group]:
    yield np.arange(run.met.size)


def _cost(run: _Run) -> Iterator[Group]:
    scope, begun = run.logs.scope, np.zeros(run.shape[:3], bool)
    worth = [criteria.budget_seconds / scope.ruleset.r_max for criteria in scope.workloads.values()]
    while not begun.all():
        ranks = likely_winners_first(run.bounds, run.logs.held_out, worth)
        chosen = np.unravel_index(np.where(begun, ranks.size, ranks).argmin(), ranks.shape)
        begun[chosen] = True
        yield _study(run, *map(int, chosen))


def _oracle(run: _Run) -> Iterator[Group]:
    """Missed workloads first, as their variants then do not matter; else the fastest first."""
    times = run.logs.met.min(-1)
    medians_sw = medians(times)
    for pair in _pairs(run):
        for submission in np.argsort(medians_sw[:, pair[0]], kind="stable"):
            for column in sorted(pair, key=lambda c: np.isfinite(medians_sw[submission, c])):
                seconds = times[submission, column]
                if np.isinf(medians_sw[submission, column]):
                    seconds = np.where(np.isinf(seconds), -np.inf, seconds)
                for study in np.argsort(seconds, kind="stable"):
                    yield _study(run, submission, column, study)


ORDERS: dict[str, Callable[[_Run], Iterator[Group]]] = {
    "sequential": _sequential,
    "side by side": _side_by_side,
    "cost": _cost,
    "latency": _latency,
    "oracle": _oracle,
}
