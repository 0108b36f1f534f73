"""DLRM-small: the recommendation model of AlgoPerf's criteo1tb (Naumov et al. 2019).

Dense features pass a bottom MLP, categories become rows of one embedding table; their dot products
with each other, or the vectors themselves, pass a top MLP that ends in one logit.

Shapes: B lines, F features (13 dense ones, then S sparse ones), D an embedding's width, N = 1 + S
vectors. "Sparse" features are the categories.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the usual name

DENSE_FEATURES = 13
CHUNKS = 4  # parameters that the embedding table is split into
NORM_EPS = 1e-6

Tensor = torch.Tensor


class DLRM(nn.Module):
    """The model under AlgoPerf's parameter names.

    Args:
        rows: The rows of the embedding table, which all categorical columns share.
        dim: The width of an embedding, and the last width of the bottom MLP.
        sparse_features: The number of categorical columns.
        bottom: Widths of the bottom MLP, which reads the dense features.
        top: Widths of the top MLP; the last one is 1.
        layer_norm: Whether a LayerNorm follows every ReLU and the embeddings.
        embedding_scale: The table starts uniform in [0, this]; 1/sqrt(rows) where None.
    """

    def __init__(
        self,
        *,
        rows: int = 4194304,
        dim: int = 128,
        sparse_features: int = 26,
        bottom: Sequence[int] = (512, 256, 128),
        top: Sequence[int] = (1024, 1024, 512, 256, 1),
        layer_norm: bool = False,
        embedding_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.rows = rows
        scale = 1 / math.sqrt(rows) if embedding_scale is None else embedding_scale
        for number in range(CHUNKS):
            chunk = torch.empty(rows // CHUNKS, dim).uniform_(0, scale)
            self.register_parameter(f"embedding_chunk_{number}", nn.Parameter(chunk))
        self.dropout = nn.Dropout()  # also a layer of the top MLP; its rate is set in `forward`
        self._build_mlps(dim, sparse_features, bottom, top, layer_norm)
        _initialise(self.bot_mlp, self.top_mlp)

    def _build_mlps(
        self, dim: int, sparse_features: int, bottom: Sequence[int], top: Sequence[int], norm: bool
    ) -> None:
        vectors = 1 + sparse_features
        self.bot_mlp = nn.Sequential(*_layers(DENSE_FEATURES, bottom, norm))
        self.top_mlp = nn.Sequential(
            *_layers(dim + vectors * (vectors + 1) // 2, top[:-1], norm),
            self.dropout,
            nn.Linear(top[-2], top[-1]),
        )
        if norm:
            self.embed_ln = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, inputs_bf: Tensor, dropout_rate: float = 0.0) -> Tensor:
        """Logits [B, 1].

        Args:
            inputs_bf: Dense features, then categories as whole numbers.
            dropout_rate: The rate of the one dropout, before the last layer.
        """
        self.dropout.p = dropout_rate
        dense_bd = self.bot_mlp(inputs_bf[:, :DENSE_FEATURES])
        ids_bs = inputs_bf[:, DENSE_FEATURES:].to(torch.int32) % self.rows
        chunks = [self.get_parameter(f"embedding_chunk_{number}") for number in range(CHUNKS)]
        logits_b1: Tensor = self.top_mlp(self.combine(dense_bd, look_up(chunks, ids_bs)))
        return logits_b1

    def combine(self, dense_bd: Tensor, sparse_bsd: Tensor) -> Tensor:
        """What the top MLP reads: the dense vector and all dot products, those with itself too."""
        if hasattr(self, "embed_ln"):
            sparse_bsd = self.embed_ln(sparse_bsd)
        vectors_bnd = torch.cat([dense_bd[:, None], sparse_bsd], dim=1)
        products_bnn = vectors_bnd @ vectors_bnd.transpose(1, 2)
        rows, columns = torch.triu_indices(*products_bnn.shape[1:], device=dense_bd.device)
        return torch.cat([dense_bd, products_bnn[:, rows, columns]], dim=1)


class ResidualDLRM(DLRM):
    """The variant with residual layers, whose top MLP reads the embeddings side by side."""

    def _build_mlps(
        self, dim: int, sparse_features: int, bottom: Sequence[int], top: Sequence[int], norm: bool
    ) -> None:
        self.bot_mlp = nn.Sequential(*_blocks(DENSE_FEATURES, bottom))
        inputs = bottom[-1] + sparse_features * dim
        *blocks, last = _blocks(inputs, top[:-1])
        last.module.append(self.dropout)
        head = Block(nn.Linear(top[-2], top[-1]), residual=False)
        self.top_mlp = nn.Sequential(*blocks, last, head)

    def combine(self, dense_bd: Tensor, sparse_bsd: Tensor) -> Tensor:
        """What the top MLP reads: the dense vector and all embeddings, side by side."""
        return torch.cat([dense_bd, sparse_bsd.flatten(1)], dim=1)


class Block(nn.Module):
    """Layers, whose input is added to what they give where `residual`."""

    def __init__(self, *layers: nn.Module, residual: bool) -> None:
        super().__init__()
        self.module = nn.Sequential(*layers)
        self.residual = residual

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, width of the last layer]."""
        outputs: Tensor = self.module(inputs)
        return inputs + outputs if self.residual else outputs


def look_up(chunks: Sequence[Tensor], ids: Tensor) -> Tensor:
    """Rows [*ids.shape, dim] of a table that is split into equal chunks [rows, dim].

    Equal to `torch.cat(chunks)[ids]`, dense gradients included. On a CPU without that copy of the
    table, 2 GiB at each step; on a GPU with it, since `nonzero` would wait for the device.
    """
    if ids.is_cuda:
        return F.embedding(ids, torch.cat(list(chunks)))
    rows, dim = chunks[0].shape
    flat = ids.flatten()
    found = chunks[0].new_empty(len(flat), dim)
    chunk_of = flat // rows
    for number, chunk in enumerate(chunks):
        places = (chunk_of == number).nonzero().squeeze(1)
        found.index_copy_(0, places, F.embedding(flat[places] - number * rows, chunk))
    return found.view(*ids.shape, dim)


def _layers(inputs: int, widths: Sequence[int], norm: bool) -> list[nn.Module]:
    """Linear layers, each followed by ReLU and perhaps LayerNorm."""
    layers: list[nn.Module] = []
    for before, width in itertools.pairwise([inputs, *widths]):
        layers += [nn.Linear(before, width), nn.ReLU(inplace=True)]
        if norm:
            layers.append(nn.LayerNorm(width, eps=NORM_EPS))
    return layers


def _blocks(inputs: int, widths: Sequence[int]) -> list[Block]:
    """Linear layers with ReLU, residual but for the first."""
    return [
        Block(nn.Linear(before, width), nn.ReLU(), residual=number > 0)
        for number, (before, width) in enumerate(itertools.pairwise([inputs, *widths]))
    ]


def _initialise(bottom: nn.Module, top: nn.Module) -> None:
    """Bottom weights Glorot uniform, top weights Glorot normal, biases normal of variance 1/out."""
    for mlp, fill in ((bottom, nn.init.xavier_uniform_), (top, nn.init.xavier_normal_)):
        for layer in mlp.modules():
            if isinstance(layer, nn.Linear):
                fill(layer.weight)
                nn.init.normal_(layer.bias, std=math.sqrt(1 / layer.out_features))
