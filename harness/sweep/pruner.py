"""Tracks which trials of a sweep can still change its leaderboard, and until when."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scoring.experiment import Experiment
from scoring.grid import Grid, Place
from scoring.order import likely_winners_first
from scoring.pruning import Bounds, Rules, connected, deadlines, prove
from scoring.records import Status, TrialResult, TrialSpec
from scoring.tree import TRIAL_FILE, read_ending, read_trial, trial_folder

_OfStudies = list[list[list[float]]]  # [submission][column of the part][study]


@dataclass(slots=True)
class _Part:
    """A workload and its held-out variants; other trials do not affect their deadlines.

    Attributes:
        columns: Columns of these workloads in the plan.
        rules: Rules for these columns only, numbered from 0.
        worth: Budget over r_max per column, for `likely_winners_first`.
        stale: Whether the fields below must be computed again.
        version: Number that increases whenever the fields below change.
        stop: Deadlines, equal for all trials of a study (`scoring.pruning.Deadlines`).
        park: Seconds after which trials are unlikely to matter (`scoring.pruning.Deadlines`).
        ranks: Ranks of `likely_winners_first`.
    """

    columns: list[int]
    rules: Rules
    worth: list[float]
    stale: bool = True
    version: int = 0
    stop: _OfStudies = field(default_factory=list)
    park: _OfStudies = field(default_factory=list)
    ranks: _OfStudies = field(default_factory=list)

    def update(self, bounds: Bounds) -> None:
        """Computes deadlines and ranks from what is known about the part's trials."""
        limits = deadlines(bounds, self.rules.held_out, self.rules.r_max)
        ranks = likely_winners_first(bounds, self.rules.held_out, self.worth)
        found = limits.stop[..., 0].tolist(), limits.park[..., 0].tolist(), ranks.tolist()
        if found != (self.stop, self.park, self.ranks):
            self.stop, self.park, self.ranks = found
            self.version += 1
        self.stale = False


