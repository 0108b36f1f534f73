"""The model of breast_cancer.

Shapes: B examples, D features, 2 outputs (the logit, the penalty).
"""

from __future__ import annotations

import torch
from torch import nn


class LogisticRegression(nn.Module):
    """Logistic regression that carries its own l2 penalty, so that every loss includes it.

    Args:
        num_features: D, the number of features.
        l2: The penalty is l2 / 2 times the squared norm of weights and bias.
    """

    def __init__(self, num_features: int, l2: float) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, 1)
        self.l2 = l2

    def forward(self, x_bd: torch.Tensor) -> torch.Tensor:
        """The logit of each example and, repeated, the penalty: [B, 2]."""
        logits_b1: torch.Tensor = self.linear(x_bd)
        weight, bias = self.linear.weight, self.linear.bias
        penalty = self.l2 / 2 * (weight.square().sum() + bias.square().sum())
        return torch.cat((logits_b1, penalty.expand_as(logits_b1)), dim=1)
