"""The contract between workloads, submissions and the harness, with AlgoPerf v0.6's names.

A workload subclasses `Workload`; a submission is five functions (see
`harness.submission.loading`). Both import this module and nothing else of the harness.

*Timed* means: while the submission clock runs. It runs during `data_selection`, `update_params` and
`prepare_for_eval`, hence during whatever they call.
"""

from __future__ import annotations

import abc
import enum
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scoring.records import Goal, UserError

__all__ = [
    "DataError",
    "ForwardPassMode",
    "Goal",
    "LoadWorkload",
    "LossType",
    "ParameterType",
    "TrainingCompleteError",
    "Workload",
]

Tensor = torch.Tensor
ParameterContainer = nn.Module
ParameterTypeTree = Mapping[str, "ParameterType"]
ModelAuxiliaryState = Any  # None for all built-in workloads: buffers are in the module
Hyperparameters = Any  # a namedtuple under external tuning, None under self-tuning
RandomState = Any  # a pair of integers
OptimizerState = dict[str, Any]
UpdateReturn = tuple[OptimizerState, ParameterContainer, ModelAuxiliaryState]
Batch = dict[str, Tensor]
Progress = Callable[[int, int, str], None]  # parts done, total parts, name of the next part


class LossType(enum.Enum):
    """The loss that a workload is trained with."""

    SOFTMAX_CROSS_ENTROPY = 0
    SIGMOID_CROSS_ENTROPY = 1
    MEAN_SQUARED_ERROR = 2
    CTC_LOSS = 3
    MEAN_ABSOLUTE_ERROR = 4


class ForwardPassMode(enum.Enum):
    """Whether a forward pass trains or evaluates."""

    TRAIN = 0
    EVAL = 1


class ParameterType(enum.Enum):
    """The role of a parameter; `Workload.model_params_types` maps names to these."""

    WEIGHT = 0
    BIAS = 1
    CONV_WEIGHT = 2
    BATCH_NORM_SCALE = 3
    BATCH_NORM_BIAS = 4
    LAYER_NORM_SCALE = 5
    LAYER_NORM_BIAS = 6
    EMBEDDING = 7
    ATTENTION_Q = 8
    ATTENTION_K = 9
    ATTENTION_V = 10
    ATTENTION_OUT = 11
    ATTENTION_QKV = 12
    ATTENTION_KV = 13
    ATTENTION_BIAS = 14


class TrainingCompleteError(Exception):
    """Raised by a submission that has finished training; one last, untimed evaluation follows."""


class DataError(UserError):
    """A workload's data is missing or damaged; the message names the file and the remedy."""


