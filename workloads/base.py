"""What workloads share: initialisation, forward pass, losses, and datasets that fit into memory."""

from __future__ import annotations

import abc
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from harness.spec import (
    Batch,
    ForwardPassMode,
    LossType,
    ModelAuxiliaryState,
    ParameterContainer,
    ParameterType,
    RandomState,
    Tensor,
    Workload,
)

Splits = Mapping[str, tuple[np.ndarray, np.ndarray]]  # split -> (inputs [N, ...], targets [N, ...])


def read_targets(workload_file: str) -> tuple[float, float]:
    """The validation and test targets in the target.json beside a workload's module.

    `chronograd calibrate` writes that file; it also says how the targets came about. Before the
    first calibration there is none, and the targets are NaN, which no trial meets.
    """
    file = Path(workload_file).with_name("target.json")
    if not file.is_file():
        return math.nan, math.nan
    targets = json.loads(file.read_text(encoding="utf-8"))
    return targets["validation_target"], targets["test_target"]


class ModelWorkload(Workload):
    """A workload whose model is one `nn.Module`, trained with a loss that torch has."""

    @abc.abstractmethod
    def build_model(self) -> nn.Module:
        """The model, initialised from torch's default generator."""

    @property
    def model_params_types(self) -> dict[str, ParameterType]:
        """Parameter name to type."""
        with torch.device("meta"):
            return parameter_types(self.build_model())

    def is_output_params(self, param_key: str) -> bool:
        """Whether the parameter belongs to the output layer: the last module that has any."""
        last = list(self.model_params_types)[-1].rpartition(".")[0]
        return param_key.rpartition(".")[0] == last

    def init_model_fn(self, rng: RandomState) -> tuple[ParameterContainer, ModelAuxiliaryState]:
        """The initialised model on `self.device`, and no model state."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(rng))
            model = self.build_model()
        return model.to(self.device), None

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
        """Logits [B, ...] and the model state; these models have no dropout."""
        inputs = augmented_and_preprocessed_input_batch["inputs"]
        training = mode is ForwardPassMode.TRAIN
        if params.training is not training:
            params.train(training)
        if not training:
            with torch.no_grad():
                return params(inputs), model_state
        if update_batch_norm:
            return params(inputs), model_state
        with frozen_batch_norm(params):
            return params(inputs), model_state

    def loss_fn(
        self,
        label_batch: Tensor,
        logits_batch: Tensor,
        mask_batch: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> Mapping[str, Tensor]:
        """The training loss, summed over the examples that `mask_batch` [B] keeps."""

        def per_example() -> Tensor:
            return self.loss(label_batch, logits_batch, "none", label_smoothing)

        if mask_batch is not None:
            masked = per_example() * mask_batch
            return Loss(masked.sum(), mask_batch.sum(), lambda: masked)
        summed = self.loss(label_batch, logits_batch, "sum", label_smoothing)
        count = torch.scalar_tensor(label_batch.shape[0], device=self.device)
        return Loss(summed, count, per_example)

    def loss(
        self, labels: Tensor, logits: Tensor, reduction: str, label_smoothing: float = 0.0
    ) -> Tensor:
        """The loss by `self.loss_type`; smoothing is for softmax alone.

        Args:
            labels: [B] classes, or [B, outputs].
            logits: [B, classes], or [B, outputs].
            reduction: "none" for the loss [B] of each example, "sum" for their sum [].
            label_smoothing: In [0, 1].
        """
        if self.loss_type is LossType.SOFTMAX_CROSS_ENTROPY:
            return F.cross_entropy(
                logits, labels, reduction=reduction, label_smoothing=label_smoothing
            )
        if self.loss_type is LossType.SIGMOID_CROSS_ENTROPY:
            losses = F.binary_cross_entropy_with_logits(logits, labels, reduction=reduction)
        elif self.loss_type is LossType.MEAN_SQUARED_ERROR:
            losses = F.mse_loss(logits, labels, reduction=reduction)
        else:
            raise NotImplementedError(f"{self.name}: no loss for {self.loss_type}")
        if reduction == "none":
            return losses.flatten(1).mean(1)
        return losses if logits.shape[1] == 1 else losses / logits.shape[1]


class Loss(Mapping[str, Tensor]):
    """What `loss_fn` returns; "per_example" is computed when it is asked for.

    Summing is then part of the loss's own kernel, not a node of the graph for every step to go
    through: on a small model that is a twentieth of the step.
    """

    __slots__ = ("_count", "_per_example", "_summed")

    def __init__(self, summed: Tensor, count: Tensor, per_example: Callable[[], Tensor]) -> None:
        self._summed, self._count, self._per_example = summed, count, per_example

    def __getitem__(self, key: str) -> Tensor:
        if key == "summed":
            return self._summed
        if key == "n_valid_examples":
            return self._count
        if key == "per_example":
            return self._per_example()
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(("summed", "n_valid_examples", "per_example"))

    def __len__(self) -> int:
        return 3


class InMemoryWorkload(ModelWorkload):
    """A workload whose dataset fits into memory.

    Training batches walk through one random permutation of the examples after the other, the
    incomplete batch at the end of each dropped; evaluation goes through a split in order.
    """

    @abc.abstractmethod
    def load(self) -> Splits:
        """Reads the splits "train", "validation" and "test"; raises DataError."""

    @property
    def sizes(self) -> dict[str, int]:
        """How many examples each split has."""
        return {
            "train": self.num_train_examples,
            "validation": self.num_validation_examples,
            "test": self.num_test_examples,
        }

    def check_data(self) -> None:
        """Raises DataError where files are missing or damaged."""
        self.load()

    def split(self, name: str) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a split, on `self.device`."""
        if not hasattr(self, "_splits"):
            self._splits: dict[str, tuple[Tensor, Tensor]] = {
                key: (torch.from_numpy(x).to(self.device), torch.from_numpy(y).to(self.device))
                for key, (x, y) in self.load().items()
            }
        return self._splits[name]

    def build_input_queue(
        self, rng: RandomState, split: str, global_batch_size: int
    ) -> Iterator[Batch]:
        """An endless iterator over batches; batch i is a pure function of (rng, i)."""
        inputs, targets = self.split(split)
        seed = _seed(rng)

        def batches() -> Iterator[Batch]:
            epoch = 0
            while True:
                order = np.random.default_rng([seed, epoch]).permutation(len(inputs))
                indices = torch.from_numpy(order).to(self.device)
                for chosen in torch.split(indices, global_batch_size):
                    if len(chosen) == global_batch_size:
                        yield {"inputs": inputs[chosen], "targets": targets[chosen]}
                epoch += 1

        return batches()

    def eval_model(
        self, params: ParameterContainer, model_state: ModelAuxiliaryState, split: str
    ) -> dict[str, float]:
        """The mean of every metric over a split, each example once."""
        inputs, targets = self.split(split)
        if split == "train":
            inputs = inputs[: self.num_eval_train_examples]
            targets = targets[: self.num_eval_train_examples]
        sums: dict[str, float] = {}
        with _eval_mode(params):
            size = self.eval_batch_size
            for x, y in zip(torch.split(inputs, size), torch.split(targets, size), strict=True):
                for name, values in self.per_example_metrics(y, params(x)).items():
                    sums[name] = sums.get(name, 0.0) + values.double().sum().item()
        return {name: total / len(inputs) for name, total in sums.items()}

    def per_example_metrics(self, labels: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Each metric [B]: the loss, and accuracy where the labels are classes."""
        metrics = {"loss": self.loss(labels, logits, "none")}
        if self.loss_type is LossType.SOFTMAX_CROSS_ENTROPY:
            metrics["accuracy"] = (logits.argmax(1) == labels).float()
        return metrics


def standardised_splits(
    inputs: np.ndarray, targets: np.ndarray, sizes: Mapping[str, int], *, axis: int | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Splits a dataset by one fixed permutation and standardises it by its training part.

    Args:
        inputs: [N, ...].
        targets: [N, ...].
        sizes: How many examples each split has, "train" first; they add up to N.
        axis: The axis that mean and deviation are taken over; None for all.
    """
    if sum(sizes.values()) != len(inputs):
        raise ValueError(f"the splits {dict(sizes)} do not add up to {len(inputs)} examples")
    order = np.random.default_rng(0).permutation(len(inputs))
    ends = np.cumsum(list(sizes.values()))[:-1]
    parts = dict(zip(sizes, np.split(order, ends), strict=True))
    mean = inputs[parts["train"]].mean(axis=axis)
    deviation = inputs[parts["train"]].std(axis=axis)
    scaled = ((inputs - mean) / deviation).astype(np.float32)
    return {name: (scaled[part], targets[part]) for name, part in parts.items()}


def parameter_types(model: nn.Module) -> dict[str, ParameterType]:
    """The type of every parameter, by the kind of module it belongs to."""
    types = {}
    for prefix, module in model.named_modules():
        for name, _ in module.named_parameters(prefix, recurse=False):
            types[name] = _parameter_type(module, is_bias=name.endswith("bias"))
    return {name: types[name] for name, _ in model.named_parameters()}


def _parameter_type(module: nn.Module, *, is_bias: bool) -> ParameterType:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return ParameterType.BATCH_NORM_BIAS if is_bias else ParameterType.BATCH_NORM_SCALE
    if isinstance(module, nn.LayerNorm):
        return ParameterType.LAYER_NORM_BIAS if is_bias else ParameterType.LAYER_NORM_SCALE
    if isinstance(module, nn.Embedding):
        return ParameterType.EMBEDDING
    if is_bias:
        return ParameterType.BIAS
    if isinstance(module, nn.modules.conv._ConvNd):
        return ParameterType.CONV_WEIGHT
    return ParameterType.WEIGHT


@contextmanager
def frozen_batch_norm(model: nn.Module) -> Iterator[None]:
    """Batch statistics normalise, and the running statistics stay as they are."""
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(m.momentum, m.num_batches_tracked) for m in layers]
    for layer in layers:
        layer.momentum = 0.0
        layer.num_batches_tracked = None
    try:
        yield
    finally:
        for layer, (momentum, tracked) in zip(layers, before, strict=True):
            layer.momentum = momentum
            layer.num_batches_tracked = tracked


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def _seed(rng: Any) -> int:
    """One integer from a random state: an integer or a sequence of them."""
    words = [int(word) & 0xFFFFFFFF for word in np.ravel(rng)]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
