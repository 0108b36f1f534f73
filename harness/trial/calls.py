"""Calls the functions of a submission with AlgoPerf's arguments and checks what they return."""

from __future__ import annotations

from collections import namedtuple
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from harness.checkpoint.module_globals import ModuleGlobals
from harness.checkpoint.pickling import Known, restore_objects
from harness.checkpoint.snapshot import Snapshot
from harness.spec import TrainingCompleteError, Workload
from harness.submission.loading import Submission, SubmissionError, WorkloadView
from harness.trial.input_queue import InputQueue
from harness.trial.process_group import ProcessGroup, unwrap
from harness.trial.seeds import Streams
from harness.trial.work import TrainingWork
from scoring.records import EvalRow, TrialSpec


class SubmissionCalls:
    """One trial's model and optimizer state, and the calls that advance them.

    The values that a submission returns are validated; an error names the function and the rule.

    Attributes:
        params: The model that the submission returned last.
        model_state: The workload's model state that the submission returned last.
        step: Number of calls of `update_params`.
        eval_results: Results of earlier evaluations for the submission: a list of (step, dict).
        train_state: AlgoPerf's view of the run, kept for submissions that ask for it.
        work: Counts the training work of each call.
        known: Objects that a resumed process recreates; set by `initialise`.
    """

    def __init__(
        self,
        submission: Submission,
        workload: Workload,
        spec: TrialSpec,
        streams: Streams,
        group: ProcessGroup,
    ) -> None:
        self._submission, self._workload, self._spec = submission, workload, spec
        self._streams = streams
        self._loop_words = streams.loop.tolist()
        self.work = TrainingWork(workload, spec, group)
        counted = self.work.model_fn
        self._view = WorkloadView(workload, spec, lambda *args, **kwargs: counted(*args, **kwargs))
        self._hyperparameters = _as_namedtuple(spec.hyperparameters)
        self.step = 0
        self.eval_results: list[tuple[int, dict[str, float]]] = []
        self.train_state: dict[str, Any] = {}
        self._train_state_view = MappingProxyType(self.train_state)

    @property
    def wants_train_state(self) -> bool:
        """Whether `train_state` must be kept up to date."""
        return self._submission.wants_train_state

    def batch_size(self) -> int:
        """Returns the global batch size: the spec's, else the submission's, else the workload's.

        The submission is asked with the name of the workload; if it has no batch size for it, with
        the name of the workload that this one is a variant of. A batch size that exceeds the number
        of training examples was chosen for other data and is ignored.
        """
        if self._spec.batch_size is not None:
            return self._spec.batch_size
        workload = self._workload
        for name in dict.fromkeys((self._spec.workload, workload.base_name)):
            try:
                size = self._submission.get_batch_size(name)
            except (ValueError, KeyError):  # how AlgoPerf's submissions reject a workload
                continue
            _check_size("get_batch_size", size)
            return size if size <= workload.num_train_examples else workload.train_batch_size
        return workload.train_batch_size

    def _eval_batch_size(self) -> int:
        """Returns the evaluation batch size: the submission's, else the workload's."""
        if self._submission.get_eval_batch_size is None:
            return self._workload.eval_batch_size
        size = self._submission.get_eval_batch_size(self._spec.workload)
        _check_size("get_eval_batch_size", size)
        return size

    def initialise(self, params: nn.Module, model_state: Any, input_queue: InputQueue) -> None:
        """Calls `init_optimizer_state` for a new model."""
        self._workload.eval_batch_size = self._eval_batch_size()
        self.params, self.model_state, self._input_queue = params, model_state, input_queue
        self._shapes = _shapes(params)
        self._optimizer_state = self._submission.init_optimizer_state(
            self._view, params, model_state, self._hyperparameters, self._streams.optimizer
        )
        if not isinstance(self._optimizer_state, dict):
            raise _violation("init_optimizer_state", "a dict", self._optimizer_state)
        fixed = {
            "workload": self._workload,
            "workload's view": self._view,
            "input queue": input_queue,
            "hyperparameters": self._hyperparameters,
            "class of hyperparameters": type(self._hyperparameters),
            "train_state": self._train_state_view,
            "training work": self.work,
            "training work's hook": self.work.hook,
        }
        self.known = Known(fixed, params)
        self._globals = ModuleGlobals(self._submission.folder, self.known.names)

    def snapshot(self, **others: Any) -> Snapshot:
        """Returns everything that later steps depend on, and `others` to be saved with it."""
        state = {
            "params": self.params,
            "model_state": self.model_state,
            "optimizer_state": self._optimizer_state,
            "eval_results": self.eval_results,
            "train_state": self.train_state,
            "step": self.step,
            "position": self._input_queue.position,
        }
        model, model_state = unwrap(self.params), self.model_state
        return Snapshot({**state, **others}, self.known, model, model_state, self._globals)

    def restore(self, loaded: dict[str, Any]) -> dict[str, Any]:
        """Resumes from a loaded snapshot, after `initialise`; returns the snapshot's state."""
        state: dict[str, Any] = restore_objects(loaded, self.known)
        self.params, self.model_state = state["params"], state["model_state"]
        self._optimizer_state, self.eval_results = state["optimizer_state"], state["eval_results"]
        self.train_state.clear()
        self.train_state.update(state["train_state"])
        self.step = state["step"]
        self._input_queue.seek(state["position"])
        return state

    def train_step(self) -> bool:
        """Calls `data_selection` and `update_params`.

        Returns:
            Whether the submission declared its training complete.
        """
        step, rng = self.step, (self._loop_words[0], self.step)
        self.step += 1
        self.work.begin()
        batch = self._submission.data_selection(
            self._view, self._input_queue, self._optimizer_state, self.params, self.model_state,
            self._hyperparameters, step, rng,
        )  # fmt: skip
        keywords = self._keywords(step, rng)
        if self._submission.wants_train_state:
            keywords["train_state"] = self._train_state_view
        try:
            returned = self._submission.update_params(batch=batch, **keywords)
        except TrainingCompleteError:
            return True
        self._store("update_params", returned)
        return False

    def prepare_for_eval(self) -> None:
        """Calls `prepare_for_eval` if the submission defines it."""
        self.work.begin()
        if self._submission.prepare_for_eval is None:
            return
        rng = (self._loop_words[1], self.step)
        returned = self._submission.prepare_for_eval(**self._keywords(self.step, rng))
        self._store("prepare_for_eval", returned)

    def close(self) -> None:
        """Closes the input queue, if there is one."""
        if hasattr(self, "_input_queue"):
            self._input_queue.close()

    def update_train_state(
        self, goals_reached: dict[str, bool], seconds: float, complete: bool,
        last_eval_seconds: float, eval_seconds: float, logging_seconds: float, now: float,
    ) -> None:  # fmt: skip
        """Updates AlgoPerf's view of the run after a step; `seconds` is the submission time."""
        self.train_state.update(
            validation_goal_reached=goals_reached["validation"],
            test_goal_reached=goals_reached["test"],
            is_time_remaining=seconds < self._spec.budget_seconds,
            last_eval_time=last_eval_seconds,
            training_complete=complete,
            accumulated_submission_time=seconds,
            accumulated_eval_time=eval_seconds,
            accumulated_logging_time=logging_seconds,
            last_step_end_time=now,
        )

    def remember(self, row: EvalRow) -> None:
        """Adds an evaluation to the results that the submission sees."""
        self.eval_results.append((self.step, _algoperf_row(row)))

    def check_params(self, function: str, params: Any) -> None:
        """Raises SubmissionError unless `params` is a model with the initial names and shapes."""
        if not isinstance(params, nn.Module) or _shapes(params) != self._shapes:
            raise _violation(function, "the model, parameter names and shapes unchanged", params)

    def params_are_finite(self) -> bool:
        """Whether no parameter holds a NaN or an infinity."""
        return all(bool(torch.isfinite(p).all()) for p in self.params.parameters())

    def _keywords(self, step: int, rng: tuple[int, int]) -> dict[str, Any]:
        return {
            "workload": self._view,
            "current_param_container": self.params,
            "current_params_types": self._view.model_params_types,
            "model_state": self.model_state,
            "hyperparameters": self._hyperparameters,
            "loss_type": self._view.loss_type,
            "optimizer_state": self._optimizer_state,
            "eval_results": self.eval_results,
            "global_step": step,
            "rng": rng,
        }

    def _store(self, function: str, returned: Any) -> None:
        """Stores what a submission returned; cheap, because it is called at every step."""
        if not isinstance(returned, tuple) or len(returned) != 3:
            raise _violation(function, "a tuple (optimizer_state, params, model_state)", returned)
        optimizer_state, params, model_state = returned
        if params is not self.params:
            self.check_params(function, params)
        self._optimizer_state, self.params, self.model_state = optimizer_state, params, model_state


