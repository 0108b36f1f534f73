"""Which trials of a sweep can still change its leaderboard: what is known, and what follows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.plan import Experiment, will_run_again
from scoring.pruning import (
    Bounds,
    Deadlines,
    Place,
    Rules,
    after,
    deadlines,
    likely_winners_first,
    prove,
)
from scoring.records import Status, TrialResult, TrialSpec
from scoring.tree import read_trial, trial_folder


class Pruner:
    """What is known of an experiment's trials.

    Only what has ended counts: a trial under way may lose its process, go on from its last
    checkpoint, and then meet its target earlier than it had already been.

    Args:
        experiment: The plan; scores are over its workloads and submissions.
        out: Its results tree: what has ended there is known.
    """

    def __init__(self, experiment: Experiment, out: Path) -> None:
        self._rows = {name: number for number, name in enumerate(experiment.submissions)}
        self._columns = {name: number for number, name in enumerate(experiment.workloads)}
        held_out = {
            self._columns[variant]: self._columns[workload]
            for variant, workload in experiment.ruleset.held_out.items()
            if variant in self._columns and workload in self._columns
        }
        self._rules = Rules(held_out, experiment.ruleset.r_max)
        sizes = len(self._rows), len(self._columns), experiment.studies, experiment.trials
        self._bounds = Bounds.unknown(sizes)
        self._deadlines: Deadlines | None = None
        self._ranks: npt.NDArray[np.intp] | None = None
        for spec in experiment.specs():
            if (trial_folder(out, spec) / "trial.json").is_file():
                self.learn(*read_trial(trial_folder(out, spec)))

    def learn(self, spec: TrialSpec, result: TrialResult) -> None:
        """A trial has ended, unless it was cut off and will run again when the sweep is resumed."""
        place = self._place(spec)
        met = [
            row.submission_seconds
            for row in result.rows
            if spec.goal.met_by(row.metrics.get(spec.goal_column, math.nan))
        ]
        if met:
            self._bounds.low[place] = self._bounds.high[place] = met[0]
        elif result.status is Status.PRUNED:
            if result.submission_seconds > 0:
                self._bounds.low[place] = after(result.submission_seconds)
        elif not will_run_again(result):
            self._bounds.low[place] = np.inf
        self._deadlines = self._ranks = None

    def deadline(self, spec: TrialSpec) -> float:
        """Past this second of its clock a trial matters no more; 0 where it need not begin."""
        return float(self._all_deadlines().stop[self._place(spec)])

    def is_parked(self, spec: TrialSpec) -> bool:
        """Whether a trial that has not begun matters only if others find something unlikely."""
        return float(self._all_deadlines().park[self._place(spec)]) <= 0

    def rank(self, spec: TrialSpec) -> float:
        """When a trial should begin, so that deadlines fall early: the lowest first."""
        if self._ranks is None:
            self._ranks = likely_winners_first(self._bounds, self._rules.held_out)
        return float(self._ranks[self._place(spec)[:3]])

    def proof(self, spec: TrialSpec, second: float) -> list[dict[str, Any]]:
        """The trials that decide, and what is known of each: its time, or a lower bound of it."""
        return [
            self._fact(place)
            for place in prove(self._bounds, self._place(spec), second, self._rules)
        ]

    def _all_deadlines(self) -> Deadlines:
        """With all that is known."""
        if self._deadlines is None:
            self._deadlines = deadlines(self._bounds, self._rules.held_out, self._rules.r_max)
        return self._deadlines

    def _fact(self, place: Place) -> dict[str, Any]:
        submission, workload, study, trial = place
        low, high = float(self._bounds.low[place]), float(self._bounds.high[place])
        known = {"met_at": high} if math.isfinite(high) else {"not_met_before": low}
        names = list(self._rows)[submission], list(self._columns)[workload]
        return {
            "submission": names[0], "workload": names[1], "study": study, "trial": trial + 1,
            **known,
        }  # fmt: skip

    def _place(self, spec: TrialSpec) -> Place:
        return (
            self._rows[spec.submission],
            self._columns[spec.workload],
            spec.study,
            spec.trial - 1,
        )
