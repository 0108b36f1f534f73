"""Which trials of a sweep can still change its leaderboard: what is known, and what follows."""

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

_OfStudies = list[list[list[float]]]  # by submission, column of the part, and study


@dataclass(slots=True)
class _Part:
    """A workload and its held-out variants, whose trials decide about each other and no others.

    Attributes:
        columns: Of these workloads in the plan.
        rules: For these columns alone, numbered from 0.
        worth: Of each column its budget over r_max, for `likely_winners_first`.
        stale: Whether something was learned since what follows was computed.
        version: Changes whenever what follows does.
        stop: Deadlines, equal for all trials of a study; `park`: as in `scoring.pruning.Deadlines`.
        ranks: As `likely_winners_first` gives them.
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
        """Computes what follows from what is known of the part's trials."""
        limits = deadlines(bounds, self.rules.held_out, self.rules.r_max)
        ranks = likely_winners_first(bounds, self.rules.held_out, self.worth)
        found = limits.stop[..., 0].tolist(), limits.park[..., 0].tolist(), ranks.tolist()
        if found != (self.stop, self.park, self.ranks):
            self.stop, self.park, self.ranks = found
            self.version += 1
        self.stale = False


class Pruner:
    """What is known of an experiment's trials.

    Only what has ended counts: a trial under way may lose its process, go on from its last
    checkpoint, and then meet its target earlier than it had already been. What is learned of a
    trial changes the deadlines of its own workload, and of its held-out variant, alone.

    Args:
        experiment: The plan; scores are over its workloads and submissions.
        out: Its results tree: what has ended there is known. None where it is learned later.
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
        self._pruned: dict[str, float] = {}  # at this second
        for spec in experiment.specs():
            if out is not None and (trial_folder(out, spec) / TRIAL_FILE).is_file():
                self.learn(*_read(trial_folder(out, spec)))

    def learn(self, spec: TrialSpec, result: TrialResult) -> None:
        """A trial has ended, unless it was cut off and will run again when the sweep is resumed."""
        place = self._grid.place(spec)
        met_at, pruned = _met_at(spec, result), result.status is Status.PRUNED
        if met_at is not None or not result.will_run_again:
            self._bounds.learn(place, met_at, result.submission_seconds if pruned else None)
        if pruned:
            self._pruned[spec.key] = result.submission_seconds
        elif result.has_ended:
            self._done.add(spec.key)
        self._parts[place[1]][1].stale = True

    def is_done(self, spec: TrialSpec) -> bool:
        """Whether a trial need not run again: it ended by itself, or was pruned rightly."""
        return spec.key in self._done or self._pruned.get(spec.key, -1.0) >= self.deadline(spec)

    def deadline(self, spec: TrialSpec) -> float:
        """Past this second of its clock a trial matters no more; 0 where it need not begin."""
        part, row, column = self._part(spec)
        return part.stop[row][column][spec.study]

    def is_parked(self, spec: TrialSpec) -> bool:
        """Whether a trial that has not begun matters only if others find something unlikely."""
        part, row, column = self._part(spec)
        return part.park[row][column][spec.study] <= 0

    def rank(self, spec: TrialSpec) -> tuple[int, float]:
        """When a trial should begin, so that deadlines fall early: the lowest first."""
        part, row, column = self._part(spec)
        workload = self._grid.columns[spec.workload]
        return self._grid.held_out.get(workload, workload), part.ranks[row][column][spec.study]

    def part(self, spec: TrialSpec) -> int:
        """The number of the part of the plan that a trial is of: none decides about another."""
        return self._parts[self._grid.columns[spec.workload]][1].columns[0]

    def version(self, part: int) -> int:
        """Changes whenever deadlines and ranks of that part do."""
        return self._up_to_date(self._parts[part][1]).version

    def proof(self, spec: TrialSpec, second: float) -> list[dict[str, Any]]:
        """The trials that decide, and what is known of each: its time, or a lower bound of it."""
        submission, column, study, trial = self._grid.place(spec)
        number, part = self._parts[column]
        facts = prove(self._of(part), (submission, number, study, trial), second, part.rules)
        return [self._fact((s, part.columns[c], k, t)) for s, c, k, t in facts]

    def _part(self, spec: TrialSpec) -> tuple[_Part, int, int]:
        """A trial's part, up to date, and the row and column of the trial in it."""
        number, part = self._parts[self._grid.columns[spec.workload]]
        return self._up_to_date(part), self._grid.rows[spec.submission], number

    def _up_to_date(self, part: _Part) -> _Part:
        if part.stale:
            part.update(self._of(part))
        return part

    def _of(self, part: _Part) -> Bounds:
        """What is known of the trials of a part."""
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
    """The rules for some columns alone, numbered from 0."""
    number = {column: n for n, column in enumerate(columns)}
    own = {number[v]: number[w] for v, w in held_out.items() if v in number}
    return Rules(own, r_max)


def _read(folder: Path) -> tuple[TrialSpec, TrialResult]:
    """A trial that has ended, without its evaluations where the goal ends it: 20,000 take long."""
    spec, ending, _ = read_ending(folder)
    return (spec, ending) if spec.until == "validation" else read_trial(folder)


def _met_at(spec: TrialSpec, result: TrialResult) -> float | None:
    """The second at which a trial met its validation goal; None where it did not."""
    if spec.until == "validation":  # it ended there and then
        return result.submission_seconds if result.status is Status.REACHED else None
    met = (
        row.submission_seconds
        for row in result.rows
        if spec.goal.met_by(row.metrics.get(spec.goal_column, math.nan))
    )
    return next(met, None)
