"""One attempt at a trial, in this process: threads, device, plugins, then `run_trial`."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.checkpoint.authentication import Place
from harness.checkpoint.store import Store
from harness.system import debug_log
from harness.system.exits import exit_if_forked
from harness.system.signals import interrupted
from harness.trial.messages import Loaded, Measured, NotRestored, NotResumable, OfTrial, Resumed
from harness.trial.process_group import ProcessGroup, Rendezvous, join
from scoring.escaping import error_message
from scoring.records import EvalRow, Failure, Status, TrialResult, TrialSpec, Until, UserError

if TYPE_CHECKING:  # torch is imported only once the process is set up for it
    from harness.checkpoint.snapshot import Snapshot
    from harness.spec import LoadWorkload
    from harness.trial.clock import Clock
    from harness.trial.control import Read

log = debug_log.logger("trial")
WARMUP_STEPS = 20
TIMED_STEPS = 200


class Attempt:
    """The trial loop's `Control`: sends messages to the driver and keeps checkpoints.

    Args:
        send: Sends a message; it returns once the driver has recorded the message.
        checkpoints: Where the checkpoints of this process are kept; None to keep none.

    Attributes:
        steps: Number of steps that this attempt has made.
        deadline: Submission time, in seconds, after which the trial can be stopped because its
            result no longer matters; may be set at any time.
    """

    def __init__(
        self,
        send: Callable[[OfTrial], object] = lambda message: None,
        checkpoints: Place | None = None,
    ) -> None:
        self._send, self._place = send, checkpoints
        self._compared = self._unsavable = False
        self._saved = 0  # the step of the last checkpoint
        self._reported: set[object] = set()  # kinds and reasons
        self._owner = os.getpid()
        self.steps = 0
        self.deadline = math.inf

    def report(self, row: EvalRow) -> None:
        """Sends an evaluation to the driver."""
        exit_if_forked(self._owner)
        log.debug("step %d, %.6g s: %s", row.global_step, row.submission_seconds, row.metrics)
        self._send(Measured(row))

    def loaded(self) -> None:
        """Reports that workload and submission are imported: no message from now on is a hang."""
        log.debug("workload and submission are imported")
        self._send(Loaded())

    def beat(self) -> float:
        """Counts a step; returns the deadline."""
        exit_if_forked(self._owner)
        self.steps += 1
        if interrupted():  # the submission caught the KeyboardInterrupt
            raise KeyboardInterrupt
        return self.deadline

    def save(self, step: int, snapshot: Snapshot) -> None:
        """Saves a checkpoint; the first one is read back and compared with memory before it counts.

        If saving fails, the previous checkpoint is kept.
        """
        from harness.checkpoint.pickling import UnsavableError

        if self._place is None or self._unsavable:
            return
        try:
            check = None if self._compared else snapshot.compare
            Store(self._place).save(step, "state", snapshot.write, check)
            self._compared, self._saved = True, step
        except BaseException as error:
            if interrupted():
                raise
            self._unsavable = isinstance(error, UnsavableError)
            reason = str(error) if self._unsavable else error_message(error)
            start = f"resumes from step {self._saved:,}" if self._saved else "starts from scratch"
            self._report_once(NotResumable(f"{reason}; if interrupted, the trial {start}"))

    def save_final(self, step: int, snapshot: Snapshot) -> None:
        """Saves the weights at the end of the trial; a failure to save is ignored."""
        if self._place is not None:
            try:
                Store(self._place).save(step, "final", snapshot.write_weights)
            except BaseException:
                if interrupted():
                    raise

    def restore(self, until: float, read: Read) -> dict[str, Any] | None:
        """Returns the last checkpoint up to step `until` that is authentic and can be read."""
        if self._place is None:
            return None
        try:
            refused = lambda reason: self._report_once(NotRestored(reason))  # noqa: E731
            return Store(self._place).load("state", read, until, refused)
        except BaseException as error:  # after any error, the trial starts from scratch
            if interrupted():
                raise
            self._report_once(NotRestored(f"checkpoints cannot be read: {error_message(error)}"))
            return None

    def resumed(self, rows: list[EvalRow]) -> None:
        """Reports that the trial resumes from a checkpoint, which holds these rows."""
        self._saved = rows[-1].global_step
        log.debug("resumes from step %d", self._saved)
        self._send(Resumed(rows))

    def _report_once(self, message: NotResumable | NotRestored) -> None:
        """Reports once why a checkpoint cannot be saved or restored."""
        kind = type(message)
        if (kind is NotResumable and kind in self._reported) or message.reason in self._reported:
            return
        self._reported |= {kind, message.reason}
        log.debug("%s: %s", kind.__name__, message.reason)
        self._send(message)


def run_attempt(
    load_workload: LoadWorkload,
    spec: TrialSpec,
    control: Attempt | None = None,
    rank: int = 0,
    rendezvous: Rendezvous | None = None,
) -> TrialResult:
    """Runs `spec` in this process, which must not have imported torch with other settings.

    It resumes from the last checkpoint, if there is one.

    Args:
        load_workload: Loads a workload, given its name, the data directory and the device.
        spec: The trial.
        control: Receives evaluations and checkpoints; None to discard them.
        rank: Rank of this process among those that train together.
        rendezvous: Where these processes meet; None if there is only one.
    """
    prepare_process(spec, rendezvous)
    from harness.trial.clock import StepClock, WallClock

    clock: Clock = WallClock(_synchronise(spec.device))
    if spec.clock == "steps":
        clock = StepClock(spec.step_seconds)
    group = join(rank, rendezvous, spec.device)
    return _run(load_workload, spec, clock, control or Attempt(), group)


def time_steps(
    load_workload: LoadWorkload,
    spec: TrialSpec,
    rank: int = 0,
    rendezvous: Rendezvous | None = None,
) -> tuple[str, float]:
    """Returns the node type and the median seconds per step of `spec`, without warm-up steps.

    Args:
        load_workload: Loads a workload, given its name, the data directory and the device.
        spec: The trial.
        rank: Rank of this process among those that train together.
        rendezvous: Where these processes meet; None if there is only one.

    Raises:
        UserError: The trial failed.
    """
    prepare_process(spec, rendezvous)
    from harness.environment import node_type
    from harness.trial.clock import LapClock

    clock = LapClock(_synchronise(spec.device))
    steps = WARMUP_STEPS + TIMED_STEPS
    endless = replace(
        spec, max_steps=steps, budget_seconds=float("inf"), eval_period_seconds=float("inf"),
        eval_period_steps=None, until=Until.BUDGET,
    )  # fmt: skip
    group = join(rank, rendezvous, spec.device)
    result = _run(load_workload, endless, clock, Attempt(), group)
    if result.status is not Status.STEP_LIMIT:
        raise UserError(f"{spec.key} cannot be timed: {result.status}: {result.message}")
    return node_type(spec.device), statistics.median(clock.laps[WARMUP_STEPS:])


def prepare_process(spec: TrialSpec, rendezvous: Rendezvous | None = None) -> None:
    """Sets threads and visible devices; must run before torch is imported, which reads them."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(spec.cpus_per_trial)
    if spec.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif rendezvous is not None:  # every rank sees all GPUs of the trial, as under torchrun
        os.environ["CUDA_VISIBLE_DEVICES"] = rendezvous.devices
    import torch

    torch.set_num_threads(spec.cpus_per_trial)


