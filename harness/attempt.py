"""One attempt at a trial, in this process: threads, device, plugins, then `run_trial`."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoring.records import EvalRow, Failure, Status, TrialResult, TrialSpec, UserError

if TYPE_CHECKING:  # torch is imported only once the process is set up for it
    from harness.clock import Clock
    from harness.spec import Workload

LoadWorkload = Callable[[str, str | None, str], "Workload"]  # as workloads.get
WARMUP_STEPS = 20
TIMED_STEPS = 200


class Reporter:
    """The trial loop's `Control`: hands every row to a function, keeps checkpoints in a folder.

    Args:
        report: Takes every evaluation.
        checkpoints: Where they are kept; None for a trial that starts at its beginning and keeps
            none.
    """

    def __init__(self, report: Callable[[EvalRow], None], checkpoints: Path | None) -> None:
        self.report = report
        self._folder = checkpoints
        self.reason = ""  # why there are no checkpoints

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Keeps a checkpoint."""
        from harness.checkpoint import Checkpoints

        if self._folder is not None:
            Checkpoints(self._folder).save(step, state)

    def restore(self) -> dict[str, Any] | None:
        """The last checkpoint that is whole."""
        from harness.checkpoint import Checkpoints

        return None if self._folder is None else Checkpoints(self._folder).load()

    def not_resumable(self, reason: str) -> None:
        """Takes notice that there will be no checkpoints."""
        self.reason = reason


def run_attempt(
    load_workload: LoadWorkload,
    spec: TrialSpec,
    report: Callable[[EvalRow], None],
    checkpoints: Path | None = None,
) -> TrialResult:
    """Runs `spec` in this process, which must not have imported torch with other settings.

    It goes on from the last checkpoint, if there is one.

    Args:
        load_workload: Gives the workload of a name, data directory and device.
        spec: The trial.
        report: Takes every evaluation as soon as it was made.
        checkpoints: Where those of the trial lie; None for none.
    """
    prepare_process(spec)
    from harness.clock import StepClock, WallClock

    clock: Clock = WallClock(_synchronise(spec.device))
    if spec.clock == "steps":
        clock = StepClock(spec.step_seconds)
    return _run(load_workload, spec, clock, Reporter(report, checkpoints))


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
    result = _run(load_workload, endless, clock, Reporter(lambda row: None, None))
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
    load_workload: LoadWorkload, spec: TrialSpec, clock: Clock, control: Reporter
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
    return replace(run_trial(spec, workload, loaded, clock, control), environment=facts)


def _never_started(failure: Failure, error: Exception, facts: dict[str, Any]) -> TrialResult:
    from harness.outcome import describe_error

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
