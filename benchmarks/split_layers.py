"""Compares ogbg's split first layers with AlgoPerf's form, which concatenates their inputs.

It runs forward and backward passes of the official model on batches of ogbg_mini's molecules, in
this process. The two alternate, and so does which is first; the result is the ratio of medians.

    python -m benchmarks.split_layers [--batch 64] [--repeats 21] [--device cpu] [--threads 1]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

import workloads
from workloads.ogbg.model import MLP, GraphNetworkModel, GraphsTuple, Part


class ConcatenatedMLP(MLP):
    """The same layers: the inputs of a row are gathered and concatenated before the first."""

    def _first(self, parts: Sequence[Part]) -> Tensor:
        rows = [rows if taken is None else rows.index_select(0, taken) for rows, taken in parts]
        layer = self.get_submodule("dense_0")
        assert isinstance(layer, nn.Linear)
        return F.linear(torch.cat(rows, dim=1), layer.weight, layer.bias)


def seconds(model: GraphNetworkModel, graphs: GraphsTuple, device: str) -> tuple[float, Tensor]:
    """Seconds of a forward and a backward pass, and the logits."""
    model.zero_grad()
    began = time.perf_counter()
    logits = model(graphs)
    logits.square().mean().backward()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, logits.detach()


def main() -> None:
    """Prints both medians, their ratio, and the largest difference of the logits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    workload = workloads.get("ogbg_mini", device=arguments.device)
    workload.prepare_data()
    graphs: Any = next(workload.build_input_queue(0, "train", arguments.batch))["inputs"]
    models = {}
    for name in ("split", "concatenated"):
        torch.manual_seed(0)
        model = models[name] = GraphNetworkModel(graphs.globals.shape[1]).to(arguments.device)
        if name == "concatenated":
            for module in model.modules():
                if type(module) is MLP:
                    module.__class__ = ConcatenatedMLP
    laps: dict[str, list[float]] = {name: [] for name in models}
    logits = {}
    for repeat in range(arguments.repeats + 2):
        for name, model in list(models.items())[:: 1 if repeat % 2 else -1]:
            lap, logits[name] = seconds(model, graphs, arguments.device)
            if repeat >= 2:  # the first two are warm-up
                laps[name].append(lap)
    split, concatenated = (statistics.median(laps[name]) for name in models)
    apart = (logits["split"] - logits["concatenated"]).abs().max().item()
    print(f"batch {arguments.batch}, {arguments.device}, {arguments.threads} threads")
    print(f"  split:        {1e3 * split:9.2f} ms")
    print(f"  concatenated: {1e3 * concatenated:9.2f} ms")
    print(f"  ratio of medians {split / concatenated:.2f}; logits differ by at most {apart:.1e}")


if __name__ == "__main__":
    main()
