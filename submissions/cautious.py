"""Cautious optimizers (Liang et al. 2024): only steps that agree with the gradient are taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


class Cautious(Optimizer):
    """Makes a momentum method cautious.

    The step -u of the method that is wrapped is masked and rescaled, parameter by parameter::

        mask = u * g > 0
        w = w - u * mask * numel(u) / (nnz(mask) + 1)
        w = w - lr * weight_decay * w

    Args:
        inner: The method. It must not decay weights itself, since the decay is not masked.
        weight_decay: Decoupled, in proportion to the learning rate.
    """

    def __init__(self, inner: Optimizer, weight_decay: float = 0.0) -> None:
        super().__init__(inner.param_groups, inner.defaults)  # takes over the groups themselves
        self.inner, self.state = inner, inner.state
        self.weight_decay = weight_decay

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of the wrapped method, masked; returns what the closure gave."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = [(group, [p for p in group["params"] if p.grad is not None])
                  for group in self.param_groups]  # fmt: skip
        before = [[p.clone() for p in params] for _, params in groups]
        gradients = [[p.grad.clone() for p in params] for _, params in groups]
        self.inner.step()
        for (group, params), old, grads in zip(groups, before, gradients, strict=True):
            for p, w, g in zip(params, old, grads, strict=True):
                u = w - p
                mask = (u * g > 0).to(u.dtype)
                u.mul_(mask).mul_(u.numel() / (mask.sum() + 1))
                p.copy_(w.sub_(u)).mul_(1 - group["lr"] * self.weight_decay)
        return loss
