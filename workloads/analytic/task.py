"""Sums of squared residuals: functions of a vector, without data.

Shapes: B examples (the same one), N parameters.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import nn

from harness.spec import Batch, LossType, Tensor
from workloads.analytic.model import LinearResiduals, RosenbrockResiduals
from workloads.arrays import Columns
from workloads.exact import ExactWorkload


class SumOfSquares(ExactWorkload):
    """f(x) = `scale` times the sum of squared residuals: one example, so that no step is noisy.

    Attributes:
        dimension: N, the number of parameters; may be changed before the model is made.
        scale: Factor of the sum.
    """

    loss_type = LossType.MEAN_SQUARED_ERROR
    num_train_examples = num_eval_train_examples = num_validation_examples = 1
    train_batch_size = eval_batch_size = 1
    minimum = 0.0
    dimension: int
    scale: float = 1.0

    def columns(self) -> Columns:
        """One example, of which neither input nor target matters: zeros."""
        return {"inputs": np.zeros((1, 1)), "targets": np.zeros((1, 1))}

    def losses(
        self, labels: Tensor, logits: Tensor, label_smoothing: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """The value of f for every example [B], and their sum []."""
        losses_b = self.scale * logits.square().sum(1)
        return losses_b.sum(), losses_b

    def per_example_metrics(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """The value of f, [B]."""
        return {"loss": self.losses(batch["targets"], logits)[1]}


class QuadraticForm(SumOfSquares):
    """1/2 x^T H x, whose eigenvalues go from 1 to `condition` in geometric progression.

    In two dimensions the axes are the eigenvectors, so that f = (x^2 + condition y^2) / 2; in more,
    a fixed random rotation turns them, so that no method gains by treating each coordinate alone.
    The start has the coordinate 1 along every eigenvector.

    Attributes:
        condition: The largest eigenvalue, and the condition number; may be changed before use.
    """

    scale = 0.5
    condition: float = 100.0

    def make_model(self) -> nn.Module:
        """Coordinates along the eigenvectors, times the roots of the eigenvalues."""
        roots_n = np.sqrt(self.eigenvalues)
        return LinearResiduals(torch.from_numpy(roots_n[:, None] * self._rotation_nn))

    @property
    def eigenvalues(self) -> np.ndarray:
        """The eigenvalues [N], ascending."""
        return np.geomspace(1, self.condition, self.dimension)

    @property
    def start(self) -> np.ndarray:
        """The sum of all eigenvectors."""
        total_n: np.ndarray = self._rotation_nn.sum(0)
        return total_n

    @cached_property
    def _rotation_nn(self) -> np.ndarray:
        """The eigenvectors, in rows."""
        if self.dimension <= 2:
            return np.eye(self.dimension)
        normal_nn = np.random.default_rng(2).standard_normal((self.dimension, self.dimension))
        return np.linalg.qr(normal_nn)[0]


class RosenbrockFunction(SumOfSquares):
    """sum_i 100 (x_(i+1) - x_i^2)^2 + (1 - x_i)^2, whose minimum 0 is at (1, ..., 1)."""

    def make_model(self) -> nn.Module:
        """The vector and its residuals."""
        return RosenbrockResiduals(self.dimension)

    @property
    def start(self) -> np.ndarray:
        """-1.2 and 1 in turn (Rosenbrock 1960; Moré, Garbow and Hillstrom 1981)."""
        return np.resize([-1.2, 1.0], self.dimension)
