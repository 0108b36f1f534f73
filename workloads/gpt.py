"""GPT-2 (Radford et al. 2019) as the NanoGPT speedrun's baseline has it.

Shapes: B windows, T tokens, D width, N heads of E = D / N, V tokens of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from harness.spec import Tensor


@dataclass(frozen=True, slots=True)
class Config:
    """The shape of a GPT; the defaults are GPT-2 small with its vocabulary padded to 128s."""

    vocab_size: int = 50304
    context: int = 1024
    layers: int = 12
    heads: int = 12
    width: int = 768


class GPT(nn.Module):
    """Tokens [B, T] to logits [B, T, V] of the token that follows each.

    Pre-norm blocks, learned positions, tanh-approximated GELU, and a head that is the embedding's
    transpose; parameter names are nanoGPT's. Initialised as GPT-2: normal(0, 0.02), by
    1/sqrt(2 layers) less where a projection ends in the residual stream, biases 0.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.transformer = Trunk(config)
        self.lm_head = nn.Linear(config.width, config.vocab_size, bias=False)
        for name, parameter in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(parameter, std=0.02 / (2 * config.layers) ** 0.5)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "ln_" not in name:
                nn.init.normal_(parameter, std=0.02)
        self.lm_head.weight = self.transformer.wte.weight

    def forward(self, tokens_bt: Tensor, dropout_rate: float = 0.0) -> Tensor:
        """The logits; dropout is after the embedding, on attention and on both residual branches.

        On a GPU matrices are multiplied in bfloat16, as in the speedrun's baseline.
        """
        with torch.autocast("cuda", torch.bfloat16, enabled=tokens_bt.is_cuda):
            x_btd = self.transformer(tokens_bt, dropout_rate if self.training else 0.0)
            logits_btv: Tensor = self.lm_head(x_btd)
        return logits_btv


class Trunk(nn.Module):
    """All but the head: embeddings, blocks and the last norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.width)
        self.wpe = nn.Embedding(config.context, config.width)
        self.h = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.ln_f = nn.LayerNorm(config.width)

    def forward(self, tokens_bt: Tensor, dropout_rate: float) -> Tensor:
        """Features [B, T, D] of tokens [B, T]."""
        positions_t = torch.arange(tokens_bt.shape[1], device=tokens_bt.device)
        x_btd = F.dropout(self.wte(tokens_bt) + self.wpe(positions_t), dropout_rate)
        for block in self.h:
            x_btd = block(x_btd, dropout_rate)
        normed_btd: Tensor = self.ln_f(x_btd)
        return normed_btd


class Block(nn.Module):
    """Attention and a feed-forward network of four times the width, each added to its input."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.width)
        self.mlp = MLP(config)

    def forward(self, x_btd: Tensor, dropout_rate: float) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        x_btd = x_btd + F.dropout(self.attn(self.ln_1(x_btd), dropout_rate), dropout_rate)
        return x_btd + F.dropout(self.mlp(self.ln_2(x_btd)), dropout_rate)


class CausalSelfAttention(nn.Module):
    """Multi-head attention of every token to itself and those before it."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.c_attn = nn.Linear(config.width, 3 * config.width)
        self.c_proj = nn.Linear(config.width, config.width)

    def forward(self, x_btd: Tensor, dropout_rate: float) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        all_heads = self.c_attn(x_btd).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2)
        query_bnte, key_bnte, value_bnte = all_heads.chunk(3, dim=1)
        mixed_bnte = F.scaled_dot_product_attention(
            query_bnte, key_bnte, value_bnte, dropout_p=dropout_rate, is_causal=True
        )
        projected_btd: Tensor = self.c_proj(mixed_bnte.transpose(1, 2).flatten(-2))
        return projected_btd


class MLP(nn.Module):
    """The feed-forward network of a block."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.width, 4 * config.width)
        self.c_proj = nn.Linear(4 * config.width, config.width)

    def forward(self, x_btd: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        projected_btd: Tensor = self.c_proj(F.gelu(self.c_fc(x_btd), approximate="tanh"))
        return projected_btd
