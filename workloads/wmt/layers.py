"""What the Transformer of wmt is made of: positions, attention, layers.

Shapes: B rows, T tokens of the sequence, S tokens that are attended to, D = d_model, N heads of
E = D / N, P positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """The size of a Transformer, and what AlgoPerf's variants change."""

    vocab_size: int = 32000
    d_model: int = 1024
    heads: int = 16
    feed_forward: int = 1024
    layers: int = 6  # of the encoder, and of the decoder
    max_length: int = 256
    activation: Callable[[Tensor], Tensor] = F.relu
    gated: bool = False  # a gated linear unit in the feed-forward block
    attention_temperature: float = 1.0  # queries are multiplied by it
    post_norm: bool = False  # layer norm after the residual sum, and none at a stack's end


class KeysValues(NamedTuple):
    """What queries attend to: keys and values, each [B, N, S, E]."""

    keys: Tensor
    values: Tensor

    def take(self, rows: Tensor) -> KeysValues:
        """Those of the given rows of the batch."""
        return KeysValues(self.keys.index_select(0, rows), self.values.index_select(0, rows))


class Past:
    """The keys and values of the tokens that a layer of the decoder has seen."""

    def __init__(self) -> None:
        self._seen: KeysValues | None = None

    def extended(self, new: KeysValues) -> KeysValues:
        """All keys and values up to the new ones, which are remembered too."""
        if self._seen is not None:
            keys = torch.cat([self._seen.keys, new.keys], dim=2)
            new = KeysValues(keys, torch.cat([self._seen.values, new.values], dim=2))
        self._seen = new
        return new

    def take(self, rows: Tensor) -> None:
        """Continues with the given rows of the batch."""
        if self._seen is not None:
            self._seen = self._seen.take(rows)


class Positions(nn.Module):
    """Fixed sines in the first half of the features, cosines in the second; dropout after."""

    pe: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        half = config.d_model // 2
        rates = torch.exp(torch.arange(half) * -(math.log(10000.0) / (half - 1)))
        angles = torch.arange(config.max_length)[:, None] * rates
        self.register_buffer("pe", torch.cat([angles.sin(), angles.cos()], dim=1)[None])

    def forward(self, x_btd: Tensor, positions_bt: Tensor | None, dropout: float) -> Tensor:
        """Embeddings with those of their positions added; None counts from 0."""
        table_pd = self.pe[0]
        place = table_pd[: x_btd.shape[1]] if positions_bt is None else table_pd[positions_bt]
        return F.dropout(x_btd + place, dropout, self.training)


class _Attention(nn.Module):
    """Multi-head attention without biases."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._heads, self._temperature = config.heads, config.attention_temperature

    def _split(self, x_btd: Tensor) -> Tensor:
        """[B, T, D] to [B, N, T, E]."""
        return x_btd.view(*x_btd.shape[:2], self._heads, -1).transpose(1, 2)

    def _attend(
        self, queries_btd: Tensor, to: KeysValues, mask_b1ts: Tensor | None, rate: float
    ) -> Tensor:
        """[B, T, D] of queries; the mask [B, 1, T or 1, S] is added to the logits."""
        if self._temperature != 1.0:
            queries_btd = queries_btd * self._temperature
        queries_bnte = self._split(queries_btd)
        attended_bnte = F.scaled_dot_product_attention(
            queries_bnte, *to, attn_mask=mask_b1ts, dropout_p=rate if self.training else 0.0
        )
        return attended_bnte.transpose(1, 2).flatten(2)


class SelfAttention(_Attention):
    """Attention of a sequence to itself; queries, keys and values in one matrix."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.in_proj = _linear(config.d_model, 3 * config.d_model, bias=False)
        self.out_proj = _linear(config.d_model, config.d_model, bias=False)

    def forward(self, x_btd: Tensor, mask: Tensor | None, rate: float, past: Past | None) -> Tensor:
        """[B, T, D] from [B, T, D], which continues `past` where there is one."""
        queries_btd, keys_btd, values_btd = self.in_proj(x_btd).chunk(3, dim=-1)
        to = KeysValues(self._split(keys_btd), self._split(values_btd))
        if past is not None:
            to = past.extended(to)
        attended_btd: Tensor = self.out_proj(self._attend(queries_btd, to, mask, rate))
        return attended_btd


