"""librispeech_conformer's acoustic model (Gulati et al. 2020), under AlgoPerf's parameter names.

Shapes: B utterances, S samples, T frames, F mel bins, C channels, D width, N heads of E = D / N,
V tokens of the vocabulary. Paddings are 1 where the utterance is over.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

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
class ConformerConfig:
    """The size of a Conformer, and what AlgoPerf's variants change."""

    vocab_size: int = 1024
    width: int = 512
    heads: int = 8
    layers: int = 4
    kernel: int = 5  # frames that the depthwise convolution sees
    masks: Masks = ALGOPERF_MASKS
    batch_norm_momentum: float = 0.001
    attention_temperature: float = 1.0  # the attention's output is multiplied by it
    block_norm: bool = True  # a layer norm at the end of every block
    feed_forward_activation: Callable[[Tensor], Tensor] = F.silu
    convolution_activation: Callable[[Tensor], Tensor] = F.silu


class Conformer(nn.Module):
    """Sound [B, S] to logits over tokens, 0 being CTC's blank, every 40 ms."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.preprocessor = Preprocessor()
        self.specaug = SpecAugment(config.masks)
        self.subsample = Subsample(config.width)
        self.conformers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.ln = LayerNorm(config.width)
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
            dropout_rate: Used in training mode, on every residual branch and on the input.
            input_dropout_rate: Used on the input instead.
        """
        x_btf, paddings_bt = self.preprocessor(audio_bs, paddings_bs)
        x_btd, paddings_bt = self.subsample(self.specaug(x_btf, paddings_bt), paddings_bt)
        input_rate = dropout_rate if input_dropout_rate is None else input_dropout_rate
        x_btd = F.dropout(x_btd, input_rate, self.training)
        for block in self.conformers:
            x_btd = block(x_btd, paddings_bt, dropout_rate)
        return self.lin(self.ln(x_btd)), paddings_bt


class Subsample(nn.Module):
    """Two convolutions leave every fourth frame; sinusoidal positions are added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = PaddedConv2d(1, width, F.relu)
        self.conv2 = PaddedConv2d(width, width, F.relu)
        self.linear = linear(subsampled_bins(BINS) * width, width)
        self.pos_encode = PositionalEncoding(width)

    def forward(self, x_btf: Tensor, paddings_bt: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, T, F] to [B, T / 4, D], and their paddings."""
        x_bctf, paddings_bt = self.conv1(x_btf[:, None], paddings_bt)
        x_bctf, paddings_bt = self.conv2(x_bctf, paddings_bt)
        return self.pos_encode(self.linear(flattened(x_bctf))), paddings_bt


