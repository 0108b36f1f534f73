"""Track 3's task: every next token, sequences in the order of the files, micro-batches.

Shapes: B sequences, T tokens, D width, V tokens of the vocabulary.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from harness.spec import Batch, LossType, ParameterType, RandomState, Tensor
from workloads.arrays import ArrayWorkload
from workloads.batching import epochs
from workloads.distributed import own_part
from workloads.losses import cross_entropy
from workloads.nanogpt.track3_model import Config, Deferred, Track3Model, capped_logits
from workloads.prefetch import read_ahead

_TYPES = {
    "attn.q.weight": ParameterType.ATTENTION_Q,
    "attn.k.weight": ParameterType.ATTENTION_K,
    "attn.v.weight": ParameterType.ATTENTION_V,
    "attn.proj.weight": ParameterType.ATTENTION_OUT,
}


class Track3(ArrayWorkload):
    """Predicts every next token of sequences, which training reads in the order of the files.

    The loss is that of a token: `per_example` is [B, T], and `n_valid_examples` counts tokens. A
    process whose share of a batch exceeds a micro-batch accumulates: only the last micro-batch
    keeps its activations, those of the others are computed again when gradients flow back. The
    gradients are those of the batch, and a submission sees one forward and one backward pass.

    Attributes:
        config: The model's; sequences have its `context` tokens.
        micro_batch_size: The most sequences whose activations a process keeps.
        logits_at_once: The most sequences whose logits a training step keeps.
    """

    loss_type = LossType.SOFTMAX_CROSS_ENTROPY
    target_metric_name = "loss"
    target_direction = "min"
    splits = ("train", "validation")
    num_test_examples = 0
    is_shuffled = False
    config: Config
    micro_batch_size: int
    logits_at_once: int

    def build_model(self) -> nn.Module:
        """The model, initialised from torch's default generator."""
        return Track3Model(self.config)

    @property
    def model_params_types(self) -> dict[str, ParameterType]:
        """Parameter name to type; gains and the attention's parameters have types of their own."""
        types = super().model_params_types
        for name in types:
            if name.endswith("gains"):
                types[name] = ParameterType.LAYER_NORM_SCALE
            elif ".attn." in name and name.endswith("bias"):
                types[name] = ParameterType.ATTENTION_BIAS
            elif ".attn." in name:
                types[name] = _TYPES[".".join(name.split(".")[-3:])]
        return types

    def is_output_params(self, param_key: str) -> bool:
        """The head."""
        return param_key.startswith("proj.")

    @property
    @abc.abstractmethod
    def sequences_by_shard(self) -> Sequence[int]:
        """How many sequences each training shard has; raises DataError."""

    def build_input_queue(
        self, rng: RandomState, split: str, global_batch_size: int, start: int = 0
    ) -> Iterator[Batch]:
        """An endless iterator over batches in the order of the files, from number `start`."""
        examples, own = self.examples[split], own_part(global_batch_size)
        order = in_file_order(self.sequences_by_shard, global_batch_size)

        def batches() -> Iterator[Batch]:
            for _, begins in epochs(len(order), global_batch_size, start):
                for begin in begins:
                    yield examples.take(order[begin:][own])

        return read_ahead(batches(), self.read_ahead, self.device)

    def forward(self, model: nn.Module, batch: Batch, dropout_rate: float | None) -> Any:
        """The logits [B, T, V]; in training, what they are made of."""
        tokens_bt = batch["inputs"]
        if not model.training:
            return model(tokens_bt)
        *earlier, last_bt = tokens_bt.split(self.micro_batch_size)
        features = _features_of(model) if earlier else None
        recomputed = [_recomputed(features, tokens) for tokens in earlier]
        found: Deferred = model(last_bt, deferred=True)  # the wrapper of several processes sees it
        return found._replace(features_btd=torch.cat([*recomputed, found.features_btd]))

    def losses(
        self, labels: Tensor, logits: Any, label_smoothing: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """The cross-entropy of tokens in float32: the sum [], and each [B, T].

        Args:
            labels: Tokens [B, T].
            logits: [B, T, V], or what they are made of.
            label_smoothing: In [0, 1].
        """
        if isinstance(logits, Tensor):
            return _token_losses(labels, logits, label_smoothing)
        smoothing = 1.0 * label_smoothing  # torch.compile needs its first use outside a checkpoint
        loss_of = partial(_deferred_losses, logits.weight_vd, logits.bias_v, smoothing)
        size = self.logits_at_once
        *earlier, last = zip(logits.features_btd.split(size), labels.split(size), strict=True)
        found = [*(_recomputed(loss_of, *piece) for piece in earlier), loss_of(*last)]
        sums, losses = zip(*found, strict=True)
        return torch.stack(sums).sum(), torch.cat(losses)

    def per_example_metrics(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """The loss of each sequence [B]."""
        return {"loss": self.losses(batch["targets"], logits)[1].mean(1)}


def in_file_order(sequences_by_shard: Sequence[int], size: int) -> np.ndarray:
    """The numbers of the sequences of an epoch [N], whole batches of each shard.

    Args:
        sequences_by_shard: How many sequences each shard has.
        size: The size of a batch; what is left of a shard after its last batch is skipped.
    """
    first = np.cumsum([0, *sequences_by_shard])
    whole = [
        start + np.arange(count // size * size)
        for start, count in zip(first, sequences_by_shard, strict=False)
    ]
    return np.concatenate(whole)


def _features_of(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The model's `features`, without the wrappers of the harness; compiled if the model is.

    The wrapper of several processes expects one forward pass before each backward pass.
    """
    inner = getattr(model, "_orig_mod", model)
    base = inner.module if isinstance(inner, DistributedDataParallel) else inner
    features = cast(Track3Model, base).features
    return features if inner is model else torch.compile(features)


def _recomputed(function: Any, *tensors: Tensor) -> Any:
    """Calls a function whose intermediate results are computed again for its gradients."""
    return checkpoint(function, *tensors, use_reentrant=False, preserve_rng_state=False)


def _deferred_losses(
    weight_vd: Tensor, bias_v: Tensor, label_smoothing: float, features_btd: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    logits_btv = capped_logits(features_btd, weight_vd, bias_v)
    return _token_losses(labels, logits_btv, label_smoothing)


def _token_losses(
    labels_bt: Tensor, logits_btv: Tensor, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """The cross-entropy of tokens: its sum [], and that of each [B, T]."""
    rows = logits_btv.flatten(0, 1)
    summed, losses = cross_entropy(labels_bt.flatten(), rows, label_smoothing)
    return summed, losses.view(labels_bt.shape)
