"""The network of diabetes.

Shapes: B examples, D = 10 features.
"""

from __future__ import annotations

import torch
from torch import nn


class MLP(nn.Module):
    """One hidden layer of 16 with tanh: 193 parameters, as many as 266 examples bear."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(10, 16)
        self.head = nn.Linear(16, 1)

    def forward(self, x_bd: torch.Tensor) -> torch.Tensor:
        """Predictions [B, 1]."""
        prediction_b1: torch.Tensor = self.head(torch.tanh(self.hidden(x_bd)))
        return prediction_b1
