"""The contract between workloads, submissions and the harness, under AlgoPerf v0.6's names.

A workload subclasses `Workload`; a submission is five functions (see
`harness.submission.loading`). Both import this module and nothing else of the harness.

*Timed* means: while the submission clock runs. It runs during `data_selection`, `update_params` and
`prepare_for_eval`, hence during whatever they call.
"""

from __future__ import annotations

import abc
import enum
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
ModelAuxiliaryState = Any  # None for every workload of ours: buffers live in the module
Hyperparameters = Any  # a namedtuple under external tuning, None under self-tuning
RandomState = Any  # a pair of integers
OptimizerState = dict[str, Any]
UpdateReturn = tuple[OptimizerState, ParameterContainer, ModelAuxiliaryState]
Batch = dict[str, Tensor]
Progress = Callable[[int, int, str], None]  # parts done, parts in all, the part that is next


class LossType(enum.Enum):
    """The loss a workload is trained with."""

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
    """What a parameter is for; `Workload.model_params_types` maps names to these."""

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
    """Raised by a submission that has finished; one last, free evaluation follows."""


class DataError(UserError):
    """A workload's data is missing or damaged; the message says which file, and what to do."""


class Workload(abc.ABC):
    """A dataset, a model, a loss, a metric, a target and a budget.

    A workload states its facts as class attributes and implements the methods below. Its budget and
    evaluation period are given either in seconds (official workloads) or in baseline steps (mini
    workloads, since machines differ): the seconds are then the steps times the measured step time
    of the ruleset's baseline submission.

    Args:
        data_dir: Where the dataset's files lie; None for data that needs no files.
        device: Where models and batches are put.
    """

    name: str
    summary: str  # one line: task, model, data
    suites: tuple[str, ...] = ()
    data_source: str = ""  # where to get the files that --data-dir must hold

    loss_type: LossType
    target_metric_name: str
    target_direction: str  # "min" or "max"
    validation_target_value: float
    target_remark: str = ""  # one phrase, shown wherever the target is listed
    test_target_value: float | None = None

    max_allowed_runtime_sec: float | None = None
    eval_period_time_sec: float | None = None
    budget_steps: int | None = None
    eval_period_steps: int | None = None
    step_hint: int  # the number of steps that submissions lay out their schedules by
    nominal_step_sec: float = 0.001  # what the step clock charges where budgets are in steps

    splits: tuple[str, ...] = ("train", "validation", "test")  # there may be no test split
    num_train_examples: int
    num_eval_train_examples: int
    num_validation_examples: int
    num_test_examples: int
    train_batch_size: int  # used where a submission has no number of its own
    eval_batch_size: int
    padding_rows: int = 0  # of the logits of a training batch: rows at its end without an example

    compile_model: bool = False  # whether torch.compile wraps the model on a GPU
    compile_loss: bool = False  # whether it wraps `loss_fn` there, as submissions call it
    cudnn_benchmark: bool = True  # whether cuDNN tries its algorithms and takes the fastest

    def __init__(
        self, data_dir: str | Path | None = None, device: str | torch.device = "cpu"
    ) -> None:
        self.data_dir = None if data_dir is None else Path(data_dir)
        self.device = torch.device(device)

    @property
    def base_name(self) -> str:
        """The name of the workload that this one varies: of the first class above with a name."""
        classes = (cls for cls in reversed(type(self).__mro__) if issubclass(cls, Workload))
        return next(cls.name for cls in classes if "name" in vars(cls))

    @property
    def goal(self) -> Goal:
        """What a trial must reach on the validation split."""
        return Goal(
            metric=self.target_metric_name,
            direction=self.target_direction,
            target=self.validation_target_value,
        )

    @property
    def test_goal(self) -> Goal | None:
        """What `--until test` must reach on the test split; None where there is no target."""
        if self.test_target_value is None:
            return None
        return Goal(
            metric=self.target_metric_name,
            direction=self.target_direction,
            target=self.test_target_value,
        )

    def check_data(self) -> None:
        """Raises DataError where files are missing or damaged.

        Called by the driver once, before a trial is launched. Not timed.
        """
        return

    def prepare_data(self, progress: Progress = lambda done, parts, name: None) -> None:
        """Makes of the dataset's files what training reads; what is there already stays.

        Called by the driver once, before a trial is launched, and by `chronograd data prepare`. Cut
        off, it goes on where it was. Not timed. Raises DataError.
        """
        return

    def data_faults(self) -> list[str]:
        """Everything that is wrong with the data, a line each: which file, what to do.

        Called by `chronograd data check` alone, so that it may read all of it.
        """
        try:
            self.check_data()
        except DataError as error:
            return [str(error)]
        return []

    def optimum(self) -> dict[str, float] | None:
        """Validation and test metric at the exact optimum, where it can be computed.

        Called by `chronograd calibrate` alone, which then sets the targets from it instead of
        tuning. Returns {"validation", "test", "relative_precision", ...} or None.
        """
        return None

    def eval_arrays(self, split: str) -> Any:
        """The data that `eval_model` reads of a split: arrays, tensors, or objects that hold them.

        Called before the submission is imported and after the trial, and compared by checksum. Not
        timed. Nothing by default.
        """
        return ()

    @property
    @abc.abstractmethod
    def model_params_types(self) -> dict[str, ParameterType]:
        """Parameter name to type. Read by submissions and handed to `update_params`. Timed."""

    @abc.abstractmethod
    def is_output_params(self, param_key: str) -> bool:
        """Whether the parameter belongs to the output layer. Called by submissions. Timed."""

    @abc.abstractmethod
    def init_model_fn(
        self,
        rng: RandomState,
        dropout_rate: float | None = None,
        aux_dropout_rate: float | None = None,
    ) -> tuple[ParameterContainer, ModelAuxiliaryState]:
        """Makes the initialised model on `self.device`: a pure function of the arguments.

        Called by the trial loop once per trial. Not timed. Dropout rates are given under rulesets
        that take them from the hyperparameters, as AlgoPerf v0.5 does; None is the workload's.
        """

    @abc.abstractmethod
    def build_input_queue(
        self, rng: RandomState, split: str, global_batch_size: int, start: int = 0
    ) -> Iterator[Batch]:
        """An endless iterator over training batches; batch i is a pure function of (rng, i).

        Called by the trial loop once per attempt, not timed; its `next` is called by submissions
        and is timed. A batch has "inputs", "targets" and, where examples are masked, "weights".

        Args:
            rng: Of the order.
            split: "train".
            global_batch_size: Over all processes.
            start: The number of the first batch, from 0: where a resumed trial goes on.
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
        """The forward pass: logits [B, ...] and the model state. Called by submissions. Timed."""

    @abc.abstractmethod
    def loss_fn(
        self,
        label_batch: Tensor,
        logits_batch: Tensor,
        mask_batch: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> dict[str, Tensor]:
        """The training loss: {"summed" [], "n_valid_examples" [], "per_example" [B, ...]}.

        Called by submissions, timed. Sums are local to the process.
        """

    @abc.abstractmethod
    def eval_model(
        self, params: ParameterContainer, model_state: ModelAuxiliaryState, split: str
    ) -> dict[str, float]:
        """The metrics on one split, every example once, the target metric among them.

        Called by the trial loop at every evaluation. Not timed. Leaves parameters, buffers and the
        module's train or eval mode as they were.
        """


LoadWorkload = Callable[[str, str | None, str], Workload]
"""Name, data directory and device to a workload, as `workloads.get`."""
