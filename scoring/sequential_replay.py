"""Replays `--studies auto` on finished results: what it decides after how many studies and hours.

Shapes: S submissions, W workloads (those scored, then held-out variants), K studies, T trials.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from scoring.experiment import FIRST_STUDIES
from scoring.pruning import Bounds
from scoring.reading.results import Results
from scoring.records import Status
from scoring.sequential import (
    Counts,
    Decision,
    Observations,
    Question,
    decide,
    next_counts,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One look at the results while studies are added.

    Attributes:
        counts_sw: The numbers of studies: (S, W).
        decisions: What they decide.
        hours: The hours of all trials so far.
    """

    counts_sw: Counts
    decisions: list[Decision]
    hours: float


def looks(
    full: Observations,
    names: Sequence[str],
    scored: int,
    held_out: Mapping[int, int],
    r_max: float,
    question: Question,
) -> Iterator[Look]:
    """Adds studies of finished results as `--studies auto` would, until it stops.

    Args:
        full: The trials of all studies.
        names: The names of the submissions.
        scored: The number of scored workloads, which come first.
        held_out: The column of each held-out variant's workload, by the variant's column.
        r_max: The largest ratio that counts.
        question: What is to be decided.
    """
    counts_sw = np.full(full.ended.shape[:2], min(FIRST_STUDIES, question.max_studies))
    while True:
        seen = until(full, counts_sw)
        decisions = decide(seen, names, scored, r_max, question)
        yield Look(counts_sw=counts_sw, decisions=decisions, hours=float(seen.seconds.sum()) / 3600)
        new_sw = next_counts(seen, counts_sw, decisions, scored, held_out, r_max, question)
        if np.array_equal(new_sw, counts_sw):
            return
        counts_sw = new_sw


def until(full: Observations, counts_sw: Counts) -> Observations:
    """The observations without the studies that have not been added yet."""
    is_seen = (np.arange(full.ended.shape[2]) < counts_sw[..., None])[..., None]
    return Observations(
        bounds=Bounds(
            np.where(is_seen, full.bounds.low, 0.0), np.where(is_seen, full.bounds.high, np.inf)
        ),
        ended=full.ended & is_seen,
        started=full.started & is_seen,
        seconds=np.where(is_seen, full.seconds, 0.0),
    )


def observations(results: Results) -> Observations:
    """The trials of results; one that was not read is a miss that took no time."""
    grid = results.grid
    found = Observations.none(grid.shape)
    for trial in results.trials:
        if not trial.extra:
            met = trial.hit is not None and trial.within_budget
            met_at = trial.hit.submission_seconds if met and trial.hit else None
            pruned_at = trial.ended if trial.status == Status.PRUNED else None
            found.learn(grid.place(trial), met_at, pruned_at, trial.submission_seconds)
    for (submission, workload), studies in results.missing.items():
        for study, numbers in studies.items():
            for number in numbers:
                place = (grid.rows[submission], grid.columns[workload], study, number - 1)
                found.learn(place, None, None, 0.0)
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class PairReplay:
    """What replays decide about two submissions.

    Attributes:
        first: The name of one.
        second: The name of the other.
        faster: The one that the sweep of all submissions shows to be faster; "" if neither.
        p: Its p-value, valid at any time.
        hours: The hours of the sweep of all submissions when it was decided; None if it was not.
        alone_faster: As `faster`, for a sweep of these two only.
        alone_studies: The mean number of studies per workload after which that sweep ended.
        alone_hours: Its hours.
        alone_most: Its hours with all studies.
    """

    first: str
    second: str
    faster: str
    p: float
    hours: float | None
    alone_faster: str
    alone_studies: float
    alone_hours: float
    alone_most: float


@dataclass(frozen=True, kw_only=True, slots=True)
class StudiesReplay:
    """What `--studies auto` would have decided on finished results.

    Attributes:
        looks: How often the sweep of all submissions looked at the results.
        hours: The hours of the studies that it ran.
        most: The hours of all studies.
        settled: The number of pairs that needed no more studies.
        pairs: Each two submissions.
    """

    looks: int
    hours: float
    most: float
    settled: int
    pairs: list[PairReplay]


def replay_studies(results: Results, question: Question) -> StudiesReplay:
    """Replays the studies of results, of all submissions together and of each two alone."""
    full, names = observations(results), list(results.submissions)
    scored, r_max = len(results.scope.scored), results.scope.ruleset.r_max
    rules = (scored, results.grid.held_out, r_max, question)
    together = list(looks(full, names, *rules))
    pairs = []
    for (a, b), last, first in zip(
        combinations(range(len(names)), 2),
        together[-1].decisions,
        first_decided(together),
        strict=True,
    ):
        both = full.of([a, b])
        *_, alone = looks(both, [names[a], names[b]], *rules)
        pairs.append(
            PairReplay(
                first=names[a],
                second=names[b],
                faster=last.faster,
                p=last.p,
                hours=None if first is None else first.hours,
                alone_faster=alone.decisions[0].faster,
                alone_studies=float(alone.counts_sw[:, :scored].mean()),
                alone_hours=alone.hours,
                alone_most=both.hours,
            )
        )
    return StudiesReplay(
        looks=len(together),
        hours=together[-1].hours,
        most=full.hours,
        settled=sum(decision.settled for decision in together[-1].decisions),
        pairs=pairs,
    )


def first_decided(found: Sequence[Look]) -> list[Look | None]:
    """The look from which on each pair was decided; None if it was not at the end."""
    first: list[Look | None] = []
    for number, last in enumerate(found[-1].decisions):
        undecided = [n for n, look in enumerate(found) if not look.decisions[number].faster]
        after = 1 + undecided[-1] if undecided else 0
        first.append(found[after] if last.faster else None)
    return first
