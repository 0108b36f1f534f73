"""librispeech_deepspeech's acoustic model (after Amodei et al. 2016), under AlgoPerf's names.

Shapes: B utterances, S samples, T frames, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from workloads.distributed import world
from workloads.librispeech.frontend import ALGOPERF_MASKS, BINS, Masks, Preprocessor, SpecAugment
from workloads.librispeech.layers import (
    Conv2dSubsampling,
    LayerNorm,
    MaskedBatchNorm,
    flattened,
    linear,
    subsampled_bins,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeepSpeechConfig:
    """The size of a DeepSpeech model, and what AlgoPerf's variants change."""

    vocab_size: int = 1024
    width: int = 512  # an LSTM has half of it in each direction
    lstm_layers: int = 6
    feed_forward_layers: int = 3
    masks: Masks = ALGOPERF_MASKS
    batch_norm_momentum: float = 0.001
    activation: Callable[[Tensor], Tensor] = F.relu
    residual: bool = True
    layer_norm: bool = False  # in place of every batch norm, and none before the head


class DeepSpeech(nn.Module):
    """Sound [B, S] to logits over tokens, 0 being CTC's blank, every 40 ms."""

    def __init__(self, config: DeepSpeechConfig) -> None:
        super().__init__()
        self._residual = config.residual
        self.preprocessor = Preprocessor()
        self.specaug = SpecAugment(config.masks)
        self.subsample = Subsample(config)
        self.lstms = nn.ModuleList(RecurrentLayer(config) for _ in range(config.lstm_layers))
        self.ffns = nn.ModuleList(FeedForward(config) for _ in range(config.feed_forward_layers))
        self.ln = None if config.layer_norm else LayerNorm(config.width)
        self.lin = linear(config.width, config.vocab_size)

    def forward(
        self,
        audio: Tensor,
        paddings: Tensor,
        dropout_rate: float = 0.1,
        input_dropout_rate: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, T, vocab], and 1 [B, T] where the utterance is over.

        Args:
            audio: Samples [B, S] in the range of 16-bit integers.
            paddings: [B, S], 1 where the utterance is over.
            dropout_rate: Used in training mode, on the input and after feed-forward layers.
            input_dropout_rate: Used on the input instead.
        """
        x, paddings = self.preprocessor(audio, paddings)
        x, paddings = self.subsample(self.specaug(x, paddings), paddings)
        input_rate = dropout_rate if input_dropout_rate is None else input_dropout_rate
        x = F.dropout(x, input_rate, self.training)
        lengths = (1 - paddings).sum(1).long().cpu()
        for layer in self.lstms:
            x = self._added(x, layer(x, paddings, lengths))
        for layer in self.ffns:
            x = self._added(x, F.dropout(layer(x, paddings), dropout_rate, self.training))
        return self.lin(x if self.ln is None else self.ln(x)), paddings

    def _added(self, x: Tensor, branch: Tensor) -> Tensor:
        return x + branch if self._residual else branch


class Subsample(nn.Module):
    """Two convolutions leave every fourth frame."""

    def __init__(self, config: DeepSpeechConfig) -> None:
        super().__init__()
        self.conv1 = Conv2dSubsampling(1, config.width, config.activation)
        self.conv2 = Conv2dSubsampling(config.width, config.width, config.activation)
        self.lin = linear(subsampled_bins(BINS) * config.width, config.width)

    def forward(self, x: Tensor, paddings: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, T, F] to [B, T / 4, D], and their paddings."""
        x, paddings = self.conv1(x[:, None], paddings)
        x, paddings = self.conv2(x, paddings)
        return self.lin(flattened(x)), paddings


class _Normalised(nn.Module):
    """Normalises its input by batch norm or layer norm, under AlgoPerf's names for either."""

    def __init__(self, config: DeepSpeechConfig) -> None:
        super().__init__()
        if config.layer_norm:
            self.normalization_layer = LayerNorm(config.width)
        else:
            self.bn_normalization_layer = BatchNorm(config.width, config.batch_norm_momentum)
        self._layer_norm = config.layer_norm

    def normalised(self, x: Tensor, paddings: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        normalised: Tensor
        if self._layer_norm:
            normalised = self.normalization_layer(x)
        else:
            normalised = self.bn_normalization_layer(x, paddings)
        return normalised


class RecurrentLayer(_Normalised):
    """A bidirectional LSTM that stops at an utterance's end."""

    def __init__(self, config: DeepSpeechConfig) -> None:
        super().__init__(config)
        self.lstm = nn.LSTM(config.width, config.width // 2, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor, paddings: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D], 0 where there is padding; lengths [B] are on the CPU."""
        packed = nn.utils.rnn.pack_padded_sequence(
            self.normalised(x, paddings), lengths, batch_first=True, enforce_sorted=False
        )
        out, _ = nn.utils.rnn.pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=x.shape[1]
        )
        return out


class FeedForward(_Normalised):
    """A linear layer and its activation."""

    def __init__(self, config: DeepSpeechConfig) -> None:
        super().__init__(config)
        self._activation = config.activation
        self.lin = linear(config.width, config.width)

    def forward(self, x: Tensor, paddings: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D], 0 where there is padding."""
        out = self._activation(self.lin(self.normalised(x, paddings)))
        return out * (1 - paddings)[:, :, None]


class BatchNorm(MaskedBatchNorm):
    """With the statistics of the whole batch, over all processes."""

    def __init__(self, width: int, momentum: float) -> None:
        super().__init__(width, momentum)
        self.weight = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def affine(self) -> tuple[Tensor, Tensor]:
        """The scale and the bias [D]."""
        return 1 + self.weight, self.bias

    def reduced(self, sums: Tensor) -> Tensor:
        """Sums over the batches of all processes, through which gradients flow."""
        if world()[1] == 1:
            return sums
        total: Tensor = _SumOverProcesses.apply(sums)  # type: ignore[no-untyped-call]
        return total


class _SumOverProcesses(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total
