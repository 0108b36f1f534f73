"""librispeech_deepspeech's acoustic model (after Amodei et al. 2016), under AlgoPerf's names.

Shapes: B utterances, S samples, T frames, F mel bins, C channels, D width, V tokens of the
vocabulary. Paddings are 1 where the utterance is over.
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
        audio_bs: Tensor,
        paddings_bs: Tensor,
        dropout_rate: float = 0.1,
        input_dropout_rate: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, T, V], and their paddings [B, T].

        Args:
            audio_bs: Samples in the range of 16-bit integers.
            paddings_bs: The paddings of the samples.
            dropout_rate: Used in training mode, on the input and after feed-forward layers.
            input_dropout_rate: Used on the input instead.
        """
        x_btf, paddings_bt = self.preprocessor(audio_bs, paddings_bs)
        x_btd, paddings_bt = self.subsample(self.specaug(x_btf, paddings_bt), paddings_bt)
        input_rate = dropout_rate if input_dropout_rate is None else input_dropout_rate
        x_btd = F.dropout(x_btd, input_rate, self.training)
        lengths_b = (1 - paddings_bt).sum(1).long().cpu()
        for layer in self.lstms:
            x_btd = self._added(x_btd, layer(x_btd, paddings_bt, lengths_b))
        for layer in self.ffns:
            branch_btd = F.dropout(layer(x_btd, paddings_bt), dropout_rate, self.training)
            x_btd = self._added(x_btd, branch_btd)
        return self.lin(x_btd if self.ln is None else self.ln(x_btd)), paddings_bt

    def _added(self, x_btd: Tensor, branch_btd: Tensor) -> Tensor:
        return x_btd + branch_btd if self._residual else branch_btd


class Subsample(nn.Module):
    """Two convolutions leave every fourth frame."""

    def __init__(self, config: DeepSpeechConfig) -> None:
        super().__init__()
        self.conv1 = Conv2dSubsampling(1, config.width, config.activation)
        self.conv2 = Conv2dSubsampling(config.width, config.width, config.activation)
        self.lin = linear(subsampled_bins(BINS) * config.width, config.width)

    def forward(self, x_btf: Tensor, paddings_bt: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, T, F] to [B, T / 4, D], and their paddings."""
        x_bctf, paddings_bt = self.conv1(x_btf[:, None], paddings_bt)
        x_bctf, paddings_bt = self.conv2(x_bctf, paddings_bt)
        return self.lin(flattened(x_bctf)), paddings_bt


class _Normalised(nn.Module):
    """Normalises its input by batch norm or layer norm, under AlgoPerf's names for either."""

    def __init__(self, config: DeepSpeechConfig) -> None:
        super().__init__()
        if config.layer_norm:
            self.normalization_layer = LayerNorm(config.width)
        else:
            self.bn_normalization_layer = BatchNorm(config.width, config.batch_norm_momentum)
        self._layer_norm = config.layer_norm

    def normalised(self, x_btd: Tensor, paddings_bt: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        normalised_btd: Tensor
        if self._layer_norm:
            normalised_btd = self.normalization_layer(x_btd)
        else:
            normalised_btd = self.bn_normalization_layer(x_btd, paddings_bt)
        return normalised_btd


class RecurrentLayer(_Normalised):
    """A bidirectional LSTM that stops at an utterance's end."""

    def __init__(self, config: DeepSpeechConfig) -> None:
        super().__init__(config)
        self.lstm = nn.LSTM(config.width, config.width // 2, bidirectional=True, batch_first=True)

    def forward(self, x_btd: Tensor, paddings_bt: Tensor, lengths_b: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D], 0 where there is padding; lengths are on the CPU."""
        packed = nn.utils.rnn.pack_padded_sequence(
            self.normalised(x_btd, paddings_bt), lengths_b, batch_first=True, enforce_sorted=False
        )
        out_btd, _ = nn.utils.rnn.pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=x_btd.shape[1]
        )
        return out_btd


class FeedForward(_Normalised):
    """A linear layer and its activation."""

    def __init__(self, config: DeepSpeechConfig) -> None:
        super().__init__(config)
        self._activation = config.activation
        self.lin = linear(config.width, config.width)

    def forward(self, x_btd: Tensor, paddings_bt: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D], 0 where there is padding."""
        out_btd = self._activation(self.lin(self.normalised(x_btd, paddings_bt)))
        return out_btd * (1 - paddings_bt)[:, :, None]


class BatchNorm(MaskedBatchNorm):
    """With the statistics of the batch of all processes."""

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
