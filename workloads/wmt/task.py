"""Translating: the model, loss, batches and evaluation of wmt and of its mini.

Shapes: B rows, T target tokens, V tokens of the vocabulary.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from functools import cached_property
from itertools import islice

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
from workloads.batching import seed_of
from workloads.distributed import own_part, summed, world
from workloads.losses import cross_entropy
from workloads.modes import eval_mode
from workloads.parts import Arrays, Part
from workloads.prefetch import on_device, read_ahead
from workloads.prepared import PreparedWorkload
from workloads.vocabulary import Vocabulary
from workloads.wmt import evaluation
from workloads.wmt.data import Pairs, Preparation, row_batches
from workloads.wmt.layers import Config
from workloads.wmt.model import Transformer

_IGNORED = -100  # not a token: what cross_entropy leaves out
_ATTENTION_TYPES = {
    "in_proj": ParameterType.ATTENTION_QKV,
    "q_proj": ParameterType.ATTENTION_Q,
    "kv_proj": ParameterType.ATTENTION_KV,
    "out_proj": ParameterType.ATTENTION_OUT,
}


class TranslationWorkload(PreparedWorkload):
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

    def parts(self) -> list[Part]:
        """The vocabulary, then tokens of the texts; raises DataError."""
        return self.preparation().parts()

    def load(self) -> dict[str, Pairs]:
        """The sentence pairs of every split; raises DataError."""
        return {
            split: Pairs(
                [self.read(name) for name in self.preparation().names(split)],
                f"{split} of {self.folder}",
            )
            for split in self.sizes
        }

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The prepared vocabulary; raises DataError."""
        return self.preparation().vocabulary()

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
        """Logits [B, T, V] of every target token given those before it."""
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
            logits_batch: [B, T, V].
            mask_batch: [B, T]; a token where it is 0 does not count. A batch's "weights".
            label_smoothing: In [0, 1]: this share of the weight is spread evenly over all tokens.

        Returns:
            The sum [] over the tokens that count, the sum [] of their weights in the mask, and the
            loss of each token [B, T].
        """
        labels_bt = label_batch
        weights_bt = torch.ones_like(labels_bt) if mask_batch is None else mask_batch
        if mask_batch is not None:
            labels_bt = labels_bt.masked_fill(mask_batch == 0, _IGNORED)
        summed, losses = cross_entropy(
            labels_bt.flatten(), logits_batch.flatten(0, -2), label_smoothing, ignored=_IGNORED
        )
        return {
            "summed": summed,
            "n_valid_examples": weights_bt.sum(),
            "per_example": losses.view(labels_bt.shape),
        }

    def build_input_queue(
        self, rng: RandomState, split: str, global_batch_size: int, start: int = 0
    ) -> Iterator[Batch]:
        """An endless iterator over batches of packed rows; batch i is a pure function of (rng, i).

        inputs, targets and weights as in evaluation, and inputs_position, inputs_segmentation,
        targets_position, targets_segmentation, all [B, max_length]; see `Pairs.packed`.
        """
        pairs: Pairs = self.examples[split]
        width, own = self.config.max_length, own_part(global_batch_size)
        rows = row_batches(pairs.lengths, width, global_batch_size, seed_of(rng))
        rows = islice(rows, start, None)

        def batches() -> Iterator[Batch]:
            for chosen, per_row in rows:
                before = per_row[: own.start].sum()
                chosen = chosen[before : before + per_row[own].sum()]
                yield self._batch(pairs.packed(chosen, per_row[own], width))

        return read_ahead(batches(), self.read_ahead, self.device)

    def eval_model(
        self, params: ParameterContainer, model_state: ModelAuxiliaryState, split: str
    ) -> dict[str, float]:
        """BLEU of a split in percent, loss and accuracy of its tokens; every pair counts once."""
        pairs: Pairs = self.examples[split]
        size = self.eval_batch_size
        rank, processes = world()
        mine = np.arange(rank, self.eval_count(split, len(pairs)), processes)
        batches = (
            self._batch(pairs.padded(mine[start : start + size]))
            for start in range(0, len(mine), size)
        )
        with eval_mode(params):
            sums = evaluation.sums(_unwrapped(params), batches, self.vocabulary)
        return evaluation.metrics(summed(sums, self.device))

    def _batch(self, arrays: Arrays) -> Batch:
        """Arrays as tensors on the device."""
        return {name: on_device(array, self.device) for name, array in arrays.items()}


def _unwrapped(model: nn.Module) -> Transformer:
    """The Transformer inside DistributedDataParallel and torch.compile."""
    return next(module for module in model.modules() if isinstance(module, Transformer))
