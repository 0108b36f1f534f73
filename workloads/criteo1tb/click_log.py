"""Click logs as training reads them: the lines of prepared files, in batches on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from harness.spec import Batch
from workloads.prefetch import on_device


class ClickLog:
    """The lines of several prepared files, one after the other."""

    def __init__(self, parts: Sequence[Mapping[str, np.ndarray]]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part["labels"]) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def shuffled(self, seed: Sequence[int]) -> ClickLog:
        """The same lines, the files in random order."""
        order = np.random.default_rng(seed).permutation(len(self._parts))
        return ClickLog([self._parts[number] for number in order])

    def lines(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Lines `start` to `stop`: "labels" [N], "counts" [N, 13] and "buckets" [N, columns]."""
        pieces = []
        part = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop:
            arrays, end = self._parts[part], int(self._ends[part])
            first = start - (end - len(arrays["labels"]))
            length = min(stop, end) - start
            pieces.append({name: array[first : first + length] for name, array in arrays.items()})
            start, part = start + length, part + 1
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def batch(self, start: int, stop: int, device: torch.device) -> Batch:
        """The same lines on a device: "inputs" [B, 13 + columns], "targets" and "weights" (ones).

        Inputs are log(max(count, 0) + 1), then the buckets, all float32: of a bucket above 2**24
        that leaves what its rounding leaves, as in AlgoPerf. Targets are [B, 1], weights [B].
        """
        lines = self.lines(start, stop)
        arrays = {name: on_device(array, device) for name, array in lines.items()}
        dense = torch.log(arrays["counts"].float().relu() + 1)
        return {
            "inputs": torch.cat([dense, arrays["buckets"].float()], dim=1),
            "targets": arrays["labels"].float()[:, None],
            "weights": torch.ones(stop - start, device=device),
        }
