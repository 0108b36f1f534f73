"""fastmri's U-Net (Ronneberger et al. 2015), with AlgoPerf's layers, names and initialisation.

Shapes: B images, C channels, H x W pixels; C, H and W are those of the layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from workloads.parameters import lecun_normal_


class UNet(nn.Module):
    """Images [B, H, W] to images [B, H, W].

    Args:
        channels: The channels of the first block; each block below has twice as many.
        pools: How often the image is halved.
        tanh: Whether tanh replaces the leaky ReLU.
        layer_norm: Whether blocks normalise over all channels, with a learned scale and bias.
    """

    def __init__(
        self, channels: int = 32, pools: int = 4, tanh: bool = False, layer_norm: bool = False
    ) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(pools)]

        def block(inputs: int, outputs: int) -> ConvBlock:
            return ConvBlock(inputs, outputs, tanh=tanh, layer_norm=layer_norm)

        self.down_sample_layers = nn.ModuleList(
            block(before, after) for before, after in zip([1, *widths], widths, strict=False)
        )
        self.conv = block(widths[-1], 2 * widths[-1])
        self.up_conv = nn.ModuleList(block(2 * width, width) for width in widths[:0:-1])
        last = block(2 * channels, channels)
        self.up_conv.append(nn.Sequential(last, nn.Conv2d(channels, 1, kernel_size=1)))
        self.up_transpose_conv = nn.ModuleList(
            TransposeBlock(2 * width, width, tanh=tanh) for width in widths[::-1]
        )
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                lecun_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images_bhw: Tensor, dropout_rate: float = 0.0) -> Tensor:
        """Images [B, H, W]; complete channels are dropped at `dropout_rate` in training mode."""
        x_bchw = images_bhw.unsqueeze(1)
        skipped: list[Tensor] = []
        for layer in self.down_sample_layers:
            x_bchw = layer(x_bchw, dropout_rate)
            skipped.append(x_bchw)
            x_bchw = F.avg_pool2d(x_bchw, kernel_size=2)
        x_bchw = self.conv(x_bchw, dropout_rate)
        for transpose, up in zip(self.up_transpose_conv, self.up_conv, strict=True):
            skip_bchw = skipped.pop()
            x_bchw = transpose(x_bchw)
            bottom = skip_bchw.shape[2] - x_bchw.shape[2]
            right = skip_bchw.shape[3] - x_bchw.shape[3]
            if bottom or right:  # an odd size lost a row or column when it was halved
                x_bchw = F.pad(x_bchw, (0, right, 0, bottom), mode="reflect")
            x_bchw = torch.cat([x_bchw, skip_bchw], dim=1)
            if isinstance(up, nn.Sequential):
                x_bchw = up[1](up[0](x_bchw, dropout_rate))
            else:
                x_bchw = up(x_bchw, dropout_rate)
        reconstructed_bhw: Tensor = x_bchw.squeeze(1)
        return reconstructed_bhw


class ConvBlock(nn.Module):
    """Twice a 3x3 convolution without bias, normalisation, activation and dropout of channels."""

    def __init__(self, inputs: int, outputs: int, *, tanh: bool, layer_norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before in (inputs, outputs):
            norm = nn.GroupNorm(1, outputs, eps=1e-6) if layer_norm else nn.InstanceNorm2d(outputs)
            layers += [
                nn.Conv2d(before, outputs, kernel_size=3, padding=1, bias=False),
                norm,
                activation(tanh),
                nn.Dropout2d(0.0),  # keeps its place in the parameters' names
            ]
        self.conv_layers = nn.Sequential(*layers)

    def forward(self, x_bchw: Tensor, dropout_rate: float) -> Tensor:
        """Features [B, inputs, H, W] to [B, outputs, H, W]."""
        for layer in self.conv_layers:
            if isinstance(layer, nn.Dropout2d):
                x_bchw = F.dropout2d(x_bchw, dropout_rate, training=self.training)
            else:
                x_bchw = layer(x_bchw)
        return x_bchw


class TransposeBlock(nn.Module):
    """A transposed 2x2 convolution of stride 2 without bias, instance norm and activation."""

    def __init__(self, inputs: int, outputs: int, *, tanh: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2, bias=False),
            nn.InstanceNorm2d(outputs),
            activation(tanh),
        )

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Features [B, inputs, H, W] to [B, outputs, 2H, 2W]."""
        doubled_bchw: Tensor = self.layers(x_bchw)
        return doubled_bchw


def activation(tanh: bool) -> nn.Module:
    """Leaky ReLU of slope 0.2, or tanh."""
    return nn.Tanh() if tanh else nn.LeakyReLU(0.2, inplace=True)
