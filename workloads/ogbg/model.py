"""ogbg's graph network (Battaglia et al. 2018), with AlgoPerf's layers, names and initialisation.

Shapes: G graphs of V nodes and E directed edges in all, in one batch; T tasks, D features. Nodes,
edges and globals are [V, D], [E, D] and [G, D], each with its own width D.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from workloads.parameters import lecun_normal_

Part = tuple[Tensor, Tensor | None]  # rows, and which of them where not all in their order
NODE_FEATURES, EDGE_FEATURES = 9, 3
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}


class GraphsTuple(NamedTuple):
    """Graphs one after the other in flat tensors, as in DeepMind's graph_nets and jraph.

    Attributes:
        nodes: [V, features], those of the first graph first.
        edges: [E, features], in the same order.
        receivers: [E], the number of the node that an edge leads to.
        senders: [E], the number of the node that an edge comes from.
        globals: [G, features].
        n_node: [G], how many nodes each graph has; their sum is V.
        n_edge: [G], how many edges; their sum is E.
    """

    nodes: Tensor
    edges: Tensor
    receivers: Tensor
    senders: Tensor
    globals: Tensor
    n_node: Tensor
    n_edge: Tensor


class GraphNetworkModel(nn.Module):
    """Embeds nodes and edges, passes messages, and reads the logits off the globals.

    Args:
        outputs: T, also the width of the globals [G, T] that come in.
        latent: The width of embedded nodes and edges.
        hidden: The widths of each update's layers.
        steps: The number of times that messages are passed, each time by other parameters.
        activation: One of `ACTIVATIONS`.
    """

    def __init__(
        self,
        outputs: int = 128,
        latent: int = 256,
        hidden: Sequence[int] = (256,),
        steps: int = 5,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.node_embedder = nn.Linear(NODE_FEATURES, latent)
        self.edge_embedder = nn.Linear(EDGE_FEATURES, latent)
        out = hidden[-1]
        widths = [(latent, outputs)] + [(out, out)] * (steps - 1)
        self.graph_network = nn.ModuleList(
            GraphNetwork(width, global_width, hidden, activation) for width, global_width in widths
        )
        self.decoder = nn.Linear(out, outputs)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                lecun_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, graph: GraphsTuple, dropout_rate: float = 0.0) -> Tensor:
        """Logits [G, T]; `dropout_rate` is of each layer of each update, in training mode."""
        numbers_g = torch.arange(len(graph.n_node), device=graph.n_node.device)
        graph_v = numbers_g.repeat_interleave(graph.n_node, output_size=len(graph.nodes))
        graph_e = numbers_g.repeat_interleave(graph.n_edge, output_size=len(graph.edges))
        graph = graph._replace(
            nodes=self.node_embedder(graph.nodes), edges=self.edge_embedder(graph.edges)
        )
        for layer in self.graph_network:
            graph = layer(graph, graph_v, graph_e, dropout_rate)
        logits_gt: Tensor = self.decoder(graph.globals)
        return logits_gt


class GraphNetwork(nn.Module):
    """One passing of messages: updates edges, then nodes, then globals.

    Args:
        width: The width of the nodes and edges that come in.
        global_width: The width of the globals that come in.
        hidden: The widths of each update's layers, the last that of all that goes out.
        activation: One of `ACTIVATIONS`.
    """

    def __init__(
        self, width: int, global_width: int, hidden: Sequence[int], activation: str
    ) -> None:
        super().__init__()
        out = hidden[-1]
        self.update_edge_fn = MLP(3 * width + global_width, hidden, activation)
        self.update_node_fn = MLP(width + 2 * out + global_width, hidden, activation)
        self.update_global_fn = MLP(2 * out + global_width, hidden, activation)

    def forward(
        self, graph: GraphsTuple, graph_v: Tensor, graph_e: Tensor, dropout_rate: float
    ) -> GraphsTuple:
        """The updated graphs.

        Args:
            graph: Before.
            graph_v: The number of the graph that each node belongs to.
            graph_e: The number of the graph that each edge belongs to.
            dropout_rate: The rate in each layer of each update.
        """
        nodes_vd, edges_ed, receivers_e, senders_e, globals_gd, n_node, n_edge = graph
        ends = [(nodes_vd, senders_e), (nodes_vd, receivers_e)]
        parts = [(edges_ed, None), *ends, (globals_gd, graph_e)]
        edges_ed = self.update_edge_fn(parts, dropout_rate)
        messages = [(_summed(edges_ed, e, len(nodes_vd)), None) for e in (senders_e, receivers_e)]
        parts = [(nodes_vd, None), *messages, (globals_gd, graph_v)]
        nodes_vd = self.update_node_fn(parts, dropout_rate)
        sums = [
            (_summed(rows, of, len(n_node)), None)
            for rows, of in ((nodes_vd, graph_v), (edges_ed, graph_e))
        ]
        globals_gd = self.update_global_fn([*sums, (globals_gd, None)], dropout_rate)
        return GraphsTuple(nodes_vd, edges_ed, receivers_e, senders_e, globals_gd, n_node, n_edge)


class MLP(nn.Module):
    """Layers of Linear, LayerNorm, activation and dropout.

    Its inputs are parts side by side. The first layer multiplies each part by its columns of the
    weight, and adds up what comes out: a node's product is then computed once and taken to all of
    its edges, and the parts are never concatenated. AlgoPerf's numbers, but for rounding.
    """

    def __init__(self, inputs: int, widths: Sequence[int], activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.depth = len(widths)
        for number, (before, after) in enumerate(zip([inputs, *widths], widths, strict=False)):
            self.add_module(f"dense_{number}", nn.Linear(before, after))
            self.add_module(f"norm_{number}", nn.LayerNorm(after, eps=1e-6))

    def forward(self, parts: Sequence[Part], dropout_rate: float) -> Tensor:
        """Rows [N, widths[-1]] of rows [N, inputs], given as parts side by side."""
        x = self._first(parts)
        for number in range(self.depth):
            if number:
                x = self.get_submodule(f"dense_{number}")(x)
            x = self.activation(self.get_submodule(f"norm_{number}")(x))
            x = F.dropout(x, dropout_rate, training=self.training)
        return x

    def _first(self, parts: Sequence[Part]) -> Tensor:
        """The first linear layer, part by part."""
        layer: Any = self.get_submodule("dense_0")
        x: Tensor = layer.bias
        weights = layer.weight.split([rows.shape[1] for rows, _ in parts], dim=1)
        for (rows, taken), weight in zip(parts, weights, strict=True):
            product = rows @ weight.T
            x = x + (product if taken is None else product.index_select(0, taken))
        return x


def _summed(rows: Tensor, group: Tensor, groups: int) -> Tensor:
    """Sums [groups, width] of the rows [N, width] of each group; `group` [N] says which."""
    return rows.new_zeros(groups, rows.shape[1]).index_add(0, group, rows)
