"""The language model of modded-nanogpt's track 3.

Shapes: B sequences, T tokens, D width, N heads of E = D / N, V tokens of the vocabulary, I inputs
and O outputs of a linear layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from harness.spec import Tensor

CAP = 15.0  # what a logit's size stays below
_ATTENTION_SCALE = 0.12
_SLOWEST = 1 / 1024  # radians per token of the slowest rotation
_GAIN = 0.33  # variance of initial weights, times their number of inputs


@dataclass(frozen=True, slots=True)
class Config:
    """The shape of a model; the defaults are track 3's.

    Attributes:
        dtype: The type of the embedding, and so of all activations.
    """

    vocab_size: int = 50304
    context: int = 1024
    layers: int = 12
    heads: int = 6
    width: int = 768
    dtype: torch.dtype = torch.bfloat16


class Deferred(NamedTuple):
    """What logits are made of, for batches whose logits do not fit into memory together.

    `capped_logits` of these, or of some of the sequences, are the model's logits.
    """

    features_btd: Tensor
    weight_vd: Tensor
    bias_v: Tensor


class Track3Model(nn.Module):
    """Tokens [B, T] to logits [B, T, V] of the token that follows each.

    Pre-norm blocks with RMSNorm and biases, rotary positions, squared ReLU, an untied head. Weights
    are in float32 but for the embedding; every layer casts its own to the type of its input.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.head_width = config.width // config.heads
        self.embed = nn.Embedding(config.vocab_size, config.width, dtype=config.dtype)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm1 = RMSNorm(config.width)
        self.norm2 = RMSNorm(config.width)
        self.proj = Linear(config.width, config.vocab_size)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Draws the weights of the baseline from torch's default generator."""
        for name, parameter in self.named_parameters():
            if name.endswith("gains"):
                parameter.fill_(1)
            elif name.endswith("bias") or "proj" in name:
                parameter.zero_()
            elif name == "embed.weight":
                parameter.normal_()
            else:
                parameter.normal_(std=math.sqrt(_GAIN / parameter.shape[1]))

    def forward(self, tokens_bt: Tensor, deferred: bool = False) -> Tensor | Deferred:
        """The logits, at least in float32; or what they are made of, if they are `deferred`."""
        found = Deferred(self.features(tokens_bt), self.proj.weight, self.proj.bias)
        return found if deferred else capped_logits(*found)

    def features(self, tokens_bt: Tensor) -> Tensor:
        """The head's input [B, T, D]."""
        x_btd = self.norm1(self.embed(tokens_bt))
        rotation = rotation_of(tokens_bt.shape[1], self.head_width, x_btd)
        for block in self.blocks:
            x_btd = block(x_btd, rotation)
        normed_btd: Tensor = self.norm2(x_btd)
        return normed_btd


def capped_logits(features_btd: Tensor, weight_vd: Tensor, bias_v: Tensor) -> Tensor:
    """Logits [B, T, V], at least in float32, that stay within -15 and 15."""
    logits_btv = _linear(features_btd, weight_vd, bias_v)
    logits_btv = logits_btv.to(_at_least_float32(logits_btv))
    return CAP * logits_btv * (logits_btv.square() + CAP**2).rsqrt()


class Block(nn.Module):
    """Attention and a feed-forward network of four times the width, each added to its input."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attn = Attention(config)
        self.mlp = MLP(config.width)
        self.norm1 = RMSNorm(config.width)
        self.norm2 = RMSNorm(config.width)

    def forward(self, x_btd: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """[B, T, D] to [B, T, D]; the rotation is that of `rotated`."""
        x_btd = x_btd + self.attn(self.norm1(x_btd), rotation)
        out_btd: Tensor = x_btd + self.mlp(self.norm2(x_btd))
        return out_btd


class Attention(nn.Module):
    """Causal attention whose queries and keys are normalised, then rotated by their position."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.q = Linear(config.width, config.width)
        self.k = Linear(config.width, config.width)
        self.v = Linear(config.width, config.width)
        self.proj = Linear(config.width, config.width)

    def forward(self, x_btd: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """[B, T, D] to [B, T, D]; the rotation is that of `rotated`."""
        query_bnte, key_bnte, value_bnte = (
            layer(x_btd).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        query_bnte, key_bnte = (
            rotated(F.rms_norm(each, each.shape[-1:]), rotation) for each in (query_bnte, key_bnte)
        )
        mixed_bnte = F.scaled_dot_product_attention(
            query_bnte, key_bnte, value_bnte, is_causal=True, scale=_ATTENTION_SCALE
        )
        out_btd: Tensor = self.proj(mixed_bnte.transpose(1, 2).flatten(-2))
        return out_btd


def rotation_of(length: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine [T, E / 2] of the angles by which pairs are rotated at each position.

    Half of the pairs rotate, at frequencies from 1 to 1/1024 radians per token; half do not.

    Args:
        length: The number of positions, T.
        width: The width of a head, E.
        like: A tensor of the activations' device and type.
    """
    dtype, device = _at_least_float32(like), like.device
    rotating = _SLOWEST ** torch.linspace(0, 1, width // 4, dtype=dtype, device=device)
    frequencies = torch.cat([rotating, torch.zeros_like(rotating)])
    angles_te = torch.outer(torch.arange(length, dtype=dtype, device=device), frequencies)
    return angles_te.cos(), angles_te.sin()


def rotated(x_bnte: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotates the pairs of each head, whose elements are in its first and second half."""
    cos_te, sin_te = rotation
    first, second = x_bnte.to(cos_te.dtype).chunk(2, dim=-1)
    turned = (first * cos_te + second * sin_te, second * cos_te - first * sin_te)
    return torch.cat(turned, dim=-1).type_as(x_bnte)


class MLP(nn.Module):
    """The feed-forward network of a block, with squared ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = Linear(width, 4 * width)
        self.proj = Linear(4 * width, width)

    def forward(self, x_btd: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        out_btd: Tensor = self.proj(self.fc(x_btd).relu().square())
        return out_btd


class Linear(nn.Linear):
    """A linear layer that casts its weights to the type of its input."""

    def forward(self, x_bti: Tensor) -> Tensor:
        """[B, T, I] to [B, T, O]."""
        return _linear(x_bti, self.weight, self.bias)


class RMSNorm(nn.Module):
    """RMS normalisation with gains, which are cast to the type of the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gains = nn.Parameter(torch.ones(width))

    def forward(self, x_btd: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        return F.rms_norm(x_btd, x_btd.shape[-1:], self.gains.type_as(x_btd))


def _linear(x_bti: Tensor, weight_oi: Tensor, bias_o: Tensor) -> Tensor:
    return F.linear(x_bti, weight_oi.type_as(x_bti), bias_o.type_as(x_bti))


def _at_least_float32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
