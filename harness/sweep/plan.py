"""Submissions x workloads x studies x trials -> TrialSpecs, and what of them is left to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.spec import Workload
from harness.submission import loading
from harness.submission.search_space import load as load_search_space
from scoring.experiment import PlannedSubmission, PlannedWorkload
from scoring.records import Goal, UserError
from scoring.rulesets import Ruleset

if TYPE_CHECKING:
    pass


class PlanError(UserError):
    """What was asked for cannot be planned; the message says why and what to do."""


def plan_submission(
    place: Path,
    tuning: str,
    seed: int,
    studies: int,
    trials: int,
    search_space: str,
    points: list[list[dict[str, Any]]] | None = None,
    known: PlannedSubmission | None = None,
) -> PlannedSubmission:
    """Loads and checks a submission and draws its points.

    Args:
        place: Of the submission, as `loading.find` gives it.
        tuning: "external" or "self".
        seed: Of the points.
        studies: How many studies there are.
        trials: How many trials a study has.
        search_space: The name of the submission's search-space file, or its path.
        points: Given points [study][trial], which no search space is then needed for.
        known: As it was planned before: its points are used where the search space is gone.
    """
    loading.validate(place)
    if tuning == "external" and points is None:
        file = loading.search_space_of(place, search_space)
        if known is not None and len(known.points or []) >= studies and not file.exists():
            points = known.points
        else:
            points = load_search_space(file).points(seed, studies, trials)
    return PlannedSubmission(
        path=str(place),
        hash=loading.content_hash(place),
        files=loading.digests(place),
        points=points,
    )


def plan_workload(
    workload: Workload, ruleset: Ruleset, clock: str, step_seconds: float | None
) -> PlannedWorkload:
    """Applies a ruleset to a workload.

    Args:
        workload: Its attributes hold where the ruleset says nothing.
        ruleset: The rules.
        clock: "wall", or "steps": budgets in baseline steps are then nominal seconds.
        step_seconds: The measured step of the baseline; needed only where `needs_baseline`.
    """
    rules = ruleset.workloads.get(workload.name)
    own = {name: value for name, value in rules if value is not None} if rules else {}
    step = None
    budget = own.get("budget_seconds", workload.max_allowed_runtime_sec)
    period = own.get("eval_period_seconds", workload.eval_period_time_sec)
    if budget is None or period is None:
        step = workload.nominal_step_sec if clock == "steps" else step_seconds
        if step is None or workload.budget_steps is None or workload.eval_period_steps is None:
            raise PlanError(f"{workload.name}: has no budget, neither in seconds nor in steps")
        budget, period = workload.budget_steps * step, workload.eval_period_steps * step
        if clock == "wall" and ruleset.max_budget_seconds is not None:
            budget = min(budget, ruleset.max_budget_seconds)
    return PlannedWorkload(
        goal=_with_rules(workload.goal, own, own.get("validation_target")),
        test_goal=workload.test_goal
        and _with_rules(workload.test_goal, own, own.get("test_target")),
        budget_seconds=budget,
        eval_period_seconds=period,
        step_hint=own.get("step_hint", workload.step_hint),
        baseline_step_seconds=step,
    )


def needs_baseline(workload: Workload, ruleset: Ruleset, clock: str) -> bool:
    """Whether the baseline's step must be timed before the workload's budget is known."""
    rules = ruleset.workloads.get(workload.name)
    given = rules is not None and rules.budget_seconds is not None
    return clock == "wall" and workload.max_allowed_runtime_sec is None and not given


def _with_rules(goal: Goal, own: dict[str, Any], target: float | None) -> Goal:
    """A workload's goal with what the ruleset says of it."""
    return Goal(
        metric=own.get("metric", goal.metric),
        direction=own.get("direction", goal.direction),
        target=goal.target if target is None else target,
    )