def _algoperf_row(row: EvalRow) -> dict[str, float]:
    """Returns an entry of eval_results, with AlgoPerf's keys."""
    return {
        **row.metrics,
        "score": row.submission_seconds,
        "total_duration": row.total_seconds,
        "accumulated_submission_time": row.submission_seconds,
        "accumulated_eval_time": row.eval_seconds,
        "accumulated_logging_time": row.logging_seconds,
    }


def _as_namedtuple(hyperparameters: dict[str, Any] | None) -> Any:
    """Returns a hyperparameter point in AlgoPerf's form: a namedtuple; None for self-tuning."""
    if hyperparameters is None:
        return None

    def refuse(point: Any, name: str) -> Any:
        known = ", ".join(hyperparameters) or "none"
        raise AttributeError(f"hyperparameters.{name} does not exist; there are: {known}")

    point = namedtuple("Hyperparameters", hyperparameters)(**hyperparameters)
    setattr(type(point), "__getattr__", refuse)  # noqa: B010 - for names that do not exist
    return point


def _shapes(params: nn.Module) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in params.named_parameters()}


def _check_size(function: str, size: Any) -> None:
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise _violation(function, "an int, 1 or more", size)


def _violation(function: str, rule: str, got: Any) -> SubmissionError:
    plain = isinstance(got, (str, int, float, bool, type(None)))
    what = repr(got) if plain else type(got).__name__
    what += f" of length {len(got)}" if isinstance(got, (tuple, list, dict)) else ""
    return SubmissionError(f"{function} must return {rule}; got {what}")
