"""The decoder of AlgoPerf's finewebedu_lm: rotary positions, normalised queries and keys, GLU.

Shapes: B sequences, T tokens, D width, N heads of E = D / N, V tokens of the vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from harness.spec import Tensor

_EPSILON = 1e-6  # of RMSNorm, and added to normalised queries and keys
_THETA = 500_000.0  # of rotary positions
_DEVIATION = 0.02  # of initial weights


@dataclass(frozen=True, slots=True)
class Config:
    """The shape of a decoder; the defaults are AlgoPerf's."""

    vocab_size: int = 50257
    context: int = 1024
    layers: int = 12
    heads: int = 8
    width: int = 1024
    hidden: int = 4096


class Decoder(nn.Module):
    """Tokens [B, T] to logits [B, T, V] of the token that follows each.

    Pre-norm blocks without biases, and a head that is the embedding's transpose; parameter names
    are AlgoPerf's. Weights begin as normal(0, 0.02), by 1/sqrt(2 layers) less where they end a
    residual branch.
    """

    freqs_cis: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.out_norm = nn.RMSNorm(config.width, eps=_EPSILON)
        self.lm_head = nn.Linear(config.width, config.vocab_size, bias=False)
        angles = rotary_angles(config.context, config.width // config.heads)
        self.register_buffer("freqs_cis", angles, persistent=False)
        for name, parameter in self.named_parameters():
            if name.endswith(("fc2.weight", "w_out.weight")):
                nn.init.normal_(parameter, std=_DEVIATION / math.sqrt(2 * config.layers))
            elif parameter.ndim == 2:
                nn.init.normal_(parameter, std=_DEVIATION)
        self.lm_head.weight = self.embed_tokens.weight

    def forward(self, tokens_bt: Tensor) -> Tensor:
        """The logits; T is at most the context."""
        x_btd = self.embed_tokens(tokens_bt)
        angles = self.freqs_cis[:, : tokens_bt.shape[1]]
        for block in self.layers:
            x_btd = block(x_btd, angles)
        logits_btv: Tensor = self.lm_head(self.out_norm(x_btd))
        return logits_btv


class Block(nn.Module):
    """Attention and a gated feed-forward network, each added to its input."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attn = Attention(config)
        self.attn_norm = nn.RMSNorm(config.width, eps=_EPSILON)
        self.mlp = MLP(config)
        self.mlp_norm = nn.RMSNorm(config.width, eps=_EPSILON)

    def forward(self, x_btd: Tensor, angles: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]; angles as in `rotated`."""
        x_btd = x_btd + self.attn(self.attn_norm(x_btd), angles)
        out_btd: Tensor = x_btd + self.mlp(self.mlp_norm(x_btd))
        return out_btd


class Attention(nn.Module):
    """Causal attention of normalised queries and keys, scaled by a learned factor.

    Attributes:
        attn_scale: [], at first log2(L^2 - L) for contexts of length L.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.w_qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.w_out = nn.Linear(config.width, config.width, bias=False)
        scale = math.log2(config.context**2 - config.context)
        self.attn_scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x_btd: Tensor, angles: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]; angles as in `rotated`."""
        by_head = self.w_qkv(x_btd).unflatten(-1, (3, self.heads, -1))  # [B, T, 3, N, E]
        query_bnte, key_bnte, value_bnte = (part.transpose(1, 2) for part in by_head.unbind(2))
        query_bnte = self.attn_scale * _normalised(rotated(query_bnte, angles))
        key_bnte = _normalised(rotated(key_bnte, angles))
        mixed_bnte = F.scaled_dot_product_attention(
            query_bnte, key_bnte, value_bnte, is_causal=True, scale=1.0
        )
        out_btd: Tensor = self.w_out(mixed_bnte.transpose(1, 2).flatten(-2))
        return out_btd


class MLP(nn.Module):
    """The feed-forward network of a block: half of the hidden units gate the other half."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.width, 2 * config.hidden, bias=False)
        self.fc2 = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x_btd: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        out_btd: Tensor = self.fc2(F.glu(self.fc1(x_btd)))
        return out_btd


def rotary_angles(length: int, size: int) -> Tensor:
    """Cosines and sines of rotary positions, float32 [1, T, 1, E / 2, 2]."""
    frequencies = _THETA ** -(torch.arange(0, size, 2, dtype=torch.float32) / size)
    angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies)
    return torch.stack([angles.cos(), angles.sin()], dim=-1)[None, :, None]


def rotated(x_bnte: Tensor, angles: Tensor) -> Tensor:
    """Rotates neighbouring pairs by their position's angles, in float32 at least.

    Args:
        x_bnte: Queries or keys.
        angles: [1, T, 1, E / 2, 2], as `rotary_angles` gives them.
    """
    cosine, sine = angles.transpose(1, 2).unbind(-1)  # [1, 1, T, E / 2]
    pairs = x_bnte.to(torch.promote_types(x_bnte.dtype, torch.float32))
    even, odd = pairs[..., ::2], pairs[..., 1::2]  # [B, N, T, E / 2]
    turned = torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], dim=-1)
    return turned.flatten(-2).type_as(x_bnte)


def _normalised(x_bnte: Tensor) -> Tensor:
    """Divided by the norm over the last axis; epsilon is added to the quotient, as in AlgoPerf."""
    norm_bnt1: Tensor = torch.linalg.vector_norm(x_bnte, dim=-1, keepdim=True)
    return x_bnte / norm_bnt1 + _EPSILON
