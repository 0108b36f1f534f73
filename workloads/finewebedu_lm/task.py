"""Predicting every next token: the loss, metrics and parameter types of finewebedu_lm.

Shapes: B sequences, T tokens, V tokens of the vocabulary.
"""

from __future__ import annotations

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
from workloads.finewebedu_lm.data import buffered_order
from workloads.finewebedu_lm.model import Config, Decoder
from workloads.losses import cross_entropy

_TYPES = {
    "w_qkv.weight": ParameterType.ATTENTION_QKV,
    "w_out.weight": ParameterType.ATTENTION_OUT,
}


class NextToken(ArrayWorkload):
    """Predicts every next token of sequences of equal length; there is no test split.

    A loss is that of a token: `per_example` is [B, T], and `n_valid_examples` counts tokens.
    Training goes through the sequences by a shuffle buffer.

    Attributes:
        config: The model's; sequences have its `context` tokens.
        bfloat16_on_cpu: Whether matrices are multiplied in bfloat16 there as they are on a GPU.
    """

    loss_type = LossType.SOFTMAX_CROSS_ENTROPY
    target_metric_name = "ppl"
    target_direction = "min"
    splits = ("train", "validation")
    num_test_examples = 0
    config: Config
    bfloat16_on_cpu = True

    def build_model(self) -> nn.Module:
        """The decoder, initialised from torch's default generator."""
        return Decoder(self.config)

    @property
    def model_params_types(self) -> dict[str, ParameterType]:
        """Parameter name to type; the attention's have types of their own."""
        types = super().model_params_types
        return {name: _TYPES.get(".".join(name.split(".")[-2:]), t) for name, t in types.items()}

    def is_output_params(self, param_key: str) -> bool:
        """As in AlgoPerf, none of `named_parameters`: the head is tied to `embed_tokens`."""
        return "lm_head" in param_key

    def forward(self, model: nn.Module, batch: Batch, dropout_rate: float | None) -> Tensor:
        """The logits [B, T, V] under bfloat16 autocast."""
        kind = self.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu" or self.bfloat16_on_cpu):
            return super().forward(model, batch, dropout_rate)

    def losses(
        self, labels: Tensor, logits: Tensor, label_smoothing: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """The cross-entropy of tokens, in float32 as under autocast: the sum [], and each [B, T].

        Args:
            labels: Tokens [B, T].
            logits: [B, T, V].
            label_smoothing: In [0, 1].
        """
        rows = logits.flatten(0, 1).float()
        summed, losses = cross_entropy(labels.flatten(), rows, label_smoothing)
        return summed, losses.view(labels.shape)

    def eval_model(
        self, params: ParameterContainer, model_state: ModelAuxiliaryState, split: str
    ) -> dict[str, float]:
        """The loss of a split in nats per token, and its perplexity "ppl"."""
        metrics = super().eval_model(params, model_state, split)
        with np.errstate(over="ignore"):
            return {**metrics, "ppl": float(np.exp(metrics["loss"]))}

    def per_example_metrics(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """The loss of each sequence [B]."""
        return {"loss": self.losses(batch["targets"], logits)[1].mean(1)}

    def epoch_order(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """As a shuffle buffer of 1,000 sequences has it."""
        return buffered_order(generator, count)
