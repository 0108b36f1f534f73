"""One attempt at a trial, in this process: threads, device, plugins, then `run_trial`."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoring.records import EvalRow, Failure, Status, TrialResult, TrialSpec, UserError

if TYPE_CHECKING:  # torch is imported only once the process is set up for it
    from harness.clock import Clock
    from harness.spec import Workload

LoadWorkload = Callable[[str, str | None, str], "Workload"]  # as workloads.get
WARMUP_STEPS = 20
TIMED_STEPS = 200


@dataclass(frozen=True, slots=True)
class Reporter:
    """The trial loop's `Control`: hands every row to a function."""

    report: Callable[[EvalRow], None]


def run_attempt(
    load_workload: LoadWorkload, spec: TrialSpec, report: Callable[[EvalRow], None]
) -> TrialResult:
    """Runs `spec` in this process, which must not have imported torch with other settings.

    Args:
        load_workload: Gives the workload of a name, data directory and device.
        spec: The trial.
        report: Takes every evaluation as soon as it was made.
    """
    prepare_process(spec)
    from harness.clock import StepClock, WallClock

    clock: Clock = WallClock(_synchronise(spec.device))
    if spec.clock == "steps":
        clock = StepClock(spec.step_seconds)
    return _run(load_workload, spec, clock, report)


def time_steps(load_workload: LoadWorkload, spec: TrialSpec) -> tuple[str, float]:
    """The node type and the median seconds of a step of `spec`, warm-up left out.

    Raises:
        UserError: The trial failed; the message says why.
    """
    prepare_process(spec)
    from harness.clock import LapClock
    from harness.environment import node_type

    clock = LapClock(_synchronise(spec.device))
    steps = WARMUP_STEPS + TIMED_STEPS
    endless = replace(
        spec, max_steps=steps, budget_seconds=float("inf"), eval_period_seconds=float("inf"),
        until="budget",
    )  # fmt: skip
    result = _run(load_workload, endless, clock, lambda row: None)
    if result.status is not Status.STEP_LIMIT:
        raise UserError(f"{spec.name} cannot be timed: {result.status}: {result.message}")
    return node_type(spec.device), statistics.median(clock.laps[WARMUP_STEPS:])


def prepare_process(spec: TrialSpec) -> None:
    """Sets threads and visible devices; before torch is imported, since it reads them once."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(spec.threads)
    if spec.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    torch.set_num_threads(spec.threads)


def _run(
    load_workload: LoadWorkload, spec: TrialSpec, clock: Clock, report: Callable[[EvalRow], None]
) -> TrialResult:
    from harness import environment, submission
    from harness.spec import DataError
    from harness.trial import run_trial

    facts = environment.describe(spec.device, spec.threads)
    try:
        workload = load_workload(spec.workload, spec.data_dir, spec.device)
        loaded = submission.load(Path(spec.submission_path))
    except submission.SubmissionError as error:
        return _never_started(Failure.SUBMISSION_ERROR, error, facts)
    except DataError as error:
        return _never_started(Failure.DATA_ERROR, error, facts)
    except Exception as error:  # noqa: BLE001 - a workload's import may raise anything
        return _never_started(Failure.WORKLOAD_ERROR, error, facts)
    return replace(run_trial(spec, workload, loaded, clock, Reporter(report)), environment=facts)


def _never_started(failure: Failure, error: Exception, facts: dict[str, Any]) -> TrialResult:
    from harness.trial import describe_error

    return TrialResult(
        status=Status.FAILED,
        failure=failure,
        environment=facts,
        **describe_error(error),
    )


def _synchronise(device: str) -> Callable[[], object]:
    """Waits until the device has done its work; nothing to wait for on a CPU."""
    import torch

    return torch.cuda.synchronize if device == "cuda" else lambda: None
