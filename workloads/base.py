"""What workloads share: initialisation, forward pass, losses, parameter types, targets."""

from __future__ import annotations

import abc
import itertools
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from harness.spec import (
    Batch,
    DataError,
    ForwardPassMode,
    LossType,
    ModelAuxiliaryState,
    ParameterContainer,
    ParameterType,
    RandomState,
    Tensor,
    Workload,
)


def read_targets(workload_file: str, name: str) -> tuple[float, float | None]:
    """The validation and test targets in the file NAME.target.json beside a workload's module.

    `chronograd calibrate` writes that file; it also says how the targets came about. Before the
    first calibration there is none, and the targets are NaN, which no trial meets.
    """
    file = Path(workload_file).with_name(f"{name}.target.json")
    if not file.is_file():
        return math.nan, math.nan
    targets = json.loads(file.read_text(encoding="utf-8"))
    return targets["validation_target"], targets["test_target"]


class ModelWorkload(Workload):
    """A workload whose model is one `nn.Module`, trained with a loss that torch has.

    Attributes:
        dropout_rate: What `model_fn` uses where the submission gives none; None for a model without
            dropout, which ignores what the submission gives.
        aux_dropout_rate: Used in its place where AlgoPerf v0.5 has a rate of its own: on the input
            of speech models, on the attention of translation; None: the same rate.
        read_ahead: How many training batches a thread makes ahead of the training; 0 where they are
            in memory, or come from processes of their own.
    """

    dropout_rate: float | None = None
    aux_dropout_rate: float | None = None
    read_ahead: int = 0

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

    def init_model_fn(
        self,
        rng: RandomState,
        dropout_rate: float | None = None,
        aux_dropout_rate: float | None = None,
    ) -> tuple[ParameterContainer, ModelAuxiliaryState]:
        """The initialised model on `self.device`, and no model state."""
        if dropout_rate is not None or aux_dropout_rate is not None:
            self._set_dropout(dropout_rate, aux_dropout_rate)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(rng))  # the CPU's: ranks seed their GPU's
            model = self.build_model()
        return model.to(self.device), None

    def _set_dropout(self, rate: float | None, aux_rate: float | None) -> None:
        """Sets the rates of AlgoPerf v0.5; one that is not given is the workload's."""
        own = self.dropout_rate
        if own is not None:
            self.dropout_rate = own if rate is None else rate
            self.aux_dropout_rate = own if aux_rate is None else aux_rate

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
        """Logits [B, ...] and the model state; sets the module's mode to `mode`."""
        batch = augmented_and_preprocessed_input_batch
        rate = self.dropout_rate if dropout_rate is None else dropout_rate
        training = mode is ForwardPassMode.TRAIN
        if params.training is not training:
            params.train(training)
        if not training:
            with torch.no_grad():
                return self.forward(params, batch, rate), model_state
        if update_batch_norm:
            return self.forward(params, batch, rate), model_state
        with frozen_batch_norm(params):
            return self.forward(params, batch, rate), model_state

    def forward(self, model: nn.Module, batch: Batch, dropout_rate: float | None) -> Tensor:
        """The logits of a batch; a model with dropout takes its rate as `dropout_rate`."""
        options = {} if self.dropout_rate is None else {"dropout_rate": dropout_rate}
        logits: Tensor = model(batch["inputs"], **options)
        return logits

    def loss_fn(
        self,
        label_batch: Tensor,
        logits_batch: Tensor,
        mask_batch: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> dict[str, Tensor]:
        """The training loss, summed over the examples that `mask_batch` [B] keeps.

        As in AlgoPerf, "n_valid_examples" is the mask's sum in the mask's own kind of number, and
        an integer where there is no mask.
        """
        summed, losses = self.losses(label_batch, logits_batch, label_smoothing)
        if mask_batch is None:
            count = torch.scalar_tensor(losses.numel(), dtype=torch.int64, device=losses.device)
        else:
            losses = losses * mask_batch
            summed, count = losses.sum(), mask_batch.sum()
        return {"summed": summed, "n_valid_examples": count, "per_example": losses}

    def losses(
        self, labels: Tensor, logits: Tensor, label_smoothing: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """The loss by `self.loss_type`: its sum [] over the batch, and that of each example [B].

        The sum does not depend on the losses of the examples: it is part of the loss's own kernel,
        so that a step that differentiates it has one node less to go through.

        Args:
            labels: [B] classes or [B, classes] their weights; or [B, ...] outputs, over which the
                loss is a mean.
            logits: [B, classes], or [B, ...].
            label_smoothing: In [0, 1]; for softmax alone.
        """
        if self.loss_type is LossType.SOFTMAX_CROSS_ENTROPY:
            return cross_entropy(labels, logits, label_smoothing)
        function = _ELEMENTWISE.get(self.loss_type)
        if function is None:
            raise NotImplementedError(f"{self.name}: no loss for {self.loss_type}")
        summed = function(logits, labels, reduction="sum")
        losses = function(logits, labels, reduction="none").flatten(1).mean(1)
        outputs = logits[0].numel()
        return (summed if outputs == 1 else summed / outputs), losses


_ELEMENTWISE: dict[LossType, Callable[..., Tensor]] = {
    LossType.SIGMOID_CROSS_ENTROPY: F.binary_cross_entropy_with_logits,
    LossType.MEAN_SQUARED_ERROR: F.mse_loss,
    LossType.MEAN_ABSOLUTE_ERROR: F.l1_loss,
}


def cross_entropy(
    labels: Tensor, logits: Tensor, label_smoothing: float = 0.0, ignored: int = -100
) -> tuple[Tensor, Tensor]:
    """The sum [] and the rows [N] of `F.cross_entropy`, bit for bit, from one log-softmax.

    Args:
        labels: [N] classes, or [N, classes] their weights.
        logits: [N, classes].
        label_smoothing: In [0, 1]: this much of a row's weight goes to all classes alike.
        ignored: The class whose rows do not count, where labels are classes.
    """
    logs, classes = logits.log_softmax(1), logits.shape[1]
    if labels.is_floating_point():
        if label_smoothing:
            labels = labels * (1 - label_smoothing) + label_smoothing / classes
        products = logs * labels
        return -products.sum(), -products.sum(1)
    summed = F.nll_loss(logs, labels, ignore_index=ignored, reduction="sum")
    rows = F.nll_loss(logs, labels, ignore_index=ignored, reduction="none")
    if not label_smoothing:
        return summed, rows
    of_all = (-logs.sum(1)).masked_fill(labels == ignored, 0.0)
    kept, share = 1 - label_smoothing, label_smoothing / classes
    return kept * summed + share * of_all.sum(), kept * rows + share * of_all


def epochs(count: int, size: int, start: int) -> Iterator[tuple[int, range]]:
    """Endlessly the number of an epoch and where its batches begin, its incomplete one dropped.

    Args:
        count: Of the examples.
        size: Of a batch.
        start: The number of the first batch, over all epochs.

    Raises:
        DataError: There are fewer examples than a batch has.
    """
    per_epoch = count // size
    if not per_epoch:
        raise DataError(f"a batch is {size:,} examples, and there are {count:,}; use a smaller one")
    first = start % per_epoch
    for epoch in itertools.count(start // per_epoch):
        yield epoch, range(first * size, per_epoch * size, size)
        first = 0


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
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
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
    """Batch statistics normalise, and the running statistics stay as they are.

    `num_batches_tracked` counts the batch all the same, as in AlgoPerf.
    """
    layers: list[Any] = [
        module
        for module in model.modules()
        if isinstance(getattr(module, "running_mean", None), Tensor)
    ]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluates without gradients; the module's mode is restored."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def lecun_normal_(weight: Tensor) -> Tensor:
    """Fills a weight as flax's lecun_normal: a normal cut at two deviations, variance 1/fan_in.

    The constant is the deviation of a standard normal cut at plus and minus two.
    """
    fan_in = weight[0].numel()
    deviation = math.sqrt(1 / fan_in) / 0.87962566103423978
    return nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)


def seed_of(rng: Any) -> int:
    """One integer from a random state: an integer or a sequence of them."""
    words = [int(word) & 0xFFFFFFFF for word in np.ravel(rng)]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
