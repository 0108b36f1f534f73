"""The network of AlgoPerf's mnist.

Shapes: B images, C = 1 channel, H x W = 28 x 28 pixels, K = 10 classes.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn


class MLP(nn.Module):
    """784-128-10 with a sigmoid: 101,770 parameters, under AlgoPerf's parameter names."""

    def __init__(self) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            layer1=nn.Linear(784, 128), layer1_sig=nn.Sigmoid(), layer2=nn.Linear(128, 10)
        )
        self.net = nn.Sequential(layers)

    def forward(self, x_bchw: torch.Tensor) -> torch.Tensor:
        """Logits [B, K]."""
        logits_bk: torch.Tensor = self.net(x_bchw.flatten(1))
        return logits_bk
