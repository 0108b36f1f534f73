"""Batches made ahead of the training by a thread, and arrays copied without waiting for the device.

Taking a batch is timed. What a workload reads from disk is therefore made while the model trains,
and no copy makes the training wait until the GPU has finished the steps before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

_END: Any = object()
T = TypeVar("T")


def read_ahead(batches: Iterator[T], count: int, device: torch.device) -> Iterator[T]:
    """The same batches in the same order, up to `count` of them made ahead by one thread.

    The thread starts with the first batch and ends when the iterator is closed, exhausted or
    dropped. What it raises is raised where that batch is taken.

    Args:
        batches: Makes a batch at every `next`; the thread alone calls it.
        count: How many batches are made ahead; 0 to make them where they are taken.
        device: Where the batches are put.
    """
    if count == 0:
        yield from batches
        return
    with ThreadPoolExecutor(1, "read ahead", *_device_of_this_thread(device)) as thread:
        made: deque[Future[T]] = deque(thread.submit(next, batches, _END) for _ in range(count))
        try:
            while (batch := made.popleft().result()) is not _END:
                made.append(thread.submit(next, batches, _END))
                yield batch
        finally:
            thread.shutdown(cancel_futures=True)


def _device_of_this_thread(device: torch.device) -> tuple[Any, ...]:
    """What makes another thread use the GPU of this one: a new thread begins with the first GPU."""
    if device.type != "cuda":
        return ()
    return torch.cuda.set_device, (torch.cuda.current_device(),)


def on_device(array: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor on the device.

    It is copied to a GPU through pinned memory: the copy is queued like a kernel, where one from
    ordinary memory would wait until all work queued before it is done.
    """
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
