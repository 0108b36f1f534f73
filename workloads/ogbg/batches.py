"""Batches of graphs: which graphs go into one, and their flat tensors.

Shapes: B graphs in a batch, at most; T tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.spec import DataError
from workloads.ogbg.model import GraphsTuple
from workloads.prefetch import on_device


class Size(NamedTuple):
    """How many graphs, nodes and directed edges there are, or at most."""

    graphs: int
    nodes: int
    edges: int


class Graphs:
    """All graphs of a dataset, on the device.

    Args:
        arrays: `n_node` and `n_bond` [graphs], how many atoms and bonds each has; `nodes`
            [atoms, 9], `bonds` [bonds, 2] (numbers of atoms, from 0 in each graph) and
            `bond_features` [bonds, 3], graph after graph; `labels` [graphs, T], 1, 0, or -1 where
            there is none.
        device: Where batches are made.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], device: torch.device) -> None:
        self.device = device
        self.sizes = np.stack([arrays["n_node"], 2 * arrays["n_bond"]], axis=1).astype(np.int64)
        self.labels = self._tensor(arrays["labels"])
        self._nodes = self._tensor(arrays["nodes"])
        self._bonds = self._tensor(arrays["bonds"])
        self._bond_features = self._tensor(arrays["bond_features"])
        self._n_node, self._n_bond = (self._tensor(arrays[n]).long() for n in ("n_node", "n_bond"))
        self._first_node = self._n_node.cumsum(0) - self._n_node
        self._first_bond = self._n_bond.cumsum(0) - self._n_bond

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array)).to(self.device)

    def size_of(self, numbers: np.ndarray) -> Size:
        """The size of a batch of these graphs, without padding."""
        nodes, edges = self.sizes[numbers].sum(axis=0)
        return Size(len(numbers), int(nodes), int(edges))

    def batch(self, numbers: np.ndarray, padded: Size | None = None) -> dict[str, Any]:
        """A batch of these graphs, each bond being two directed edges, one after the other.

        Args:
            numbers: The numbers [B] of the graphs.
            padded: What the batch is padded to: one more graph, unlabelled, takes the nodes and
                edges that are left, at least one node among them; others after it have none.

        Returns:
            `inputs`, a GraphsTuple, with zeros [B, T] as globals; `targets` [B, T], float, 0 where
            there is no label; `weights` [B, T], bool, whether there is one.
        """
        size = self.size_of(numbers)
        room = padded or size
        chosen = on_device(numbers, self.device)
        n_node, n_bond = self._n_node[chosen], self._n_bond[chosen]
        atoms = _rows(self._first_node[chosen], n_node, size.nodes)
        bonds = _rows(self._first_bond[chosen], n_bond, size.edges // 2)
        offset = (n_node.cumsum(0) - n_node).repeat_interleave(n_bond, output_size=len(bonds))
        ends = self._bonds[bonds] + offset[:, None]
        labels = _padded(self.labels[chosen], room.graphs, -1)
        counts = torch.stack([n_node, 2 * n_bond])
        if room.graphs > size.graphs:
            rest = np.array([[room.nodes - size.nodes], [room.edges - size.edges]])
            counts = torch.cat([counts, on_device(rest, self.device)], dim=1)
        n_node, n_edge = _padded(counts.T, room.graphs, 0).unbind(1)
        inputs = GraphsTuple(
            nodes=_padded(self._nodes[atoms].float(), room.nodes, 0),
            edges=_padded(
                self._bond_features[bonds].float().repeat_interleave(2, dim=0), room.edges, 0
            ),
            receivers=_padded(ends.flip(1).flatten(), room.edges, size.nodes),
            senders=_padded(ends.flatten(), room.edges, size.nodes),
            globals=torch.zeros(labels.shape, device=self.device),
            n_node=n_node,
            n_edge=n_edge,
        )
        return {"inputs": inputs, "targets": (labels == 1).float(), "weights": labels >= 0}


def packs(graphs: Graphs, numbers: np.ndarray, most: Size, seed: int) -> Iterator[np.ndarray]:
    """Endlessly the numbers of the graphs of one batch after the other.

    The graphs of a split come in one random order after the other, each as many to a batch as
    `most` lets in; the last of an epoch share a batch with the first of the next.

    Args:
        graphs: All graphs.
        numbers: The numbers of the split's graphs.
        most: The most that a batch holds.
        seed: The seed of the orders.

    Raises:
        DataError: A graph is larger than a batch, at the first batch.
    """
    largest = numbers[(graphs.sizes[numbers] > most[1:]).any(axis=1)]
    if len(largest):
        nodes, edges = graphs.sizes[largest[0]]
        raise DataError(
            f"graph {largest[0]} (counted from 0) has {nodes} nodes and {edges} directed edges; a "
            f"batch of {most.graphs} graphs holds {most.nodes} and {most.edges}: use a larger one"
        )
    waiting = numbers[:0]
    for epoch in count():
        order = np.random.default_rng([seed, epoch]).permutation(numbers)
        order = np.concatenate([waiting, order])
        before = [  # running sums of nodes and of edges, from 0 to those of all
            np.concatenate([[0], np.cumsum(column)]) for column in graphs.sizes[order].T
        ]
        start = 0
        while (end := _end(before, start, most)) < len(order):
            yield order[start:end]
            start = end
        waiting = order[start:]


def share(graphs: Graphs, pack: np.ndarray, rank: int, processes: int) -> np.ndarray:
    """The graphs of a batch that one of several processes takes: dealt out by size, for balance."""
    if processes == 1:
        return pack
    by_size = np.argsort(-graphs.sizes[pack].sum(axis=1), kind="stable")
    return pack[by_size[rank::processes]]


def _end(before: Sequence[np.ndarray], start: int, most: Size) -> int:
    """Where the batch that begins at `start` ends; `before` are running sums of nodes and edges."""
    fits = [
        int(sums.searchsorted(sums[start] + limit, side="right")) - 1
        for sums, limit in zip(before, most[1:], strict=True)
    ]
    return min(start + most.graphs, *fits)


def _rows(first: Tensor, counts: Tensor, total: int) -> Tensor:
    """The numbers first[i], first[i] + 1, ... of counts[i] rows for every i, [total]."""
    shift = first - (counts.cumsum(0) - counts)
    numbers = torch.arange(total, device=first.device)
    return shift.repeat_interleave(counts, output_size=total) + numbers


def _padded(rows: Tensor, length: int, value: int) -> Tensor:
    """Rows [length, ...]: those given, then rows full of `value`."""
    padding = rows.new_full((length - len(rows), *rows.shape[1:]), value)
    return torch.cat([rows, padding]) if len(padding) else rows
