"""The processes that train one trial together: where they meet, and what they agree on.

All of them run the trial's loop. What one of them alone could see otherwise than the others - the
clock, the deadline, whether the goal is met - rank 0 decides and tells the others, so that all
evaluate, stop and save at the same step. They run on one machine, a process for each GPU.

Imports no torch before it is used: a process sets its threads and devices first.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

_HOST = "127.0.0.1"
_stores: list[Any] = []  # what this process keeps open for the others


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """Where a trial's processes meet.

    Attributes:
        size: How many they are.
        port: Of the store that rank 0 keeps.
        devices: The GPUs of all, as CUDA_VISIBLE_DEVICES names them, by rank.
    """

    size: int
    port: int
    devices: str

    @classmethod
    def opened(cls, devices: list[str]) -> Rendezvous:
        """Opens the store, in the process of rank 0, which gives each rank's GPUs."""
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        store = TCPStore(_HOST, 0, is_master=True, wait_for_workers=False)
        _stores.append(store)
        return cls(len(devices), store.port, ",".join(devices))


class ProcessGroup:
    """One of a trial's processes; this class, alone: it agrees with itself.

    Attributes:
        rank: Its number, from 0.
        size: How many there are.
    """

    rank = 0
    size = 1

    def broadcast(self, *values: float) -> tuple[float, ...]:
        """Rank 0's values, on every rank."""
        return values

    def all_reduce_max(self, *values: float) -> tuple[float, ...]:
        """The largest over all group, of every value."""
        return values

    def mean(self, value: float) -> float:
        """The mean over all group."""
        return value

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose gradients are those of all group."""
        return model


class _Distributed(ProcessGroup):
    """One of several, joined in torch's default process group."""

    def __init__(self, rank: int, size: int, device: str) -> None:
        self.rank, self.size, self._device = rank, size, device

    def broadcast(self, *values: float) -> tuple[float, ...]:
        """Rank 0's values, on every rank."""
        import torch

        held = torch.tensor(values, dtype=torch.float64)
        torch.distributed.broadcast(held, 0)
        return tuple(held.tolist())

    def all_reduce_max(self, *values: float) -> tuple[float, ...]:
        """The largest over all group, of every value."""
        import torch

        held = torch.tensor(values, dtype=torch.float64)
        torch.distributed.all_reduce(held, torch.distributed.ReduceOp.MAX)
        return tuple(held.tolist())

    def mean(self, value: float) -> float:
        """The mean over all group."""
        import torch

        held = torch.tensor(value, dtype=torch.float64)
        torch.distributed.all_reduce(held)
        return held.item() / self.size

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose gradients are those of all group."""
        from torch.nn.parallel import DistributedDataParallel

        on_gpu = self._device == "cuda"
        return DistributedDataParallel(model, device_ids=[self.rank] if on_gpu else None)


def join(rank: int, rendezvous: Rendezvous | None, device: str) -> ProcessGroup:
    """Meets the others; alone where there is no rendezvous.

    Sets what torchrun sets, which submissions look at when they are imported. The process group
    lasts as long as the process: one whose collective failed may never come to an end of its own.
    """
    if rendezvous is None:
        return ProcessGroup()
    os.environ.update(
        LOCAL_RANK=str(rank), RANK=str(rank), MASTER_ADDR=_HOST, MASTER_PORT=str(rendezvous.port),
        LOCAL_WORLD_SIZE=str(rendezvous.size), WORLD_SIZE=str(rendezvous.size),
    )  # fmt: skip
    import torch
    from torch.distributed import TCPStore, init_process_group  # type: ignore[attr-defined]

    if device == "cuda":
        torch.cuda.set_device(rank)  # of this thread
    init_process_group(
        "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo",
        store=TCPStore(_HOST, rendezvous.port),
        rank=rank,
        world_size=rendezvous.size,
    )
    return _Distributed(rank, rendezvous.size, device)


def unwrap(model: nn.Module) -> nn.Module:
    """The model that `wrap` put a wrapper around; evaluations go to it.

    The wrapper talks to the other ranks in every forward pass, of which an evaluation may have more
    on one rank than on another.
    """
    from torch.nn.parallel import DistributedDataParallel

    inner = getattr(model, "_orig_mod", model)  # of torch.compile
    return inner.module if isinstance(inner, DistributedDataParallel) else model
