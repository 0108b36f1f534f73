"""Data parallelism as far as workloads see it: which share is this process's, and sums over all."""

from __future__ import annotations

import torch
from torch import distributed


def world() -> tuple[int, int]:
    """This process's rank and how many processes train together; (0, 1) without torchrun."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def local_batch_size(global_batch_size: int) -> int:
    """How many examples of a global batch are this process's.

    Raises:
        ValueError: They cannot be shared out evenly.
    """
    _, processes = world()
    if global_batch_size % processes:
        raise ValueError(
            f"a batch of {global_batch_size} cannot be shared out evenly by {processes} processes"
        )
    return global_batch_size // processes


def own_part(global_batch_size: int) -> slice:
    """Which examples of a global batch are this process's; raises ValueError as above."""
    size = local_batch_size(global_batch_size)
    rank, _ = world()
    return slice(rank * size, (rank + 1) * size)


def summed(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """The sum of every value over all processes, in float64; the same keys everywhere."""
    if world()[1] == 1:
        return values
    total = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return dict(zip(values, total.tolist(), strict=True))


def gathered(rows: torch.Tensor, count: int) -> torch.Tensor:
    """All `count` rows in their order, on every process.

    Args:
        rows: This process's rows: numbers rank, rank + processes, ... below `count`.
        count: The number of rows in all.
    """
    _, processes = world()
    if processes == 1:
        return rows
    most = -(-count // processes)
    padding = rows.new_zeros(most - len(rows), *rows.shape[1:])
    padded = torch.cat([rows, padding])
    shares = [torch.empty_like(padded) for _ in range(processes)]
    distributed.all_gather(shares, padded)
    return torch.stack(shares, dim=1).flatten(0, 1)[:count]
