"""The model of breast_cancer."""

from __future__ import annotations

import torch
from torch import nn


class LogisticRegression(nn.Module):
    """Logistic regression that carries its own l2 penalty, so that every loss includes it.

    Args:
        num_features: Width D of the input.
        l2: The penalty is l2 / 2 times the squared norm of weights and bias.
    """

    def __init__(self, num_features: int, l2: float) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, 1)
        self.l2 = l2

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[B, 2]: the logit of each of the inputs [B, D] and, repeated, the penalty."""
        logits: torch.Tensor = self.linear(inputs)
        weight, bias = self.linear.weight, self.linear.bias
        penalty = self.l2 / 2 * (weight.square().sum() + bias.square().sum())
        return torch.cat((logits, penalty.expand_as(logits)), dim=1)
