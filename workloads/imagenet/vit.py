"""imagenet_vit's vision transformer (Dosovitskiy et al. 2021; Beyer et al. 2022, "simple ViT").

With AlgoPerf's layers, names and initialisation. Shapes: B images, T tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from workloads.parameters import lecun_normal_

_EPS = 1e-6  # of every layer norm


@dataclass(frozen=True, slots=True)
class Config:
    """The sizes of a vision transformer; S/16 by default.

    Attributes:
        patch: Pixels of a patch's side.
        width: Of a token.
        depth: How many blocks.
        mlp: Units of a block's hidden layer.
        heads: Of the attention.
        classes: How many.
        gated: Whether the hidden layer is multiplied by a linear map of itself.
        post_norm: Layer norm after the residual sums instead of before the branches.
        pooling: Whether attention pools the tokens, instead of their mean.
    """

    patch: int = 16
    width: int = 384
    depth: int = 12
    mlp: int = 1536
    heads: int = 6
    classes: int = 1000
    gated: bool = False
    post_norm: bool = False
    pooling: bool = False


class ViT(nn.Module):
    """Images [B, 3, H, W] to logits [B, classes]: no class token, fixed positions."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.width
        self.pre_logits = nn.Linear(width, width)
        self.conv_patch_extract = nn.Conv2d(3, width, config.patch, config.patch)
        self.encoder = Encoder(config)
        self.head = nn.Linear(width, config.classes)
        self.map = AttentionPooling(config) if config.pooling else None
        lecun_normal_(self.conv_patch_extract.weight)
        lecun_normal_(self.pre_logits.weight)
        nn.init.zeros_(self.head.weight)
        for module in (self.conv_patch_extract, self.pre_logits, self.head):
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor, dropout_rate: float = 0.0) -> Tensor:
        """Images [B, 3, H, W], their sides multiples of the patch's."""
        patches = self.conv_patch_extract(images)
        rows, columns = patches.shape[-2:]
        x = patches.flatten(2).transpose(1, 2)
        x = x + positions(rows, columns, x.shape[-1], x.device)
        x = F.dropout(x, dropout_rate, self.training)
        x = self.encoder(x, dropout_rate)
        x = x.mean(dim=1) if self.map is None else self.map(x, dropout_rate)
        logits: Tensor = self.head(torch.tanh(self.pre_logits(x)))
        return logits


def positions(
    rows: int, columns: int, width: int, device: torch.device, temperature: float = 10000.0
) -> Tensor:
    """Sines and cosines [1, rows * columns, width] of a token's column and of its row.

    A quarter of the width each: sin and cos of the column, sin and cos of the row, at wavelengths
    from 2 pi to 2 pi times `temperature`.
    """
    omega = torch.arange(width // 4, device=device) / (width // 4 - 1)
    omega = temperature**-omega
    y, x = torch.meshgrid(
        torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij"
    )
    x, y = x.flatten()[:, None] * omega, y.flatten()[:, None] * omega
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=1)[None]


