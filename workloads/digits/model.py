"""The network of digits."""

from __future__ import annotations

import torch
from torch import nn


class ConvNet(nn.Module):
    """Two strided convolutions with batch norm, then a linear layer: 2,826 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, stride=1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.head = nn.Linear(16 * 4 * 4, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, 10] of images [B, 1, 8, 8]."""
        hidden = torch.relu(self.bn1(self.conv1(images)))
        hidden = torch.relu(self.bn2(self.conv2(hidden)))
        logits: torch.Tensor = self.head(hidden.flatten(1))
        return logits