class CrossAttention(_Attention):
    """Attention of the decoder to the encoder; keys and values in one matrix."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.q_proj = _linear(config.d_model, config.d_model, bias=False)
        self.kv_proj = _linear(config.d_model, 2 * config.d_model, bias=False)
        self.out_proj = _linear(config.d_model, config.d_model, bias=False)

    def keys_values(self, encoded_bsd: Tensor) -> KeysValues:
        """Keys and values of the encoder's output."""
        keys_bsd, values_bsd = self.kv_proj(encoded_bsd).chunk(2, dim=-1)
        return KeysValues(self._split(keys_bsd), self._split(values_bsd))

    def forward(self, x_btd: Tensor, memory: KeysValues, mask: Tensor, rate: float) -> Tensor:
        """[B, T, D] from [B, T, D]; consecutive rows of `x_btd` may share one of `memory`."""
        queries_btd = self.q_proj(x_btd).view(len(memory.keys), -1, x_btd.shape[-1])
        attended_btd: Tensor = self.out_proj(self._attend(queries_btd, memory, mask, rate))
        return attended_btd.view_as(x_btd)


class Layer(nn.Module):
    """A layer of the encoder or, with cross-attention, of the decoder."""

    def __init__(self, config: Config, *, cross: bool) -> None:
        super().__init__()
        width, hidden = config.d_model, config.feed_forward
        self._activation, self._post_norm = config.activation, config.post_norm
        self.self_attn = SelfAttention(config)
        if cross:
            self.multihead_attn = CrossAttention(config)
        self.linear1 = _linear(width, hidden)
        self.linear_glu = _linear(width, hidden) if config.gated else None
        self.linear2 = _linear(hidden, width)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        if cross:
            self.norm3 = nn.LayerNorm(width, eps=1e-6)

    def forward(
        self,
        x_btd: Tensor,
        mask: Tensor | None,
        rate: float,
        attention_rate: float | None = None,
        memory: KeysValues | None = None,
        memory_mask: Tensor | None = None,
        past: Past | None = None,
    ) -> Tensor:
        """[B, T, D] from [B, T, D].

        Args:
            x_btd: The layer's input.
            mask: The mask [B, 1, T, T] of the self-attention; None where all counts.
            rate: The rate of dropout, in training mode.
            attention_rate: Used on the attention's probabilities instead.
            memory: What a decoder's layer attends to in the encoder.
            memory_mask: Its mask [B, 1, T or 1, S].
            past: What came before the input, which is added to it.
        """
        on_attention = rate if attention_rate is None else attention_rate
        attend = partial(self.self_attn, mask=mask, rate=on_attention, past=past)
        x_btd = self._residual(x_btd, self.norm1, attend, rate)
        last = self.norm2
        if memory is not None:
            attend = partial(
                self.multihead_attn, memory=memory, mask=memory_mask, rate=on_attention
            )
            x_btd = self._residual(x_btd, self.norm2, attend, rate)
            last = self.norm3
        return self._residual(x_btd, last, lambda y_btd: self._feed_forward(y_btd, rate), rate)

    def _residual(
        self, x_btd: Tensor, norm: nn.LayerNorm, block: Callable[[Tensor], Tensor], rate: float
    ) -> Tensor:
        if self._post_norm:
            after_btd: Tensor = norm(x_btd + F.dropout(block(x_btd), rate, self.training))
            return after_btd
        return x_btd + F.dropout(block(norm(x_btd)), rate, self.training)

    def _feed_forward(self, x_btd: Tensor, rate: float) -> Tensor:
        hidden = self._activation(self.linear1(x_btd))
        if self.linear_glu is not None:
            hidden = hidden * self.linear_glu(x_btd)
        out_btd: Tensor = self.linear2(F.dropout(hidden, rate, self.training))
        return out_btd


def _linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer as AlgoPerf initialises it: Xavier's uniform weights, biases near zero."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.normal_(layer.bias, std=1e-6)
    return layer
