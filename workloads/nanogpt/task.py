"""Predicting every next token: the loss and metrics of nanogpt and of its mini.

Shapes: B windows, T tokens, V tokens of the vocabulary.
"""

from __future__ import annotations

import abc
from functools import cached_property

import numpy as np
import torch
from torch import nn

from harness.spec import (
    Batch,
    LossType,
    ModelAuxiliaryState,
    ParameterContainer,
    ParameterType,
    Tensor,
)
from workloads.arrays import ArrayWorkload
from workloads.gpt import GPT, Config
from workloads.losses import cross_entropy
from workloads.prepared import PreparedWorkload

_DECILES = 10


class LanguageModelling(PreparedWorkload, ArrayWorkload):
    """Predicts every next token of windows of a text.

    An example is a window: its loss is the mean over its tokens. Evaluation also gives the loss by
    token frequency: tokens, sorted by how often they are in (the first shard of) the training text,
    fall into ten groups that make up a tenth of that text each, "loss_decile_1" of the most
    frequent; as in Kunstner et al. 2024, figure 1, this shows whom the rare ones cost how much.

    Attributes:
        config: The model's; windows have its `context` tokens.
    """

    loss_type = LossType.SOFTMAX_CROSS_ENTROPY
    target_metric_name = "loss"
    target_direction = "min"
    dropout_rate = 0.0
    config: Config

    def build_model(self) -> nn.Module:
        """The GPT, initialised from torch's default generator."""
        return GPT(self.config)

    @property
    def model_params_types(self) -> dict[str, ParameterType]:
        """Parameter name to type; the attention's have types of their own."""
        types = super().model_params_types
        for name in types:
            if ".attn." in name and name.endswith("bias"):
                types[name] = ParameterType.ATTENTION_BIAS
            elif ".attn." in name:
                fused = "c_attn" in name
                types[name] = ParameterType.ATTENTION_QKV if fused else ParameterType.ATTENTION_OUT
        return types

    def is_output_params(self, param_key: str) -> bool:
        """The embedding, which is the output layer too."""
        return param_key == "transformer.wte.weight"

    def losses(
        self, labels: Tensor, logits: Tensor, label_smoothing: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """The cross-entropy of windows, each a mean over its tokens: their sum [], and each [B].

        Args:
            labels: Tokens [B, T].
            logits: [B, T, V].
            label_smoothing: In [0, 1].
        """
        summed, losses_bt = _token_losses(labels, logits, label_smoothing)
        return summed / labels.shape[1], losses_bt.mean(1)

    def eval_model(
        self, params: ParameterContainer, model_state: ModelAuxiliaryState, split: str
    ) -> dict[str, float]:
        """The loss of a split in nats a token, its accuracy, and the loss by token frequency."""
        means = super().eval_model(params, model_state, split)
        for number in range(1, _DECILES + 1):
            count = means.pop(f"count_{number}")
            total = means.pop(f"loss_{number}")
            means[f"loss_decile_{number}"] = total / count if count else float("nan")
        return means

    def per_example_metrics(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """Loss and accuracy, [B] each, and every decile's tokens and the sum of their losses."""
        labels_bt = batch["targets"]
        _, losses_bt = _token_losses(labels_bt, logits)
        metrics = {
            "loss": losses_bt.mean(1),
            "accuracy": (logits.argmax(2) == labels_bt).float().mean(1),
        }
        deciles_bt = self._deciles_v[labels_bt]
        for number in range(1, _DECILES + 1):
            is_in_bt = deciles_bt == number
            metrics[f"count_{number}"] = is_in_bt.sum(1)
            metrics[f"loss_{number}"] = (losses_bt * is_in_bt).sum(1)
        return metrics

    @cached_property
    def _deciles_v(self) -> Tensor:
        """The decile of every token, 1 to 10."""
        counts_v = np.bincount(self.training_tokens(), minlength=self.config.vocab_size)
        return torch.from_numpy(deciles(counts_v)).to(self.device)

    @abc.abstractmethod
    def training_tokens(self) -> np.ndarray:
        """Training text [N] for the frequency of tokens; raises DataError."""


def _token_losses(
    labels_bt: Tensor, logits_btv: Tensor, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The cross-entropy of tokens: its sum [], and that of each [B, T]."""
    summed, losses = cross_entropy(
        labels_bt.flatten(), logits_btv.flatten(0, 1).float(), label_smoothing
    )
    return summed, losses.view(labels_bt.shape)


def deciles(counts_v: np.ndarray) -> np.ndarray:
    """The group [V], 1 to 10, of each token: sorted by count, each group a tenth of all counts.

    Args:
        counts_v: How often every token occurs.
    """
    order_v = np.argsort(-counts_v, kind="stable")
    before_v = np.cumsum(counts_v[order_v]) - counts_v[order_v]  # of all more frequent tokens
    groups_v = np.empty(len(counts_v), np.int64)
    groups_v[order_v] = np.minimum(_DECILES * before_v // max(1, counts_v.sum()) + 1, _DECILES)
    return groups_v
