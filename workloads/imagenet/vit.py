"""imagenet_vit's vision transformer (Dosovitskiy et al. 2021; Beyer et al. 2022, "simple ViT").

With AlgoPerf's layers, names and initialisation. Shapes: B images, C channels, H x W
pixels, T tokens, Q queries, D width, N heads of E = D / N, K classes.
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
        width: The width of a token.
        depth: The number of blocks.
        mlp: The width of a block's hidden layer.
        heads: The number of attention heads.
        classes: The number of classes.
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
    """Classifies images [B, 3, H, W]: no class token, fixed positions."""

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

    def forward(self, images_bchw: Tensor, dropout_rate: float = 0.0) -> Tensor:
        """Logits [B, K] of images whose sides are multiples of the patch's."""
        patches = self.conv_patch_extract(images_bchw)  # [B, D, rows, columns]
        rows, columns = patches.shape[-2:]
        x_btd = patches.flatten(2).transpose(1, 2)
        x_btd = x_btd + positions(rows, columns, x_btd.shape[-1], x_btd.device)
        x_btd = F.dropout(x_btd, dropout_rate, self.training)
        x_btd = self.encoder(x_btd, dropout_rate)
        x_bd = x_btd.mean(dim=1) if self.map is None else self.map(x_btd, dropout_rate)
        logits_bk: Tensor = self.head(torch.tanh(self.pre_logits(x_bd)))
        return logits_bk


def positions(
    rows: int, columns: int, width: int, device: torch.device, temperature: float = 10000.0
) -> Tensor:
    """Sines and cosines [1, T, D] of a token's column and of its row.

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

    def forward(self, x_btd: Tensor, dropout_rate: float) -> Tensor:
        """Tokens [B, T, D] to tokens [B, T, D]."""
        for block in self.net:
            x_btd = block(x_btd, dropout_rate)
        if self.encoder_norm is not None:
            x_btd = self.encoder_norm(x_btd)
        return x_btd


class Block(nn.Module):
    """Self-attention and a two-layer network, each with a residual connection."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.layer_norm0 = nn.LayerNorm(config.width, _EPS)
        self.self_attention1 = SelfAttention(config.width, config.heads)
        self.layer_norm2 = nn.LayerNorm(config.width, _EPS)
        self.mlp3 = MLP(config.width, config.mlp, config.gated)
        self._post_norm = config.post_norm

    def forward(self, x_btd: Tensor, dropout_rate: float) -> Tensor:
        """Tokens [B, T, D] to tokens [B, T, D]."""

        def dropped(branch_btd: Tensor) -> Tensor:
            return F.dropout(branch_btd, dropout_rate, self.training)

        if self._post_norm:
            x_btd = self.layer_norm0(x_btd + dropped(self.self_attention1(x_btd, dropout_rate)))
            normed_btd: Tensor = self.layer_norm2(x_btd + dropped(self.mlp3(x_btd, dropout_rate)))
            return normed_btd
        x_btd = x_btd + dropped(self.self_attention1(self.layer_norm0(x_btd), dropout_rate))
        return x_btd + dropped(self.mlp3(self.layer_norm2(x_btd), dropout_rate))


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

    def forward(self, x_btd: Tensor, dropout_rate: float) -> Tensor:
        """Tokens [B, T, D] to tokens [B, T, D]."""
        rate = dropout_rate if self.training else 0.0
        mixed_btd = attention(
            self.query(x_btd), self.key(x_btd), self.value(x_btd), self._heads, rate
        )
        projected_btd: Tensor = self.out(mixed_btd)
        return projected_btd


def attention(
    query_bqd: Tensor, key_btd: Tensor, value_btd: Tensor, heads: int, dropout_rate: float
) -> Tensor:
    """Scaled dot-product attention [B, Q, D] of queries to keys and values."""

    def split(x_btd: Tensor) -> Tensor:
        return x_btd.view(*x_btd.shape[:2], heads, -1).transpose(1, 2)

    mixed_bnqe = F.scaled_dot_product_attention(
        split(query_bqd), split(key_btd), split(value_btd), dropout_p=dropout_rate
    )
    return mixed_bnqe.transpose(1, 2).flatten(2)


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

    def forward(self, x_btd: Tensor, dropout_rate: float) -> Tensor:
        """Tokens [B, T, D] to tokens [B, T, D]."""
        hidden = F.gelu(self.linear1(x_btd), approximate="tanh")
        if self.glu_linear is not None:
            hidden = hidden * self.glu_linear(hidden)
        projected_btd: Tensor = self.linear2(F.dropout(hidden, dropout_rate, self.training))
        return projected_btd


class AttentionPooling(nn.Module):
    """A learned query attends to the tokens (Lee et al. 2019), then a residual network."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.empty(1, 1, config.width))
        self.mha = CrossAttention(config.width, config.heads)
        self.layer_norm = nn.LayerNorm(config.width, _EPS)
        self.mlp = MLP(config.width, config.mlp, gated=False)
        nn.init.xavier_uniform_(self.probe)

    def forward(self, x_btd: Tensor, dropout_rate: float) -> Tensor:
        """Tokens [B, T, D] to one vector [B, D] for each image."""
        pooled_bqd = self.mha(self.probe.expand(len(x_btd), -1, -1), x_btd, dropout_rate)  # Q = 1
        pooled_bqd = pooled_bqd + self.mlp(self.layer_norm(pooled_bqd), dropout_rate)
        vector_bd: Tensor = pooled_bqd.squeeze(1)
        return vector_bd


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

    def forward(self, queries_bqd: Tensor, x_btd: Tensor, dropout_rate: float) -> Tensor:
        """Queries [B, Q, D] and tokens [B, T, D] to [B, Q, D]."""
        key_btd, value_btd = self.kv_proj(x_btd).chunk(2, dim=-1)
        rate = dropout_rate if self.training else 0.0
        mixed_bqd = attention(self.q_proj(queries_bqd), key_btd, value_btd, self._heads, rate)
        projected_bqd: Tensor = self.out_proj(mixed_bqd)
        return projected_bqd
