"""The train/evaluate loop of one trial. It does not depend on Ray, files or flags.

The rules (those of AlgoPerf v0.6, with its faults fixed):

- `data_selection`, `update_params` and `prepare_for_eval` are charged to the clock, nothing else.
- The first evaluation follows step 1; the next is due once the clock has advanced by the evaluation
  period since the last one. If the period is in steps, evaluations follow its multiples instead.
- The budget is checked after every step and after `prepare_for_eval`: once it is used up, the trial
  ends without an evaluation. So every row is within it; it is overshot by at most one step.
- TrainingCompleteError and the step limit are followed by an evaluation of the last parameters.
- The deadline, after which a trial's result no longer matters, is checked at the same points; past
  the deadline, the trial ends as pruned, without an evaluation.
- If an evaluation fails, the trial fails. Non-finite parameters at two evaluations end it.
"""

from __future__ import annotations

import contextlib
import math
from functools import partial
from typing import Any

import torch

from harness.checkpoint.pickling import load
from harness.spec import Workload
from harness.submission.loading import Submission
from harness.system.exits import os_exit_raises
from harness.system.signals import interrupted
from harness.trial.backends import cudnn_benchmark
from harness.trial.calls import SubmissionCalls
from harness.trial.clock import Clock
from harness.trial.control import Control, ControlError
from harness.trial.evaluation import evaluate, hooks_of
from harness.trial.input_queue import InputQueue
from harness.trial.integrity import NullRecorder
from harness.trial.outcome import describe_error, failure_of, peak_memory
from harness.trial.process_group import ProcessGroup, unwrap
from harness.trial.seeds import Streams, generator_states, set_generator_states
from scoring.plain import row_from_plain, to_plain
from scoring.records import EvalRow, Failure, Status, TrialResult, TrialSpec

_LOOP = (  # attributes of `_Trial` that a checkpoint holds
    "eval_seconds", "logging_seconds", "last_eval_seconds", "last_was_finite", "goals_reached",
)  # fmt: skip
_SINGLE_PROCESS, _NO_RECORD = ProcessGroup(), NullRecorder()


def run_trial(
    spec: TrialSpec,
    workload: Workload,
    submission: Submission,
    clock: Clock,
    control: Control,
    group: ProcessGroup = _SINGLE_PROCESS,
    record: NullRecorder = _NO_RECORD,
) -> TrialResult:
    """Runs one trial to its end and returns its result, also if it fails.

    Errors of a trial are caught here only: an exception of the submission, the workload or its data
    becomes a `failed` result with its class and traceback, Ctrl-C an `interrupted` one.
    ControlError is raised.
    """
    trial = _Trial(spec, workload, submission, clock, control, group, record)
    try:
        settings = cudnn_benchmark(workload.cudnn_benchmark)
        with os_exit_raises(), settings, contextlib.closing(trial.calls):
            return trial.run()
    except BaseException as error:
        if interrupted():
            return trial.result(Status.INTERRUPTED)
        if trial.phase is None:
            raise
        return trial.failed(error)