class Workload(abc.ABC):
    """A dataset, a model, a loss, a metric, a target and a budget.

    A workload defines class attributes and implements the methods below. Its budget and evaluation
    period are given either in seconds (official workloads) or in baseline steps (mini workloads,
    since machines differ). Baseline steps are converted to seconds with the measured step time of
    the ruleset's baseline submission.

    Args:
        data_dir: Directory of the dataset's files; None for data that needs no files.
        device: Device that holds models and batches.
    """

    name: str
    summary: str  # one line: task, model, data
    suites: tuple[str, ...] = ()
    data_source: str = ""  # where to get the files that --data-dir must hold
    own_folder: str | None = None  # of a workload outside the library; set when it is loaded

    loss_type: LossType
    target_metric_name: str
    target_direction: str  # "min" or "max"
    validation_target_value: float
    target_remark: str = ""  # one phrase, shown next to the target
    test_target_value: float | None = None

    max_allowed_runtime_sec: float | None = None
    eval_period_time_sec: float | None = None
    budget_steps: int | None = None
    eval_period_steps: int | None = None
    step_hint: int  # number of steps for which submissions plan their schedules
    nominal_step_sec: float = 0.001  # seconds per step on the step clock, if budgets are in steps

    is_shuffled: bool = True  # whether the order of training examples depends on the seed
    splits: tuple[str, ...] = ("train", "validation", "test")  # the test split is optional
    num_train_examples: int
    num_eval_train_examples: int
    num_validation_examples: int
    num_test_examples: int
    train_batch_size: int  # default for submissions that do not choose one
    eval_batch_size: int
    padding_rows: int = 0  # rows at the end of a training batch's logits that hold no example

    compile_model: bool = False  # whether the model is wrapped by torch.compile on a GPU
    compile_loss: bool = False  # whether `loss_fn`, as submissions call it, is compiled on a GPU
    cudnn_benchmark: bool = True  # whether cuDNN benchmarks its algorithms and uses the fastest

    def __init__(
        self, data_dir: str | Path | None = None, device: str | torch.device = "cpu"
    ) -> None:
        sys.audit("harness.workload")  # a submission must not make one: `harness.trial.audit`
        self.data_dir = None if data_dir is None else Path(data_dir)
        self.device = torch.device(device)

    @property
    def base_name(self) -> str:
        """The name of the workload that this one is a variant of; else its own name."""
        classes = (cls for cls in reversed(type(self).__mro__) if issubclass(cls, Workload))
        return next(cls.name for cls in classes if "name" in vars(cls))

    @property
    def goal(self) -> Goal:
        """The target on the validation split."""
        return Goal(
            metric=self.target_metric_name,
            direction=self.target_direction,
            target=self.validation_target_value,
        )

    @property
    def test_goal(self) -> Goal | None:
        """The target of `--until test` on the test split; None if there is none."""
        if self.test_target_value is None:
            return None
        return Goal(
            metric=self.target_metric_name,
            direction=self.target_direction,
            target=self.test_target_value,
        )

    def check_data(self) -> None:
        """Raises DataError if files are missing or damaged.

        Called once by the driver, before any trial starts. Not timed.
        """
        return

    def prepare_data(self, progress: Progress = lambda done, parts, name: None) -> None:
        """Converts the dataset's files to what training reads; keeps what exists already.

        Called once by the driver, before any trial starts, and by `chronograd data prepare`. If
        interrupted, the next call resumes. Not timed. Raises DataError.
        """
        return

    def data_faults(self) -> list[str]:
        """Returns everything that is wrong with the data, one line per fault: file and remedy.

        Called by `chronograd data check` only, so it may read all of the data.
        """
        try:
            self.check_data()
        except DataError as error:
            return [str(error)]
        return []

    def optimum(self) -> dict[str, float] | None:
        """Returns validation and test metric at the exact optimum, if it can be computed.

        Called by `chronograd calibrate` only, which then derives the targets from the optimum
        instead of from tuning. Returns {"validation", "test", "relative_precision", ...} or None.
        """
        return None

    def eval_arrays(self, split: str) -> Any:
        """Returns the data of a split that `eval_model` reads: arrays, tensors, or their holders.

        Called before the submission is imported and after the trial; the checksums must be equal.
        Not timed. Empty by default.
        """
        return ()

    @property
    @abc.abstractmethod
    def model_params_types(self) -> dict[str, ParameterType]:
        """Maps parameter names to types. Read by submissions, passed to `update_params`. Timed."""

    @abc.abstractmethod
    def is_output_params(self, param_key: str) -> bool:
        """Whether a parameter belongs to the output layer. Called by submissions. Timed."""

    @abc.abstractmethod
    def init_model_fn(
        self,
        rng: RandomState,
        dropout_rate: float | None = None,
        aux_dropout_rate: float | None = None,
    ) -> tuple[ParameterContainer, ModelAuxiliaryState]:
        """Returns the initialised model on `self.device`: a pure function of the arguments.

        Called once per trial by the trial loop. Not timed. Dropout rates are passed under rulesets
        that take them from the hyperparameters, as AlgoPerf v0.5 does; None for the workload's
        default.
        """

    @abc.abstractmethod
    def build_input_queue(
        self, rng: RandomState, split: str, global_batch_size: int, start: int = 0
    ) -> Iterator[Batch]:
        """Returns an endless iterator of training batches; batch i is a pure function of (rng, i).

        Called once per attempt by the trial loop, not timed; its `next` is called by submissions
        and is timed. A batch has "inputs", "targets" and, if examples are masked, "weights";
        those of workloads whose examples are in memory have "indices" [B], the examples' numbers.

        Args:
            rng: Seed of the order.
            split: "train".
            global_batch_size: Batch size over all processes.
            start: Index of the first batch, from 0; positive when a trial resumes.
        """

    @abc.abstractmethod
    def model_fn(
        self,
        params: ParameterContainer,
        augmented_and_preprocessed_input_batch: Batch,
        model_state: ModelAuxiliaryState,
        mode: ForwardPassMode,
        rng: RandomState,
        update_batch_norm: bool,
        dropout_rate: float | None = None,
    ) -> tuple[Tensor, ModelAuxiliaryState]:
        """Returns the logits [B, ...] and the model state. Called by submissions. Timed."""

    @abc.abstractmethod
    def loss_fn(
        self,
        label_batch: Tensor,
        logits_batch: Tensor,
        mask_batch: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> dict[str, Tensor]:
        """Returns the loss: {"summed" [], "n_valid_examples" [], "per_example" [B, ...]}.

        Called by submissions. Timed. Sums are over the examples of this process.
        """

    @abc.abstractmethod
    def eval_model(
        self, params: ParameterContainer, model_state: ModelAuxiliaryState, split: str
    ) -> dict[str, float]:
        """Returns the metrics over all examples of a split, including the target metric.

        Called by the trial loop at every evaluation. Not timed. Must not change parameters, buffers
        or the module's train/eval mode.
        """


LoadWorkload = Callable[[str, str | None, str], Workload]
"""Returns the workload of a name, data directory and device, like `workloads.get`."""
