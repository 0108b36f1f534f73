"""The processes that train one trial together: their rendezvous and their collectives.

Every process runs the trial's loop. Values that could differ between them - the clock, the
deadline, whether the goal is met - are decided by rank 0 and broadcast, so that all processes
evaluate, stop and save at the same step. They run on one machine, one process per GPU.

torch is imported only where it is used: a process must first set its threads and devices.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

_HOST = "127.0.0.1"
_stores: list[Any] = []  # kept open for the other processes


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """Where a trial's processes meet.

    Attributes:
        size: Number of processes.
        port: Port of the store that rank 0 opens.
        devices: The GPUs of all processes, by rank, in the form of CUDA_VISIBLE_DEVICES.
    """

    size: int
    port: int
    devices: str

    @classmethod
    def opened(cls, devices: list[str]) -> Rendezvous:
        """Opens the store. Called in the process of rank 0, with the GPU of every rank."""
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        store = TCPStore(_HOST, 0, is_master=True, wait_for_workers=False)
        _stores.append(store)
        return cls(len(devices), store.port, ",".join(devices))


class ProcessGroup:
    """The processes of a trial. This class is a group of one, whose collectives do nothing.

    Attributes:
        rank: Rank of this process, from 0.
        size: Number of processes.
    """

    rank = 0
    size = 1

    def broadcast(self, *values: float) -> tuple[float, ...]:
        """Returns the values of rank 0."""
        return values

    def all_reduce_max(self, *values: float) -> tuple[float, ...]:
        """Returns the largest of each value over all processes."""
        return values

    def mean(self, value: float) -> float:
        """Returns the mean over all processes."""
        return value

    def wrap(self, model: nn.Module) -> nn.Module:
        """Returns a model that averages gradients over all processes."""
        return model


class _Distributed(ProcessGroup):
    """Several processes, in torch's default process group."""

    def __init__(self, rank: int, size: int, device: str) -> None:
        self.rank, self.size, self._device = rank, size, device

    def broadcast(self, *values: float) -> tuple[float, ...]:
        """Returns the values of rank 0."""
        import torch

        held = torch.tensor(values, dtype=torch.float64)
        torch.distributed.broadcast(held, 0)
        return tuple(held.tolist())

    def all_reduce_max(self, *values: float) -> tuple[float, ...]:
        """Returns the largest of each value over all processes."""
        import torch

        held = torch.tensor(values, dtype=torch.float64)
        torch.distributed.all_reduce(held, torch.distributed.ReduceOp.MAX)
        return tuple(held.tolist())

    def mean(self, value: float) -> float:
        """Returns the mean over all processes."""
        import torch

        held = torch.tensor(value, dtype=torch.float64)
        torch.distributed.all_reduce(held)
        return held.item() / self.size

    def wrap(self, model: nn.Module) -> nn.Module:
        """Returns a model that averages gradients over all processes."""
        from torch.nn.parallel import DistributedDataParallel

        on_gpu = self._device == "cuda"
        return DistributedDataParallel(model, device_ids=[self.rank] if on_gpu else None)


def join(rank: int, rendezvous: Rendezvous | None, device: str) -> ProcessGroup:
    """Joins the other processes; without a rendezvous, returns a group of one.

    Sets the environment variables of torchrun, which submissions read when they are imported. The
    process group is never destroyed: after a failed collective, destroying it could hang.
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
        torch.cuda.set_device(rank)
    init_process_group(
        "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo",
        store=TCPStore(_HOST, rendezvous.port),
        rank=rank,
        world_size=rendezvous.size,
    )
    return _Distributed(rank, rendezvous.size, device)


def unwrap(model: nn.Module) -> nn.Module:
    """Returns the model inside the wrapper of `wrap`, for evaluations.

    The wrapper communicates with the other ranks in every forward pass, and an evaluation may need
    more forward passes on one rank than on another.
    """
    from torch.nn.parallel import DistributedDataParallel

    inner = uncompiled(model)
    return inner.module if isinstance(inner, DistributedDataParallel) else model


def uncompiled(model: nn.Module) -> nn.Module:
    """Returns the module inside the wrapper of `torch.compile`, with its own parameter names."""
    inner: nn.Module = getattr(model, "_orig_mod", model)
    return inner