class _Trial:
    """The state of one running trial."""

    def __init__(
        self, spec: TrialSpec, workload: Workload, submission: Submission, clock: Clock,
        control: Control, group: ProcessGroup, record: NullRecorder,
    ) -> None:  # fmt: skip
        self.spec, self.workload, self.clock, self.control = spec, workload, clock, control
        self.group, self.record, self.folder = group, record, submission.folder
        self.streams = Streams.of(spec)
        self.calls = SubmissionCalls(submission, workload, spec, self.streams, group)
        self.started = clock.now()
        self.phase: Failure | None = Failure.WORKLOAD_ERROR  # whose fault an exception would be
        self.rows: list[EvalRow] = []
        self.eval_seconds = self.logging_seconds = 0.0
        self.last_eval_seconds = -math.inf
        self.last_was_finite = True
        self.goals_reached = {"validation": False, "test": False}
        self.batch_size: int | None = None

    def set_up(self) -> None:
        """Creates model, data and optimizer from the trial's random streams. Not timed."""
        self.streams.seed_generators(self.group.rank)
        spec = self.spec
        model, model_state = self.workload.init_model_fn(self.streams.model, **spec.dropout)
        self.calls.work.watch(model)
        self.own_hooks = hooks_of(model)
        params = self.group.wrap(model)
        if self.workload.compile_model and spec.compile and spec.device != "cpu":
            params = torch.compile(params)  # type: ignore[assignment]
        self.phase = Failure.SUBMISSION_ERROR
        self.batch_size = self.calls.batch_size()
        self.phase = Failure.DATA_ERROR
        queue = InputQueue(self.workload, self.streams.data, self.batch_size)
        self.phase = Failure.SUBMISSION_ERROR
        self.calls.initialise(params, model_state, queue)
        self.record.initialised(unwrap(params))
        self._resume()

    def run(self) -> TrialResult:
        """Sets up and trains; keeps the weights that reached the goal, or if asked to."""
        self.set_up()
        status = self.train()
        if self.group.rank == 0 and (status is Status.REACHED or self.spec.keep_checkpoint):
            self.control.save_final(self.calls.step, self.calls.snapshot())
        return self.result(status)

    def train(self) -> Status:
        """Trains and evaluates until one of the rules in the module's docstring ends the trial."""
        spec, clock, calls = self.spec, self.clock, self.calls
        budget = spec.budget_seconds
        max_steps = math.inf if spec.max_steps is None else spec.max_steps
        self._resume_clock()
        while True:
            complete = calls.train_step()
            deadline = self.control.beat()
            seconds = clock.step(min(budget, deadline), calls.work.step_units())
            seconds, deadline, ended = self.group.broadcast(seconds, deadline, complete)
            complete = bool(ended)
            if calls.wants_train_state:
                calls.update_train_state(
                    self.goals_reached, seconds, complete, self.last_eval_seconds,
                    self.eval_seconds, self.logging_seconds, clock.now(),
                )  # fmt: skip
            last = complete or calls.step >= max_steps
            due = last or self._is_due(seconds)
            if not due and seconds < budget and seconds <= deadline:
                continue
            if seconds < budget:
                calls.prepare_for_eval()
                clock.add_work(calls.work.preparation_units())
            clock.pause()
            self.record.paused(unwrap(calls.params), clock)
            clock.seconds, clock.cpu_seconds = self.group.all_reduce_max(
                clock.seconds, clock.cpu_seconds
            )
            clock.work = self.group.mean(clock.work)
            if clock.seconds >= budget:
                return Status.OUT_OF_TIME
            if clock.seconds > deadline:
                return Status.PRUNED
            if self._evaluate(last):
                return Status.REACHED
            if self._has_diverged():
                return Status.DIVERGED
            if last:
                return Status.TRAINING_COMPLETE if complete else Status.STEP_LIMIT
            self._save()
            self._resume_clock()

    def _is_due(self, seconds: float) -> bool:
        """Returns whether an evaluation follows the step that has just been made."""
        if self.spec.eval_period_steps is not None:
            return self.calls.step % self.spec.eval_period_steps == 0
        return seconds - self.last_eval_seconds >= self.spec.eval_period_seconds

    def _resume_clock(self) -> None:
        self.record.resuming(unwrap(self.calls.params), self.clock)
        self.clock.resume()

    def _evaluate(self, last: bool) -> bool:
        """Evaluates, reports the row, and returns whether the trial has reached its goal."""
        spec, clock, calls = self.spec, self.clock, self.calls
        calls.check_params("update_params", calls.params)
        began = clock.now()
        with self.record.evaluation(calls.step):
            metrics = self._metrics("train") | self._metrics("validation")
        reached = self._reached("validation", metrics)
        has_test = "test" in self.workload.splits
        if has_test and (last or spec.until != "validation" or reached):
            metrics |= self._metrics("test")
            reached_test = self._reached("test", metrics)
            if spec.until == "test":
                reached = reached and reached_test
        self.eval_seconds += clock.now() - began
        self.last_eval_seconds = clock.seconds
        row = EvalRow(global_step=calls.step, work=clock.work, metrics=metrics, **self._times())
        self.rows.append(row)
        began = clock.now()
        self._report(row)
        self.logging_seconds += clock.now() - began
        calls.remember(row)
        return reached and spec.until != "budget"

    def _save(self) -> None:
        """Saves a checkpoint, from which `_restore` resumes bit for bit."""
        began = self.clock.now()
        generators = generator_states()
        snapshot = self.calls.snapshot(
            generators=generators,
            rows=[to_plain(row) for row in self.rows],
            loop={name: getattr(self, name) for name in _LOOP},
            work=self.clock.work,
            times=self._times(),
        )
        self.control.save(self.calls.step, snapshot)
        set_generator_states(generators)  # pickling runs the submission's code, which may draw
        self.logging_seconds += self.clock.now() - began

    def _resume(self) -> None:
        """Resumes from the last checkpoint that every rank has, if there is one."""
        generators = generator_states()
        until = math.inf
        while True:
            loaded = self.control.restore(until, partial(load, known=self.calls.known))
            step = -1.0 if loaded is None else loaded["state"]["step"]
            latest, earliest = self.group.all_reduce_max(step, -step)
            if latest == -earliest:
                break
            until = -earliest
        set_generator_states(generators)
        if loaded is not None:
            self._restore(loaded)
            self.control.resumed(list(self.rows))

    def _restore(self, loaded: dict[str, Any]) -> None:
        state = self.calls.restore(loaded)
        self.rows = [row_from_plain(row) for row in state["rows"]]
        for name, value in state["loop"].items():
            setattr(self, name, value)
        times = state["times"]
        self.clock.resume_from(state["work"], times["submission_seconds"], times["cpu_seconds"])
        self.started = self.clock.now() - times["total_seconds"]
        set_generator_states(state["generators"])

    def _report(self, row: EvalRow) -> None:
        self.phase = None  # not the trial's fault
        try:
            self.control.report(row)
        except Exception as error:
            raise ControlError(f"cannot record an evaluation of {self.spec.key}") from error
        self.phase = Failure.SUBMISSION_ERROR

    def _metrics(self, split: str) -> dict[str, float]:
        self.phase = Failure.EVALUATION_ERROR
        calls = self.calls
        model = unwrap(calls.params)
        metrics = evaluate(self.workload, model, calls.model_state, split, self.own_hooks)
        self.phase = Failure.SUBMISSION_ERROR
        return metrics

    def _reached(self, split: str, metrics: dict[str, float]) -> bool:
        """Returns whether the split's goal has been met; as in AlgoPerf, it then stays met."""
        goal = self.spec.goal if split == "validation" else self.spec.test_goal
        met = goal is not None and goal.met_by(metrics[f"{split}/{goal.metric}"])
        self.goals_reached[split] |= bool(*self.group.broadcast(met))
        return self.goals_reached[split]

    def _has_diverged(self) -> bool:
        """Returns whether the parameters were non-finite at two evaluations in a row."""
        finite = bool(*self.group.broadcast(self.calls.params_are_finite()))
        diverged = not finite and not self.last_was_finite and self.spec.stop_diverged
        self.last_was_finite = finite
        return diverged

    def _times(self) -> dict[str, Any]:
        return {
            "submission_seconds": self.clock.seconds,
            "cpu_seconds": self.clock.cpu_seconds,
            "eval_seconds": self.eval_seconds,
            "logging_seconds": self.logging_seconds,
            "total_seconds": self.clock.now() - self.started,
        }

    def result(self, status: Status, **details: Any) -> TrialResult:
        """Returns the trial's result."""
        with contextlib.suppress(RuntimeError):  # a device that failed cannot be synchronised
            self.clock.pause()
        return TrialResult(
            status=status,
            rows=self.rows,
            global_step=self.calls.step,
            peak_memory_bytes=peak_memory(self.workload.device),
            batch_size=self.batch_size,
            work=self.clock.work,
            **self._times(),
            **details,
        )

    def failed(self, error: BaseException) -> TrialResult:
        """Returns the result of a trial that `error` ended, with the class of the failure."""
        described = describe_error(error, self.folder)
        return self.result(Status.FAILED, failure=failure_of(error, self.phase), **described)