class PaddedConv2d(Conv2dSubsampling):
    """Also has the kernel that AlgoPerf's convolves paddings with, for its state dictionaries."""

    def __init__(
        self, channels_in: int, channels_out: int, activation: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__(channels_in, channels_out, activation)
        self.register_buffer("paddings_kernel", torch.ones(1, 1, 1))


class PositionalEncoding(nn.Module):
    """Adds sines in the first half of the features, cosines in the second."""

    inv_timescales: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        rates = torch.exp(torch.arange(half) * -(math.log(10_000) / (half - 1)))
        self.register_buffer("inv_timescales", rates[None, None])

    def forward(self, x_btd: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        places_t = torch.arange(x_btd.shape[1], device=x_btd.device)
        angles = places_t[None, :, None] * self.inv_timescales  # [1, T, D / 2]
        return x_btd + torch.cat([angles.sin(), angles.cos()], dim=2)


class Block(nn.Module):
    """Half a feed-forward module, attention, convolution, the other half, each a residual."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.ff1 = FeedForward(config)
        self.mhsa = SelfAttention(config)
        self.conv = Convolution(config)
        self.ff2 = FeedForward(config)
        self.ln = LayerNorm(config.width) if config.block_norm else None

    def forward(self, x_btd: Tensor, paddings_bt: Tensor, dropout_rate: float) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        drop = partial(F.dropout, p=dropout_rate, training=self.training)
        x_btd = x_btd + 0.5 * drop(self.ff1(x_btd, paddings_bt))
        x_btd = x_btd + drop(self.mhsa(x_btd, paddings_bt))
        x_btd = x_btd + drop(self.conv(x_btd, paddings_bt))
        x_btd = x_btd + 0.5 * drop(self.ff2(x_btd, paddings_bt))
        return x_btd if self.ln is None else self.ln(x_btd)


class FeedForward(nn.Module):
    """A hidden layer four times as wide."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self._activation = config.feed_forward_activation
        self.ln = LayerNorm(config.width)
        self.linear1 = linear(config.width, 4 * config.width)
        self.linear2 = linear(4 * config.width, config.width)

    def forward(self, x_btd: Tensor, paddings_bt: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        out_btd: Tensor = self.linear2(self._activation(self.linear1(self.ln(x_btd))))
        return out_btd * (1 - paddings_bt)[:, :, None]


class SelfAttention(nn.Module):
    """Multi-head attention over the frames that are not padding."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.ln = LayerNorm(config.width)
        self.self_attention = Attention(config)

    def forward(self, x_btd: Tensor, paddings_bt: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        attended_btd: Tensor = self.self_attention(self.ln(x_btd), paddings_bt)
        return attended_btd


class Attention(nn.Module):
    """Queries, keys and values in one matrix; queries are scaled by learned factors."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self._heads, self._temperature = config.heads, config.attention_temperature
        self.in_proj = linear(config.width, 3 * config.width)
        self.out_proj = linear(config.width, config.width)
        self.qs = QueryScaler(config.width // config.heads)

    def forward(self, x_btd: Tensor, paddings_bt: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        queries_bnte, keys_bnte, values_bnte = (
            part_btd.unflatten(2, (self._heads, -1)).transpose(1, 2)
            for part_btd in self.in_proj(x_btd).chunk(3, dim=2)
        )
        mask = (paddings_bt == 0)[:, None, None, :]
        mixed_bnte = F.scaled_dot_product_attention(
            self.qs(queries_bnte), keys_bnte, values_bnte, attn_mask=mask
        )
        mixed_btd = mixed_bnte.transpose(1, 2).flatten(2)
        attended_btd: Tensor = self.out_proj(mixed_btd * self._temperature)
        return attended_btd


class QueryScaler(nn.Module):
    """A learned positive factor for each dimension of a head, 1 at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))

    def forward(self, queries_bnte: Tensor) -> Tensor:
        """[B, N, T, E] to [B, N, T, E]."""
        return queries_bnte * (F.softplus(self.scale) / math.log(2))


class Convolution(nn.Module):
    """A gated linear unit, a depthwise convolution over time, batch norm, a linear layer."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        width = config.width
        self._activation = config.convolution_activation
        self.ln = LayerNorm(width)
        self.lin1 = linear(width, width)
        self.lin2 = linear(width, width)
        self.conv1 = nn.Conv1d(
            width, width, config.kernel, padding="same", groups=width, bias=False
        )
        nn.init.xavier_uniform_(self.conv1.weight)
        self.bn = BatchNorm(width, config.batch_norm_momentum)
        self.lin3 = linear(width, width)

    def forward(self, x_btd: Tensor, paddings_bt: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        x_btd = self.ln(x_btd)
        x_btd = self.lin1(x_btd) * self.lin2(x_btd).sigmoid() * (1 - paddings_bt)[:, :, None]
        x_btd = self.conv1(x_btd.transpose(1, 2)).transpose(1, 2)
        out_btd: Tensor = self.lin3(self._activation(self.bn(x_btd, paddings_bt)))
        return out_btd


class BatchNorm(MaskedBatchNorm):
    """With the statistics of this process's share of the batch."""

    def __init__(self, width: int, momentum: float) -> None:
        super().__init__(width, momentum)
        self.scale = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("dim", torch.full((1,), float(width)))  # AlgoPerf's has it

    def affine(self) -> tuple[Tensor, Tensor]:
        """The scale and the bias [D]."""
        return 1 + self.scale, self.bias
