"""Settings of torch's backends during a trial, restored after it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def cudnn_benchmark(wanted: bool) -> Iterator[None]:
    """Sets `torch.backends.cudnn.benchmark`, and restores it on exit."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = wanted
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
