"""Modes of any model: evaluation, and training with running statistics left alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def frozen_batch_norm(model: nn.Module) -> Iterator[None]:
    """Batch statistics normalise, and the running statistics stay as they are.

    `num_batches_tracked` counts the batch all the same, as in AlgoPerf.
    """
    layers: list[Any] = [
        module
        for module in model.modules()
        if isinstance(getattr(module, "running_mean", None), Tensor)
    ]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluates without gradients; the module's mode is restored."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)
