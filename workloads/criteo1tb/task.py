"""Predicting clicks: the model, batches, loss and metric of criteo1tb and of its mini.

Shapes: B lines.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

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
from workloads.batching import epochs, seed_of
from workloads.criteo1tb.click_log import ClickLog
from workloads.criteo1tb.model import DLRM
from workloads.distributed import local_batch_size, summed, world
from workloads.modes import eval_mode
from workloads.parts import Part
from workloads.prefetch import read_ahead
from workloads.prepared import PreparedWorkload


class ClickThroughRates(PreparedWorkload):
    """What criteo1tb and criteo1tb_mini share: model, batches, loss and metric.

    A batch is consecutive lines of the click log, whose files come in a new order in every epoch;
    the incomplete batch at an epoch's end is dropped. The loss is the sigmoid cross-entropy, and
    the metric its mean over a split.
    """

    loss_type = LossType.SIGMOID_CROSS_ENTROPY
    target_metric_name = "loss"
    target_direction = "min"
    dropout_rate = 0.0
    cudnn_benchmark = False
    model_class: ClassVar[type[DLRM]] = DLRM
    model_options: ClassVar[dict[str, Any]] = {}

    @abc.abstractmethod
    def parts_of_splits(self) -> Mapping[str, list[Part]]:
        """The parts of the prepared data by split; raises DataError."""

    def parts(self) -> list[Part]:
        """The parts of all splits."""
        return [part for parts in self.parts_of_splits().values() for part in parts]

    def load(self) -> dict[str, ClickLog]:
        """The lines of every split; raises DataError where they cannot be read."""
        return {
            split: ClickLog([self.read(part.name) for part in parts])
            for split, parts in self.parts_of_splits().items()
        }

    def build_model(self) -> nn.Module:
        """The network, initialised from torch's default generator."""
        return self.model_class(**self.model_options)

    @property
    def model_params_types(self) -> dict[str, ParameterType]:
        """Parameter name to type; LayerNorms of an MLP count as its layers, as in AlgoPerf."""
        types = super().model_params_types
        for name in types:
            if "_mlp." in name:
                bias = name.endswith("bias")
                types[name] = ParameterType.BIAS if bias else ParameterType.WEIGHT
        return types

    def loss_fn(
        self,
        label_batch: Tensor,
        logits_batch: Tensor,
        mask_batch: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> dict[str, Tensor]:
        """The training loss; labels, logits and mask may each be [B] or [B, 1]."""
        mask_b = None if mask_batch is None else mask_batch.flatten()
        labels_b1, logits_b1 = label_batch.reshape(-1, 1), logits_batch.reshape(-1, 1)
        return super().loss_fn(labels_b1, logits_b1, mask_b, label_smoothing)

    def build_input_queue(
        self, rng: RandomState, split: str, global_batch_size: int, start: int = 0
    ) -> Iterator[Batch]:
        """An endless iterator over batches; batch i is a pure function of (rng, i).

        Where there are fewer lines than a batch, all of them are the batch.
        """
        log: ClickLog = self.examples[split]
        rank, processes = world()
        share = min(local_batch_size(global_batch_size), len(log) // processes)
        whole = share * processes
        seed = seed_of(rng)

        def batches() -> Iterator[Batch]:
            for epoch, begins in epochs(len(log), whole, start):
                shuffled = log.shuffled([seed, epoch])
                for begin in begins:
                    mine = begin + rank * share
                    yield shuffled.batch(mine, mine + share, self.device)

        return read_ahead(batches(), self.read_ahead, self.device)

    def eval_model(
        self, params: ParameterContainer, model_state: ModelAuxiliaryState, split: str
    ) -> dict[str, float]:
        """The mean loss over a split, each line once, summed in float64."""
        log: ClickLog = self.examples[split]
        count = self.eval_count(split, len(log))
        rank, processes = world()
        size = self.eval_batch_size
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        with eval_mode(params):
            for start in range(rank * size, count, processes * size):
                batch = log.batch(start, min(start + size, count), self.device)
                _, losses_b = self.losses(batch["targets"], params(batch["inputs"]))
                total += losses_b.double().sum()
        return {"loss": summed({"loss": total.item()}, self.device)["loss"] / count}
