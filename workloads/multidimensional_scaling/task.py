"""Multidimensional scaling: points in the plane from their distances.

Shapes: B pairs of points, N = 100 points, D = 2 coordinates, M = N (N - 1) / 2 pairs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from harness.spec import Batch, LossType, Tensor
from workloads.arrays import Columns
from workloads.exact import ExactWorkload

POINTS, DIMENSIONS = 100, 2
PAIRS = POINTS * (POINTS - 1) // 2


class Points(nn.Module):
    """Points [N, D]; an input is a pair of their numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Parameter(torch.zeros(POINTS, DIMENSIONS))

    def forward(self, pairs_b2: Tensor) -> Tensor:
        """The squared distance of each pair [B, 1]."""
        points_b2d = self.points[pairs_b2]
        return (points_b2d[:, 0] - points_b2d[:, 1]).square().sum(1, keepdim=True)


class Scaling(ExactWorkload):
    """The mean over pairs of (|W_i - W_j|^2 - D_ij)^2, D the squared distances of normal points.

    That is the sum over all i and j, divided by N (N - 1). The solution is unique up to rotation,
    reflection and shift. The start is as many other normal points.

    Attributes:
        decimals: What the squared distances are rounded to; None for exact ones.
    """

    loss_type = LossType.MEAN_SQUARED_ERROR
    num_train_examples = num_eval_train_examples = num_validation_examples = PAIRS
    train_batch_size = 50
    eval_batch_size = PAIRS
    budget_steps = step_hint = 4000
    eval_period_steps = 40
    decimals: int | None = None

    def columns(self) -> Columns:
        """Pairs [M, 2] of points and their squared distances [M, 1]."""
        pairs_m2 = np.column_stack(np.triu_indices(POINTS, 1))
        points_m2d = self.solution[pairs_m2]
        distances_m = np.square(points_m2d[:, 0] - points_m2d[:, 1]).sum(1)
        if self.decimals is not None:
            distances_m = distances_m.round(self.decimals)
        return {"inputs": pairs_m2, "targets": distances_m[:, None]}

    def make_model(self) -> nn.Module:
        """The points."""
        return Points()

    @property
    def solution(self) -> np.ndarray:
        """The points [N, D] whose distances are given."""
        return np.random.default_rng(3).standard_normal((POINTS, DIMENSIONS))

    @property
    def start(self) -> np.ndarray:
        """Other points, [N D]."""
        return np.random.default_rng(4).standard_normal(POINTS * DIMENSIONS)

    def per_example_metrics(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """The squared error [B]."""
        return {"loss": self.losses(batch["targets"], logits)[1]}
