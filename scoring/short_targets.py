"""Targets of a shortened benchmark: what the median submission has at a fraction of its budget."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scoring.board_orders import cut_board
from scoring.names import known_names
from scoring.reading.results import Results
from scoring.records import Goal, UserError
from scoring.rulesets import Ruleset, WorkloadRules

EVALUATIONS = 10  # per budget
STUDIES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class ShortTarget:
    """The rules of one workload of a shortened benchmark.

    Attributes:
        workload: Its name.
        goal: The goal, with the target of the shortened benchmark.
        steps: The budget in baseline steps, which is also the step hint.
        submissions: How many submissions the target is the median of.
        step_seconds: The median time of a step in the logs, in seconds; NaN if unknown.
    """

    workload: str
    goal: Goal
    steps: int
    submissions: int
    step_seconds: float

    @property
    def hours(self) -> float:
        """The hours of one trial that uses its budget, on the machine of the logs."""
        return self.steps * self.step_seconds / 3600

    @property
    def rules(self) -> WorkloadRules:
        """As rules of a workload."""
        return WorkloadRules(
            metric=self.goal.metric,
            direction=self.goal.direction,  # type: ignore[arg-type]
            validation_target=self.goal.target,
            budget_steps=self.steps,
            eval_period_steps=math.ceil(self.steps / EVALUATIONS),
            step_hint=self.steps,
        )


def short_targets(results: Results, fraction: float, only: Sequence[str] = ()) -> list[ShortTarget]:
    """Finds what the median submission has at a fraction of the budget, per scored workload.

    A submission's value is the median over studies of the best value so far; that of a study is the
    best of its trials. The target is the median over all submissions that have one.

    Args:
        results: Logs of the complete benchmark.
        fraction: Share of the budget of a trial, and of the workload's step hint.
        only: Workloads to which this is restricted; all scored ones if empty.

    Raises:
        UserError: The fraction is not in (0, 1], a workload has no step hint in the ruleset, or no
            evaluation within the fraction.
        RecordError: A trial was pruned before that.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"--fraction {fraction:g}: must be above 0 and at most 1")
    names, workloads = list(results.submissions), list(results.scope.scored)
    for unknown in [name for name in only if name not in workloads]:
        raise UserError(f"no workload {unknown!r}. {known_names(unknown, workloads)}")
    board = cut_board(results, names, fraction)
    value_nw = board.of(range(board.studies))
    found = []
    for w, workload in enumerate(workloads):
        if only and workload not in only:
            continue
        values = value_nw[:, w][np.isfinite(value_nw[:, w])]
        goal = results.scope.workloads[workload].goal
        if not len(values):
            raise UserError(
                f"{workload}: no submission was evaluated within {fraction:g} of its budget in "
                "most studies; choose a larger --fraction"
            )
        value = float(np.median(values)) * (1 if goal.direction == "min" else -1)
        found.append(
            ShortTarget(
                workload=workload,
                goal=replace(goal, target=float(f"{value:.6g}")),
                steps=max(1, round(fraction * _step_hint(results.scope.ruleset, workload))),
                submissions=len(values),
                step_seconds=_step_seconds(results, workload),
            )
        )
    return found


def short_ruleset(
    name: str, results: Results, targets: Sequence[ShortTarget], fraction: float
) -> tuple[Ruleset, str]:
    """A ruleset with these targets, and what a comment above it says about their origin.

    Args:
        name: The ruleset's name.
        results: The logs.
        targets: Those of `short_targets`.
        fraction: The fraction they were found at.
    """
    scope = results.scope
    share = f"{100 * fraction:g}%"
    origin = (
        f"what the median of {len(results.submissions)} submissions has at {share} of the budget "
        f"in logs of {scope.ruleset.name} ({scope.tuning} tuning, {scope.repeats})"
    )
    ruleset = Ruleset(
        name=name,
        studies=STUDIES,
        trials=scope.ruleset.trials,
        self_tuning_budget_factor=1.5,
        r_max=scope.ruleset.r_max,
        dropout_at_init=scope.ruleset.dropout_at_init,
        provisional=origin,
        scored=tuple(target.workload for target in targets),
        workloads={target.workload: target.rules for target in targets},
    )
    hours = sum(target.hours for target in targets)
    comment = (
        f"{share} of the steps of {scope.ruleset.name}, as baseline steps, with {EVALUATIONS} "
        f"evaluations per budget.\nThe targets are provisional: {origin}. Written by `chronograd "
        f"targets --fraction {fraction:g}`; `chronograd calibrate --suite {name}` finds those of "
        f"your machine.\n{hours:.1f} hours per trial of every workload, by the step times in these "
        "logs."
    )
    return ruleset, comment


def _step_hint(ruleset: Ruleset, workload: str) -> int:
    rules = ruleset.workloads.get(workload)
    if rules is None or rules.step_hint is None:
        raise UserError(f"{ruleset.name}: has no step_hint of {workload}; use another ruleset")
    return rules.step_hint


def _step_seconds(results: Results, workload: str) -> float:
    """The median over trials of the seconds per step."""
    found = [
        trial.submission_seconds / trial.run.steps
        for trial in results.trials
        if trial.workload == workload and trial.run.steps
    ]
    return statistics.median(found) if found else math.nan
