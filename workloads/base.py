"""`ModelWorkload`: what workloads share whose model is one module and whose data has splits."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

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
from workloads.batching import seed_of
from workloads.losses import ELEMENTWISE, cross_entropy
from workloads.modes import frozen_batch_norm
from workloads.parameters import parameter_types


class ModelWorkload(Workload):
    """A workload whose model is one `nn.Module`, and whose examples are read once.

    Attributes:
        dropout_rate: What `model_fn` uses where the submission gives none; None for a model without
            dropout, which ignores what the submission gives.
        aux_dropout_rate: Used in its place where AlgoPerf v0.5 has another rate: on the input
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

    @abc.abstractmethod
    def load(self) -> Mapping[str, Any]:
        """Reads the examples of every one of `self.splits`; raises DataError."""

    @cached_property
    def examples(self) -> Mapping[str, Any]:
        """The examples of every split, read once; raises DataError."""
        return self.load()

    @property
    def sizes(self) -> dict[str, int]:
        """How many examples each split has."""
        return {split: getattr(self, f"num_{split}_examples") for split in self.splits}

    def eval_count(self, split: str, count: int) -> int:
        """How many of a split's `count` examples an evaluation reads: of training, not all."""
        return min(count, self.num_eval_train_examples) if split == "train" else count

    def eval_arrays(self, split: str) -> Any:
        """The examples of a split."""
        return self.examples[split]

    @property
    def files(self) -> Path:
        """The data directory; raises DataError where none is given."""
        if self.data_dir is None:
            raise DataError(f"{self.name} reads files: pass --data-dir DIR with {self.data_source}")
        return self.data_dir

    @property
    def model_params_types(self) -> dict[str, ParameterType]:
        """Parameter name to type."""
        with torch.device("meta"):
            return parameter_types(self.build_model())

    def is_output_params(self, param_key: str) -> bool:
        """Whether the parameter belongs to the output layer: the last module that has any."""
        return param_key.rpartition(".")[0] == self._output_module

    @cached_property
    def _output_module(self) -> str:
        """The name of the last module that has parameters."""
        return list(self.model_params_types)[-1].rpartition(".")[0]

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
        function = ELEMENTWISE.get(self.loss_type)
        if function is None:
            raise NotImplementedError(f"{self.name}: no loss for {self.loss_type}")
        summed = function(logits, labels, reduction="sum")
        losses = function(logits, labels, reduction="none").flatten(1).mean(1)
        outputs = logits[0].numel()
        return (summed if outputs == 1 else summed / outputs), losses