def _run(
    load_workload: LoadWorkload,
    spec: TrialSpec,
    clock: Clock,
    control: Attempt,
    group: ProcessGroup,
) -> TrialResult:
    from harness import environment
    from harness.spec import DataError
    from harness.submission import loading
    from harness.trial.integrity import Recorder
    from harness.trial.loop import run_trial

    facts = environment.describe(spec.device, spec.cpus_per_trial)
    log.debug(
        "%s: rank %d of %d on %s, %d threads", spec.key, group.rank, group.size, spec.device,
        spec.cpus_per_trial,
    )  # fmt: skip
    with ExitStack() as closed_at_the_end:
        try:
            workload = load_workload(spec.workload, spec.data_dir, spec.device)
            place = Path(spec.submission_path)
            record = Recorder(spec, workload, loading.file_of(place).parent, group.rank)
            closed_at_the_end.callback(record.close)
            loaded = loading.load(place)
        except loading.SubmissionError as error:
            return _never_started(Failure.SUBMISSION_ERROR, error, facts)
        except DataError as error:
            return _never_started(Failure.DATA_ERROR, error, facts)
        except BaseException as error:  # noqa: BLE001 - importing a workload may raise anything
            if interrupted():
                return TrialResult(status=Status.INTERRUPTED, environment=facts)
            return _never_started(Failure.WORKLOAD_ERROR, error, facts)
        control.loaded()
        result = run_trial(spec, workload, loaded, clock, control, group, record)
        integrity = record.summary()
    log.debug("ended: %s, step %d. %s", result.status, result.global_step, result.message)
    return replace(result, environment=facts, integrity=integrity)


def _never_started(failure: Failure, error: BaseException, facts: dict[str, Any]) -> TrialResult:
    from harness.trial.outcome import describe_error

    return TrialResult(
        status=Status.FAILED,
        failure=failure,
        environment=facts,
        **describe_error(error),
    )


def _synchronise(device: str) -> Callable[[], object]:
    """Returns a function that waits for the device; on a CPU it does nothing."""
    import torch

    return torch.cuda.synchronize if device == "cuda" else lambda: None
