"""Plans submissions and workloads: applies a ruleset and draws hyperparameter points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.spec import Workload
from harness.submission import loading
from harness.submission.search_space import load as load_search_space
from scoring.experiment import PlannedSubmission, PlannedWorkload
from scoring.records import Goal, UserError
from scoring.rulesets import Ruleset


class PlanError(UserError):
    """The request cannot be planned; the message says why and what to do about it."""


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
    """Loads and checks a submission and draws its hyperparameter points.

    Args:
        place: Path of the submission, as `loading.find` returns it.
        tuning: "external" or "self".
        seed: Seed for sampling points.
        studies: Number of studies.
        trials: Number of trials per study.
        search_space: Name of the submission's search-space file, or its path.
        points: Points [study][trial] to use instead of a search space.
        known: Earlier plan, whose points are used if the search space no longer exists.
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
        workload: Workload, whose attributes apply where the ruleset has no value.
        ruleset: Ruleset.
        clock: "wall", or "steps" to convert baseline steps to nominal seconds.
        step_seconds: Measured step time of the baseline; needed only if `needs_baseline`.
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
    """Whether the budget of a workload depends on the baseline's measured step time."""
    rules = ruleset.workloads.get(workload.name)
    given = rules is not None and rules.budget_seconds is not None
    return clock == "wall" and workload.max_allowed_runtime_sec is None and not given


def _with_rules(goal: Goal, own: dict[str, Any], target: float | None) -> Goal:
    """Returns a workload's goal with the values of the ruleset."""
    return Goal(
        metric=own.get("metric", goal.metric),
        direction=own.get("direction", goal.direction),
        target=goal.target if target is None else target,
    )
