"""The network of digits.

Shapes: B images, C channels, H x W pixels, K = 10 classes.
"""

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

    def forward(self, x_bchw: torch.Tensor) -> torch.Tensor:
        """Logits [B, K] of images [B, 1, 8, 8]."""
        x_bchw = torch.relu(self.bn1(self.conv1(x_bchw)))
        x_bchw = torch.relu(self.bn2(self.conv2(x_bchw)))
        logits_bk: torch.Tensor = self.head(x_bchw.flatten(1))
        return logits_bk
