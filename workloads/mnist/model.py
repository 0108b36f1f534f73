"""The network of AlgoPerf's mnist."""

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

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, 10] of images [B, 1, 28, 28]."""
        logits: torch.Tensor = self.net(images.flatten(1))
        return logits
