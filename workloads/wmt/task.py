"""Translating: the model, loss, batches and evaluation of wmt and of its mini."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.spec import (
    Batch,
    LossType,
    ModelAuxiliaryState,
    ParameterContainer,
    ParameterType,
    RandomState,
    Tensor,
)
from workloads.base import ModelWorkload, cross_entropy, eval_mode, seed_of
from workloads.distributed import local_batch_size, summed, world
from workloads.prefetch import on_device, read_ahead
from workloads.wmt import evaluation
from workloads.wmt.data import Arrays, Pairs, Preparation, row_batches
from workloads.wmt.layers import Config
from workloads.wmt.model import Transformer

_IGNORED = -100  # not a token: what cross_entropy leaves out
_ATTENTION_TYPES = {
    "in_proj": ParameterType.ATTENTION_QKV,
    "q_proj": ParameterType.ATTENTION_Q,
    "kv_proj": ParameterType.ATTENTION_KV,
    "out_proj": ParameterType.ATTENTION_OUT,
}


class TranslationWorkload(ModelWorkload):
    """Trains a Transformer on packed sentence pairs; BLEU of its translations is the metric.

    The training task is AlgoPerf's, since its target belongs to it: pairs are packed in groups (see
    `row_batches`), and in a packed row the decoder reads the EOS token of the sentence before where
    a later sentence starts (see `model.shifted`).

    `model_fn` sets the module's mode, so that there is dropout in TRAIN mode; AlgoPerf's never
    calls `train()`, and after an evaluation trains without dropout unless the submission does.

    Attributes:
        config: The model's; rows and sentences have at most its `max_length` tokens.
    """

    loss_type = LossType.SOFTMAX_CROSS_ENTROPY
    target_metric_name = "bleu"
    target_direction = "max"
    config: Config

    @abc.abstractmethod
    def preparation(self) -> Preparation:
        """What makes tokens of the texts; raises DataError."""

    @property
    def sizes(self) -> dict[str, int]:
        """How many sentence pairs each split has."""
        return {
            "train": self.num_train_examples,
            "validation": self.num_validation_examples,
            "test": self.num_test_examples,
        }

    def build_model(self) -> nn.Module:
        """The Transformer, initialised from torch's default generator."""
        return Transformer(self.config)

    @property
    def model_params_types(self) -> dict[str, ParameterType]:
        """Parameter name to type; the attention's matrices have types of their own."""
        return {
            name: _ATTENTION_TYPES.get(name.split(".")[-2], kind)
            for name, kind in super().model_params_types.items()
        }

    def is_output_params(self, param_key: str) -> bool:
        """The embedding, which is the output layer too."""
        return param_key == "shared_embedding.weight"

    def forward(self, model: nn.Module, batch: Batch, dropout_rate: float | None) -> Tensor:
        """Logits [B, T, vocab] of every target token given those before it."""
        logits: Tensor = model(
            batch["inputs"],
            batch["targets"],
            batch.get("inputs_position"),
            batch.get("targets_position"),
            batch.get("inputs_segmentation"),
            batch.get("targets_segmentation"),
            dropout_rate=dropout_rate,
            attention_dropout_rate=self.aux_dropout_rate,
        )
        return logits

    def loss_fn(
        self,
        label_batch: Tensor,
        logits_batch: Tensor,
        mask_batch: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> dict[str, Tensor]:
        """Cross-entropy of every target token, label smoothing as torch's `cross_entropy` has it.

        As in AlgoPerf, the mask alone decides which tokens count: without one, padding counts too.

        Args:
            label_batch: Target tokens [B, T].
            logits_batch: [B, T, vocab].
            mask_batch: [B, T]; a token where it is 0 does not count. A batch's "weights".
            label_smoothing: In [0, 1]: this share of the weight is spread evenly over all tokens.

        Returns:
            The sum [] over the tokens that count, the sum [] of their weights in the mask, and the
            loss of each token [B, T].
        """
        labels = label_batch
        weights = torch.ones_like(labels) if mask_batch is None else mask_batch
        if mask_batch is not None:
            labels = labels.masked_fill(mask_batch == 0, _IGNORED)
        summed, losses = cross_entropy(
            labels.flatten(), logits_batch.flatten(0, -2), label_smoothing, ignored=_IGNORED
        )
        return {
            "summed": summed,
            "n_valid_examples": weights.sum(),
            "per_example": losses.view(labels.shape),
        }

    def split(self, name: str) -> Pairs:
        """The sentence pairs of "train", "validation" or "test"; raises DataError."""
        if not hasattr(self, "_splits"):
            self._splits: dict[str, Pairs] = {}
        if name not in self._splits:
            self._splits[name] = self.preparation().pairs(name)
        return self._splits[name]

    def build_input_queue(
        self, rng: RandomState, split: str, global_batch_size: int, start: int = 0
    ) -> Iterator[Batch]:
        """An endless iterator over batches of packed rows; batch i is a pure function of (rng, i).

        inputs, targets and weights as in evaluation, and inputs_position, inputs_segmentation,
        targets_position, targets_segmentation, all [B, max_length]; see `Pairs.packed`.
        """
        pairs, width = self.split(split), self.config.max_length
        size = local_batch_size(global_batch_size)
        mine = slice(world()[0] * size, (world()[0] + 1) * size)
        rows = row_batches(pairs.lengths, width, global_batch_size, seed_of(rng))
        rows = islice(rows, start, None)

        def batches() -> Iterator[Batch]:
            for chosen, per_row in rows:
                before = per_row[: mine.start].sum()
                chosen = chosen[before : before + per_row[mine].sum()]
                yield self._batch(pairs.packed(chosen, per_row[mine], width))

        return read_ahead(batches(), self.read_ahead, self.device)

    def eval_model(
        self, params: ParameterContainer, model_state: ModelAuxiliaryState, split: str
    ) -> dict[str, float]:
        """BLEU of a split in percent, loss and accuracy of its tokens; every pair counts once."""
        pairs, size = self.split(split), self.eval_batch_size
        count = min(self.num_eval_train_examples, len(pairs)) if split == "train" else len(pairs)
        rank, processes = world()
        mine = np.arange(rank, count, processes)
        batches = (
            self._batch(pairs.padded(mine[start : start + size]))
            for start in range(0, len(mine), size)
        )
        with eval_mode(params):
            vocabulary = self.preparation().vocabulary()
            sums = evaluation.sums(_unwrapped(params), batches, vocabulary)
        return evaluation.metrics(summed(sums, self.device))

    def eval_arrays(self, split: str) -> Any:
        """The tokens of a split's pairs."""
        return self.split(split)

    def _batch(self, arrays: Arrays) -> Batch:
        """Arrays as tensors on the device."""
        return {name: on_device(array, self.device) for name, array in arrays.items()}


def _unwrapped(model: nn.Module) -> Transformer:
    """The Transformer inside DistributedDataParallel and torch.compile."""
    return next(module for module in model.modules() if isinstance(module, Transformer))
