"""librispeech_conformer's acoustic model (Gulati et al. 2020), under AlgoPerf's parameter names.

Shapes: B utterances, S samples, T frames, D features.
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
        audio: Tensor,
        paddings: Tensor,
        dropout_rate: float = 0.1,
        input_dropout_rate: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, T, vocab], and 1 [B, T] where the utterance is over.

        Args:
            audio: Samples [B, S] in the range of 16-bit integers.
            paddings: [B, S], 1 where the utterance is over.
            dropout_rate: Used in training mode, on every residual branch and on the input.
            input_dropout_rate: Used on the input instead.
        """
        x, paddings = self.preprocessor(audio, paddings)
        x, paddings = self.subsample(self.specaug(x, paddings), paddings)
        input_rate = dropout_rate if input_dropout_rate is None else input_dropout_rate
        x = F.dropout(x, input_rate, self.training)
        for block in self.conformers:
            x = block(x, paddings, dropout_rate)
        return self.lin(self.ln(x)), paddings


class Subsample(nn.Module):
    """Two convolutions leave every fourth frame; sinusoidal positions are added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = PaddedConv2d(1, width, F.relu)
        self.conv2 = PaddedConv2d(width, width, F.relu)
        self.linear = linear(subsampled_bins(BINS) * width, width)
        self.pos_encode = PositionalEncoding(width)

    def forward(self, x: Tensor, paddings: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, T, F] to [B, T / 4, D], and their paddings."""
        x, paddings = self.conv1(x[:, None], paddings)
        x, paddings = self.conv2(x, paddings)
        return self.pos_encode(self.linear(flattened(x))), paddings


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

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        angles = torch.arange(x.shape[1], device=x.device)[None, :, None] * self.inv_timescales
        return x + torch.cat([angles.sin(), angles.cos()], dim=2)


class Block(nn.Module):
    """Half a feed-forward module, attention, convolution, the other half, each a residual."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.ff1 = FeedForward(config)
        self.mhsa = SelfAttention(config)
        self.conv = Convolution(config)
        self.ff2 = FeedForward(config)
        self.ln = LayerNorm(config.width) if config.block_norm else None

    def forward(self, x: Tensor, paddings: Tensor, dropout_rate: float) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        drop = partial(F.dropout, p=dropout_rate, training=self.training)
        x = x + 0.5 * drop(self.ff1(x, paddings))
        x = x + drop(self.mhsa(x, paddings))
        x = x + drop(self.conv(x, paddings))
        x = x + 0.5 * drop(self.ff2(x, paddings))
        return x if self.ln is None else self.ln(x)


class FeedForward(nn.Module):
    """A hidden layer four times as wide."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self._activation = config.feed_forward_activation
        self.ln = LayerNorm(config.width)
        self.linear1 = linear(config.width, 4 * config.width)
        self.linear2 = linear(4 * config.width, config.width)

    def forward(self, x: Tensor, paddings: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        out: Tensor = self.linear2(self._activation(self.linear1(self.ln(x))))
        return out * (1 - paddings)[:, :, None]


class SelfAttention(nn.Module):
    """Multi-head attention over the frames that are not padding."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.ln = LayerNorm(config.width)
        self.self_attention = Attention(config)

    def forward(self, x: Tensor, paddings: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        attended: Tensor = self.self_attention(self.ln(x), paddings)
        return attended


class Attention(nn.Module):
    """Queries, keys and values in one matrix; queries are scaled by learned factors."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self._heads, self._temperature = config.heads, config.attention_temperature
        self.in_proj = linear(config.width, 3 * config.width)
        self.out_proj = linear(config.width, config.width)
        self.qs = QueryScaler(config.width // config.heads)

    def forward(self, x: Tensor, paddings: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        queries, keys, values = (
            part.unflatten(2, (self._heads, -1)).transpose(1, 2)
            for part in self.in_proj(x).chunk(3, dim=2)
        )
        mask = (paddings == 0)[:, None, None, :]
        out = F.scaled_dot_product_attention(self.qs(queries), keys, values, attn_mask=mask)
        attended: Tensor = self.out_proj(out.transpose(1, 2).flatten(2) * self._temperature)
        return attended


class QueryScaler(nn.Module):
    """A learned positive factor for each dimension of a head, 1 at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))

    def forward(self, queries: Tensor) -> Tensor:
        """[..., width] to [..., width]."""
        return queries * (F.softplus(self.scale) / math.log(2))


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

    def forward(self, x: Tensor, paddings: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        x = self.ln(x)
        x = self.lin1(x) * self.lin2(x).sigmoid() * (1 - paddings)[:, :, None]
        x = self.conv1(x.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.lin3(self._activation(self.bn(x, paddings)))
        return out


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
