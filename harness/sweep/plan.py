"""Plans submissions and workloads: applies a ruleset and draws hyperparameter points."""

from __future__ import annotations

from collections.abc import Mapping
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
    workload: Workload,
    ruleset: Ruleset,
    clock: str,
    step_seconds: float | None,
    stopping_step: int | None = None,
) -> PlannedWorkload:
    """Applies a ruleset to a workload.

    Args:
        workload: Workload, whose attributes apply where the ruleset has no value.
        ruleset: Ruleset.
        clock: "wall", or "steps" to convert baseline steps to nominal seconds.
        step_seconds: Measured step time of the baseline; needed only if `needs_baseline`.
        stopping_step: Step at which all trials end, if the ruleset is by steps; None for the
            budget in steps.
    """
    own = _own_rules(workload, ruleset)
    limits = _by_steps(workload, own, stopping_step) if ruleset.by_steps else None
    return PlannedWorkload(
        folder=workload.own_folder,
        goal=_with_rules(workload.goal, own, own.get("validation_target")),
        test_goal=workload.test_goal
        and _with_rules(workload.test_goal, own, own.get("test_target")),
        **(limits or _by_seconds(workload, own, ruleset, clock, step_seconds)),
    )


def _own_rules(workload: Workload, ruleset: Ruleset) -> dict[str, Any]:
    """Returns what the ruleset specifies for a workload, by name."""
    rules = ruleset.workloads.get(workload.name)
    return {name: value for name, value in rules if value is not None} if rules else {}


def _by_steps(workload: Workload, own: dict[str, Any], stopping_step: int | None) -> dict[str, Any]:
    """Returns the limits of a trial that ends at a step, each step charged as one second.

    The budget is one step more than the trial takes, so that its last evaluation is within it; it
    is used up earlier by a submission that makes more than one pass over a batch per step.
    """
    period = own.get("eval_period_steps", workload.eval_period_steps)
    steps = stopping_step or own.get("budget_steps", workload.budget_steps)
    if steps is None or period is None:
        raise PlanError(
            f"{workload.name}: has no budget in steps, which a ruleset by steps needs; choose "
            "another workload or ruleset"
        )
    return {
        "budget_seconds": float(steps + 1),
        "eval_period_seconds": float(period),
        "eval_period_steps": period,
        "step_hint": steps,
        "baseline_step_seconds": 1.0,
    }


def _by_seconds(
    workload: Workload,
    own: dict[str, Any],
    ruleset: Ruleset,
    clock: str,
    step_seconds: float | None,
) -> dict[str, Any]:
    """Returns the limits of a trial in seconds, which may be those of baseline steps."""
    step = None
    budget = own.get("budget_seconds", workload.max_allowed_runtime_sec)
    period = own.get("eval_period_seconds", workload.eval_period_time_sec)
    if "budget_steps" in own or budget is None or period is None:
        step = workload.nominal_step_sec if clock == "steps" else step_seconds
        steps = own.get("budget_steps", workload.budget_steps)
        between = own.get("eval_period_steps", workload.eval_period_steps)
        if step is None or steps is None or between is None:
            raise PlanError(f"{workload.name}: has no budget, neither in seconds nor in steps")
        budget, period = steps * step, between * step
        if clock == "wall" and ruleset.max_budget_seconds is not None:
            budget = min(budget, ruleset.max_budget_seconds)
    return {
        "budget_seconds": budget,
        "eval_period_seconds": period,
        "step_hint": own.get("step_hint", workload.step_hint),
        "baseline_step_seconds": step,
    }


def needs_baseline(workload: Workload, ruleset: Ruleset, clock: str) -> bool:
    """Whether the budget of a workload depends on the baseline's measured step time."""
    own = _own_rules(workload, ruleset)
    in_seconds = workload.max_allowed_runtime_sec is not None or "budget_seconds" in own
    return clock == "wall" and ("budget_steps" in own or not in_seconds)


def _with_rules(goal: Goal, own: dict[str, Any], target: float | None) -> Goal:
    """Returns a workload's goal with the values of the ruleset."""
    return Goal(
        metric=own.get("metric", goal.metric),
        direction=own.get("direction", goal.direction),
        target=goal.target if target is None else target,
    )


def check_test_goals(loaded: Mapping[str, Workload]) -> None:
    """Raises PlanError if a workload has no target for `--until test`."""
    for name, workload in loaded.items():
        if "test" not in workload.splits or workload.test_goal is None:
            lacks = "test target" if "test" in workload.splits else "test split"
            raise PlanError(
                f"--until test: {name} has no {lacks}; remove it, or use --until validation"
            )
