"""Predicting properties of graphs: the batches, model, loss and metric of ogbg and of its mini.

Shapes: G graphs of a batch, N graphs of a split, T tasks.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from harness.spec import (
    Batch,
    LossType,
    ModelAuxiliaryState,
    ParameterContainer,
    ParameterType,
    RandomState,
    Tensor,
)
from workloads.batching import seed_of
from workloads.distributed import gathered, local_batch_size, world
from workloads.modes import eval_mode
from workloads.ogbg.batches import Graphs, Size, packs, share
from workloads.ogbg.metrics import mean_average_precision, official_mean_average_precision
from workloads.ogbg.model import GraphNetworkModel
from workloads.prepared import PreparedWorkload


class GraphSplit(NamedTuple):
    """All graphs of a dataset, and the numbers of those of a split."""

    graphs: Graphs
    numbers: np.ndarray


class GraphWorkload(PreparedWorkload):
    """Predicts which of T properties a molecule has, from its graph.

    A batch is a GraphsTuple of a fixed size. Up to B graphs come into it, as long as they have at
    most B times the average nodes and edges, and one more graph without labels takes what is left.
    The loss is the sigmoid cross-entropy, summed over the labels that there are; they are what
    n_valid_examples counts. The metric is the mean of the tasks' average precisions.
    """

    loss_type = LossType.SOFTMAX_CROSS_ENTROPY  # AlgoPerf's word for it, though it is sigmoid
    target_metric_name = "mean_average_precision"
    target_direction = "max"
    dropout_rate = 0.1
    nodes_per_graph, edges_per_graph = 26, 56  # that a batch has room for; edges are directed
    model_options: ClassVar[dict[str, Any]] = {}
    padding_rows = 1

    @abc.abstractmethod
    def arrays(self) -> Mapping[str, np.ndarray]:
        """The arrays that `Graphs` takes, and for each split the numbers of its graphs."""

    def load(self) -> dict[str, GraphSplit]:
        """All graphs, on the device, and the numbers of each split's; raises DataError."""
        arrays = self.arrays()
        graphs = Graphs(arrays, self.device)
        return {split: GraphSplit(graphs, np.array(arrays[split])) for split in self.sizes}

    def build_model(self) -> nn.Module:
        """The graph network, initialised from torch's default generator."""
        return GraphNetworkModel(**self.model_options)

    @property
    def model_params_types(self) -> dict[str, ParameterType]:
        """Parameter name to type; the embedders' weights are embeddings, as in AlgoPerf."""
        embedded = dict.fromkeys(
            ("node_embedder.weight", "edge_embedder.weight"), ParameterType.EMBEDDING
        )
        return super().model_params_types | embedded

    def is_output_params(self, param_key: str) -> bool:
        """Whether the parameter belongs to the decoder."""
        return param_key.startswith("decoder.")

    def build_input_queue(
        self, rng: RandomState, split: str, global_batch_size: int, start: int = 0
    ) -> Iterator[Batch]:
        """An endless iterator over batches; batch i is a pure function of (rng, i).

        Several processes share out the graphs that one process would put into its batch; where a
        share is too large for its part of the fixed size, it gets what it needs.
        """
        rank, processes = world()
        local = local_batch_size(global_batch_size)
        size = global_batch_size
        most = Size(size, self.nodes_per_graph * size, self.edges_per_graph * size)
        nodes, edges = self.nodes_per_graph * local + 1, self.edges_per_graph * local
        graphs, numbers = self.examples[split]  # read here, where it is not timed

        def batches() -> Iterator[Batch]:
            for pack in islice(packs(graphs, numbers, most, seed_of(rng)), start, None):
                mine = share(graphs, pack, rank, processes)
                needed = graphs.size_of(mine)
                padded = Size(local + 1, max(nodes, needed.nodes + 1), max(edges, needed.edges))
                yield graphs.batch(mine, padded)

        return batches()

    def loss_fn(
        self,
        label_batch: Tensor,
        logits_batch: Tensor,
        mask_batch: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> dict[str, Tensor]:
        """Sigmoid cross-entropy, "per_example" [G, T], of the labels that `mask_batch` keeps.

        Args:
            label_batch: [G, T], 0 or 1.
            logits_batch: [G, T].
            mask_batch: [G, T], bool; without one every label counts.
            label_smoothing: A label y becomes (1 - smoothing) y + smoothing / T, as in AlgoPerf.
        """
        labels_gt, mask_gt = label_batch, mask_batch
        if label_smoothing:
            labels_gt = (1 - label_smoothing) * labels_gt + label_smoothing / labels_gt.shape[1]
        losses_gt = F.binary_cross_entropy_with_logits(logits_batch, labels_gt, reduction="none")
        if mask_gt is None:
            mask_gt = torch.ones_like(labels_gt, dtype=torch.bool)
        shape, needed = tuple(mask_gt.shape), tuple(losses_gt.shape)
        if shape != needed:
            raise ValueError(f"a mask of {needed} is needed, not {shape}")
        losses_gt = torch.where(mask_gt.bool(), losses_gt, 0.0)
        return {
            "summed": losses_gt.sum(),
            "n_valid_examples": mask_gt.sum(),
            "per_example": losses_gt,
        }

    def eval_model(
        self, params: ParameterContainer, model_state: ModelAuxiliaryState, split: str
    ) -> dict[str, float]:
        """Metric, accuracy and loss over a split, each graph once.

        The processes share out the graphs, and each gets the logits of all: an average precision
        is not a sum over graphs.
        """
        graphs, numbers = self.examples[split]
        numbers = numbers[: self.eval_count(split, len(numbers))]
        rank, processes = world()
        mine, size = numbers[rank::processes], -(-self.eval_batch_size // processes)
        labels_nt = graphs.labels[torch.from_numpy(numbers).to(self.device)]
        logits = [torch.empty(0, labels_nt.shape[1], device=self.device)]
        with eval_mode(params):
            for start in range(0, len(mine), size):
                batch = graphs.batch(mine[start : start + size])
                logits.append(params(batch["inputs"]))
            return _metrics(gathered(torch.cat(logits), len(numbers)), labels_nt)


def _metrics(logits_nt: Tensor, labels_nt: Tensor) -> dict[str, float]:
    """Metric, accuracy and loss; labels are -1 where there is none."""
    is_valid_nt, is_positive_nt = labels_nt >= 0, labels_nt == 1
    losses_nt = F.binary_cross_entropy_with_logits(
        logits_nt, is_positive_nt.float(), reduction="none"
    )
    is_right_nt = (logits_nt > 0) == is_positive_nt
    scored = logits_nt.sigmoid(), is_positive_nt, is_valid_nt
    return {
        "mean_average_precision": official_mean_average_precision(*scored),
        "mean_average_precision_plain": mean_average_precision(*scored),
        "accuracy": is_right_nt[is_valid_nt].double().mean().item(),
        "loss": losses_nt[is_valid_nt].double().mean().item(),
    }
