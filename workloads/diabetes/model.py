"""The network of diabetes."""

from __future__ import annotations

import torch
from torch import nn


class MLP(nn.Module):
    """Three layers with tanh: 4,929 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Linear(10, 64)
        self.layer2 = nn.Linear(64, 64)
        self.head = nn.Linear(64, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Predictions [B, 1] from features [B, 10]."""
        hidden = torch.tanh(self.layer1(features))
        hidden = torch.tanh(self.layer2(hidden))
        prediction: torch.Tensor = self.head(hidden)
        return prediction
