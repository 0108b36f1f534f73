"""Vectors of parameters, and the residuals that a function makes of them.

Shapes: B examples (the same one), N parameters, K residuals.
"""

from __future__ import annotations

import abc

import torch
from torch import nn

from harness.spec import Tensor


class Residuals(nn.Module, abc.ABC):
    """A vector of parameters x [N], whose residuals do not depend on the example."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(dimension))

    def forward(self, inputs_b1: Tensor) -> Tensor:
        """The residuals, the same for every example: [B, K]."""
        return self.residuals(self.x).expand(len(inputs_b1), -1)

    @abc.abstractmethod
    def residuals(self, x_n: Tensor) -> Tensor:
        """The residuals [K] of x [N]."""


class LinearResiduals(Residuals):
    """A fixed matrix [K, N] times x."""

    factor_kn: Tensor

    def __init__(self, factor_kn: Tensor) -> None:
        super().__init__(factor_kn.shape[1])
        self.register_buffer("factor_kn", factor_kn)

    def residuals(self, x_n: Tensor) -> Tensor:
        """The product."""
        return self.factor_kn @ x_n


class RosenbrockResiduals(Residuals):
    """10 (x_(i+1) - x_i^2) and 1 - x_i, K = 2 (N - 1)."""

    def residuals(self, x_n: Tensor) -> Tensor:
        """The residuals, those of the curved valley first."""
        before, after = x_n[:-1], x_n[1:]
        return torch.cat([10 * (after - before.square()), 1 - before])