class Pruner:
    """Derives deadlines from the results of an experiment's trials.

    Only trials that have ended are used: a running trial may lose its process, resume from its last
    checkpoint, and then reach its target at an earlier second than it had already passed. A result
    changes deadlines of its own workload and of its held-out variants only.

    Args:
        experiment: Plan; scores are over its workloads and submissions.
        out: Results tree with results to learn; None to learn them later.
    """

    def __init__(self, experiment: Experiment, out: Path | None = None) -> None:
        self._grid = Grid(
            experiment.submissions,
            experiment.workloads,
            experiment.studies,
            experiment.trials,
            experiment.ruleset.held_out,
        )
        factor = experiment.ruleset.budget_factor(experiment.tuning) / experiment.ruleset.r_max
        worth = [factor * rules.budget_seconds for rules in experiment.workloads.values()]
        self._parts: dict[int, tuple[int, _Part]] = {}  # by column: its number in its part
        for column in self._grid.columns.values():
            if column not in self._parts:
                columns = connected(column, self._grid.held_out)
                rules = _rules_of(columns, self._grid.held_out, experiment.ruleset.r_max)
                part = _Part(columns, rules, [worth[c] for c in columns])
                self._parts |= {c: (number, part) for number, c in enumerate(columns)}
        self._bounds = Bounds.unknown(self._grid.shape)
        self._done: set[str] = set()  # trials that ended by themselves
        self._pruned: dict[str, float] = {}  # second at which a trial was pruned
        if out is None:
            return
        for spec in experiment.specs():
            if (trial_folder(out, spec) / TRIAL_FILE).is_file():
                self.learn(*_read(trial_folder(out, spec)))

    def learn(self, spec: TrialSpec, result: TrialResult) -> None:
        """Uses the result of a trial, unless the trial was interrupted and will run again."""
        place = self._grid.place(spec)
        met_at, pruned = met_at_second(spec, result), result.status is Status.PRUNED
        if met_at is not None or not result.will_run_again:
            self._bounds.learn(place, met_at, result.submission_seconds if pruned else None)
        if pruned:
            self._pruned[spec.key] = result.submission_seconds
        elif result.has_ended:
            self._done.add(spec.key)
        self._parts[place[1]][1].stale = True

    def is_done(self, spec: TrialSpec) -> bool:
        """Whether a trial need not run again: it ended, or was pruned at or after its deadline."""
        return spec.key in self._done or self._pruned.get(spec.key, -1.0) >= self.deadline(spec)

    def deadline(self, spec: TrialSpec) -> float:
        """Returns the second of its clock after which a trial cannot matter; 0 if it never can."""
        part, row, column = self._part(spec)
        return part.stop[row][column][spec.study]

    def is_parked(self, spec: TrialSpec) -> bool:
        """Whether a trial should wait, as it only matters if others have unlikely results."""
        part, row, column = self._part(spec)
        return part.park[row][column][spec.study] <= 0

    def rank(self, spec: TrialSpec) -> tuple[int, float]:
        """Returns the priority of a trial, so that deadlines decrease early: lowest first."""
        part, row, column = self._part(spec)
        workload = self._grid.columns[spec.workload]
        return self._grid.held_out.get(workload, workload), part.ranks[row][column][spec.study]

    def part(self, spec: TrialSpec) -> int:
        """Returns the number of a trial's part of the plan; parts do not affect each other."""
        return self._parts[self._grid.columns[spec.workload]][1].columns[0]

    def version(self, part: int) -> int:
        """Returns a number that changes whenever deadlines and ranks of the part do."""
        return self._up_to_date(self._parts[part][1]).version

    def proof(self, spec: TrialSpec, second: float) -> list[dict[str, Any]]:
        """Returns the trials that decide, each with its time to target or a lower bound of it."""
        submission, column, study, trial = self._grid.place(spec)
        number, part = self._parts[column]
        facts = prove(self._bounds_of(part), (submission, number, study, trial), second, part.rules)
        return [self._fact((s, part.columns[c], k, t)) for s, c, k, t in facts]

    def _part(self, spec: TrialSpec) -> tuple[_Part, int, int]:
        """Returns a trial's part, up to date, and the row and column of the trial in it."""
        number, part = self._parts[self._grid.columns[spec.workload]]
        return self._up_to_date(part), self._grid.rows[spec.submission], number

    def _up_to_date(self, part: _Part) -> _Part:
        if part.stale:
            part.update(self._bounds_of(part))
        return part

    def _bounds_of(self, part: _Part) -> Bounds:
        """Returns the bounds of the trials of a part."""
        return Bounds(self._bounds.low[:, part.columns], self._bounds.high[:, part.columns])

    def _fact(self, place: Place) -> dict[str, Any]:
        submission, workload, study, trial = place
        low, high = float(self._bounds.low[place]), float(self._bounds.high[place])
        known = {"met_at": high} if math.isfinite(high) else {"not_met_before": low}
        names = list(self._grid.rows)[submission], list(self._grid.columns)[workload]
        return {
            "submission": names[0], "workload": names[1], "study": study, "trial": trial + 1,
            **known,
        }  # fmt: skip


def _rules_of(columns: list[int], held_out: Mapping[int, int], r_max: float) -> Rules:
    """Returns the rules for some columns only, numbered from 0."""
    number = {column: n for n, column in enumerate(columns)}
    own = {number[v]: number[w] for v, w in held_out.items() if v in number}
    return Rules(own, r_max)


def _read(folder: Path) -> tuple[TrialSpec, TrialResult]:
    """Reads a trial; without its evaluations, which are slow to read, if the goal ends it."""
    spec, ending, _ = read_ending(folder)
    return (spec, ending) if spec.until == "validation" else read_trial(folder)


def met_at_second(spec: TrialSpec, result: TrialResult) -> float | None:
    """Returns the second at which a trial met its validation goal; None if it did not."""
    if spec.until == "validation":  # it ended at that second
        return result.submission_seconds if result.status is Status.REACHED else None
    met = (
        row.submission_seconds
        for row in result.rows
        if spec.goal.met_by(row.metrics.get(spec.goal_column, math.nan))
    )
    return next(met, None)
