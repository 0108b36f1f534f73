"""Residual networks (He et al. 2016), with torchvision's layers and AlgoPerf's initialisation.

Shapes: B images, C channels, H x W pixels, K classes; C, H and W are those of the layer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from workloads.parameters import lecun_normal_

Activation = Callable[[Tensor], Tensor]


class ResNet(nn.Module):
    """Classifies images [B, 3, H, W].

    The stem is a 7x7 convolution of stride 2 and a 3x3 max-pooling of stride 2, or for small images
    a 3x3 convolution. Four stages of residual blocks follow, each but the first halving the image;
    then the mean over pixels and a linear layer.

    Args:
        blocks: The number of blocks in each stage.
        classes: The number of classes.
        bottleneck: Blocks of 1x1, 3x3 and 1x1 convolutions instead of two 3x3 ones.
        width: The channels of the first stage; each stage after it has twice as many.
        small_images: Whether the stem is the one for small images.
        activation: The activation after the norms.
        last_scale: What the scale of every residual branch's last norm starts at.
    """

    def __init__(
        self,
        blocks: Sequence[int] = (3, 4, 6, 3),
        classes: int = 1000,
        *,
        bottleneck: bool = True,
        width: int = 64,
        small_images: bool = False,
        activation: Activation = F.relu,
        last_scale: float = 0.0,
    ) -> None:
        super().__init__()
        block = Bottleneck if bottleneck else BasicBlock
        kernel, stride = (3, 1) if small_images else (7, 2)
        self.conv1 = _conv(3, width, kernel, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self._small_images = small_images
        self._activation = activation
        channels = width
        for stage, count in enumerate(blocks):
            layers = []
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                layers.append(block(channels, width * 2**stage, stride, activation))
                channels = width * 2**stage * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self._stages = [f"layer{stage + 1}" for stage in range(len(blocks))]
        self.fc = nn.Linear(channels, classes)
        self._initialise(last_scale)

    def _initialise(self, last_scale: float) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                lecun_normal_(module.weight)
            elif isinstance(module, Bottleneck):
                nn.init.constant_(module.bn3.weight, last_scale)
            elif isinstance(module, BasicBlock):
                nn.init.constant_(module.bn2.weight, last_scale)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Logits [B, K] of images [B, 3, H, W]."""
        x_bchw = self._activation(self.bn1(self.conv1(x_bchw)))
        if not self._small_images:
            x_bchw = F.max_pool2d(x_bchw, kernel_size=3, stride=2, padding=1)
        for stage in self._stages:
            x_bchw = getattr(self, stage)(x_bchw)
        logits_bk: Tensor = self.fc(x_bchw.mean(dim=(2, 3)))
        return logits_bk


class BasicBlock(nn.Module):
    """Two 3x3 convolutions [B, inputs, H, W] -> [B, width, H / stride, W / stride]."""

    expansion: ClassVar[int] = 1

    def __init__(self, inputs: int, width: int, stride: int, activation: Activation) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, 1)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)
        self._activation = activation

    def forward(self, x_bchw: Tensor) -> Tensor:
        """The activation of the sum of branch and shortcut."""
        branch_bchw = self._activation(self.bn1(self.conv1(x_bchw)))
        branch_bchw = self.bn2(self.conv2(branch_bchw))
        return self._activation(branch_bchw + self.downsample(x_bchw))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions [B, inputs, H, W] -> [B, 4 width, H / stride, W / stride].

    The 3x3 convolution has the stride, not the 1x1 before it ("version 1.5").
    """

    expansion: ClassVar[int] = 4

    def __init__(self, inputs: int, width: int, stride: int, activation: Activation) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = _conv(inputs, width, 1, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, outputs, 1, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)
        self._activation = activation

    def forward(self, x_bchw: Tensor) -> Tensor:
        """The activation of the sum of branch and shortcut."""
        branch_bchw = self._activation(self.bn1(self.conv1(x_bchw)))
        branch_bchw = self._activation(self.bn2(self.conv2(branch_bchw)))
        branch_bchw = self.bn3(self.conv3(branch_bchw))
        return self._activation(branch_bchw + self.downsample(x_bchw))


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """The identity, or a 1x1 convolution with a norm where the shape changes."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if stride != 1 or inputs != outputs:
        layers["conv"] = _conv(inputs, outputs, 1, stride)
        layers["bn"] = nn.BatchNorm2d(outputs)
    return nn.Sequential(layers)


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its tanh approximation (Hendrycks and Gimpel 2016)."""
    return F.gelu(x, approximate="tanh")