class Encoder(nn.Module):
    """The blocks, and a layer norm at their end unless they end with one."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.net = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.encoder_norm = None if config.post_norm else nn.LayerNorm(config.width, _EPS)

    def forward(self, x: Tensor, dropout_rate: float) -> Tensor:
        """Tokens [B, T, D] to tokens [B, T, D]."""
        for block in self.net:
            x = block(x, dropout_rate)
        if self.encoder_norm is not None:
            x = self.encoder_norm(x)
        return x


class Block(nn.Module):
    """Self-attention and a two-layer network, each with a residual connection."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.layer_norm0 = nn.LayerNorm(config.width, _EPS)
        self.self_attention1 = SelfAttention(config.width, config.heads)
        self.layer_norm2 = nn.LayerNorm(config.width, _EPS)
        self.mlp3 = MLP(config.width, config.mlp, config.gated)
        self._post_norm = config.post_norm

    def forward(self, x: Tensor, dropout_rate: float) -> Tensor:
        """Tokens [B, T, D] to tokens [B, T, D]."""

        def dropped(branch: Tensor) -> Tensor:
            return F.dropout(branch, dropout_rate, self.training)

        if self._post_norm:
            x = self.layer_norm0(x + dropped(self.self_attention1(x, dropout_rate)))
            normed: Tensor = self.layer_norm2(x + dropped(self.mlp3(x, dropout_rate)))
            return normed
        x = x + dropped(self.self_attention1(self.layer_norm0(x), dropout_rate))
        return x + dropped(self.mlp3(self.layer_norm2(x), dropout_rate))


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017), dropout on its probabilities."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self._heads = heads
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, dropout_rate: float) -> Tensor:
        """Tokens [B, T, D] to tokens [B, T, D]."""
        rate = dropout_rate if self.training else 0.0
        mixed: Tensor = self.out(
            attention(self.query(x), self.key(x), self.value(x), self._heads, rate)
        )
        return mixed


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int, dropout_rate: float) -> Tensor:
    """Scaled dot-product attention [B, Q, D] of queries [B, Q, D] to keys and values [B, T, D]."""

    def split(x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], heads, -1).transpose(1, 2)

    mixed = F.scaled_dot_product_attention(
        split(query), split(key), split(value), dropout_p=dropout_rate
    )
    return mixed.transpose(1, 2).flatten(2)


class MLP(nn.Module):
    """Two linear layers with GELU (tanh approximation) between them."""

    def __init__(self, width: int, hidden: int, gated: bool) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, hidden)
        self.glu_linear = nn.Linear(hidden, hidden) if gated else None
        self.linear2 = nn.Linear(hidden, width)
        for layer in (self.linear1, self.glu_linear, self.linear2):
            if layer is not None:
                nn.init.xavier_uniform_(layer.weight)
                nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, x: Tensor, dropout_rate: float) -> Tensor:
        """Tokens [..., D] to tokens [..., D]."""
        x = F.gelu(self.linear1(x), approximate="tanh")
        if self.glu_linear is not None:
            x = x * self.glu_linear(x)
        projected: Tensor = self.linear2(F.dropout(x, dropout_rate, self.training))
        return projected


class AttentionPooling(nn.Module):
    """A learned query attends to the tokens (Lee et al. 2019), then a residual network."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.empty(1, 1, config.width))
        self.mha = CrossAttention(config.width, config.heads)
        self.layer_norm = nn.LayerNorm(config.width, _EPS)
        self.mlp = MLP(config.width, config.mlp, gated=False)
        nn.init.xavier_uniform_(self.probe)

    def forward(self, x: Tensor, dropout_rate: float) -> Tensor:
        """Tokens [B, T, D] to one vector [B, D] of each image."""
        pooled = self.mha(self.probe.expand(len(x), -1, -1), x, dropout_rate)
        pooled = pooled + self.mlp(self.layer_norm(pooled), dropout_rate)
        vector: Tensor = pooled.squeeze(1)
        return vector


class CrossAttention(nn.Module):
    """Multi-head attention of queries to other tokens, keys and values fused.

    Dropout on its probabilities, as in `SelfAttention`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(width, width)
        self.kv_proj = nn.Linear(width, 2 * width)
        self.out_proj = nn.Linear(width, width)
        self._heads = heads
        for layer in (self.q_proj, self.kv_proj, self.out_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, queries: Tensor, x: Tensor, dropout_rate: float) -> Tensor:
        """Queries [B, Q, D] and tokens [B, T, D] to [B, Q, D]."""
        key, value = self.kv_proj(x).chunk(2, dim=-1)
        rate = dropout_rate if self.training else 0.0
        mixed: Tensor = self.out_proj(
            attention(self.q_proj(queries), key, value, self._heads, rate)
        )
        return mixed
