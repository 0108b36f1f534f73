"""Trains in a finding's experiment, by the harness's trial loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from torch import nn

from harness.spec import Workload
from harness.submission import loading
from harness.submission.loading import Submission
from harness.trial.attempt import Attempt
from harness.trial.clock import CallClock
from harness.trial.loop import run_trial
from scoring.records import Status, TrialResult, TrialSpec, Tuning, Until
from submissions.recipe import Functions

Observe = Callable[[nn.Module], Mapping[str, float]]


class TrainingError(RuntimeError):
    """A trial of an experiment failed; the message is the trial's."""


def made_of(name: str, functions: Functions) -> Submission:
    """The submission of functions that `submissions.recipe` made."""
    return Submission(name=name, folder=Path(), wants_train_state=False, **functions._asdict())


def train(
    submission: str | Submission,
    workload: Workload,
    hyperparameters: dict[str, Any] | None = None,
    *,
    steps: int,
    every: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
    step_hint: int | None = None,
    until: Until = Until.BUDGET,
    observe: Observe | None = None,
) -> TrialResult:
    """Runs a trial of so many steps, on a clock that counts them.

    Args:
        submission: A submission, or the name of one of the library.
        workload: The workload, used for this trial alone if `observe` is given.
        hyperparameters: None for self-tuning.
        steps: Number of calls of `update_params`.
        every: The trial is evaluated after the first step, and every so many steps after.
        seed: Seed of model and data.
        batch_size: None for the submission's, else the workload's.
        step_hint: Steps for which schedules are planned; None for `steps`.
        until: VALIDATION ends the trial at the workload's target.
        observe: Called with the model at every evaluation, before the weights change again; what it
            returns is added to the metrics of the validation split.

    Returns:
        The result; its rows have `global_step` and `metrics`, such as "validation/loss".

    Raises:
        TrainingError: The trial failed. A trial that diverged has a result.
    """
    loaded = loading.load(loading.find(submission)) if isinstance(submission, str) else submission
    spec = trial_spec(
        loaded, workload, hyperparameters, steps=steps, every=every, seed=seed,
        batch_size=batch_size, step_hint=step_hint, until=until,
    )  # fmt: skip
    with nullcontext() if observe is None else _observed(workload, observe):
        result = run_trial(spec, workload, loaded, CallClock(1.0), Attempt())
    if result.status is Status.FAILED:
        error = TrainingError(f"{spec.key}: {result.message}")
        error.add_note(result.traceback)
        raise error
    return result


def trial_spec(
    submission: Submission,
    workload: Workload,
    hyperparameters: dict[str, Any] | None,
    *,
    steps: int,
    every: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
    step_hint: int | None = None,
    until: Until = Until.BUDGET,
) -> TrialSpec:
    """The trial that `train` runs; the arguments are the same."""
    return TrialSpec(
        submission=submission.name,
        submission_path=str(submission.folder),
        submission_hash="",
        tuning=Tuning.SELF if hyperparameters is None else Tuning.EXTERNAL,
        workload=workload.name,
        study=0,
        trial=1,
        seed=seed,
        hyperparameters=hyperparameters,
        goal=workload.goal,
        test_goal=workload.test_goal,
        budget_seconds=float("inf"),
        max_allowed_runtime_sec=float(steps),
        eval_period_seconds=float(every),
        step_hint=step_hint or steps,
        max_steps=steps,
        batch_size=batch_size,
        until=until,
    )


@contextmanager
def _observed(workload: Workload, observe: Observe) -> Iterator[None]:
    """Context in which evaluations of a workload's validation split include observations."""
    evaluate = workload.eval_model

    def eval_model(params: nn.Module, model_state: Any, split: str) -> dict[str, float]:
        metrics = evaluate(params, model_state, split)
        return {**metrics, **observe(params)} if split == "validation" else metrics

    workload.eval_model = eval_model  # type: ignore[method-assign]
    try:
        yield
    finally:
        del workload.eval_model


def column(result: TrialResult, metric: str) -> tuple[list[int], list[float]]:
    """Steps and values of a metric, such as "validation/gap", at every evaluation of a trial."""
    return (
        [row.global_step for row in result.rows],
        [row.metrics[metric] for row in result.rows],
    )


def known(values: Mapping[float, float]) -> dict[str, float | None]:
    """Values by name, for the numbers of a finding: None for what is not finite."""
    return {f"{name:g}": v if math.isfinite(v) else None for name, v in values.items()}
