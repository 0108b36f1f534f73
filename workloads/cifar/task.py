"""Classifying small images: the model, cropping and mirroring of cifar and of its mini.

Shapes: B images, C = 3 channels, H x W pixels, N images of a split.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from harness.spec import Batch, LossType
from workloads.arrays import ArrayWorkload
from workloads.prefetch import on_device
from workloads.resnet import ResNet

MEAN = (0.49139968, 0.48215827, 0.44653124)  # of red, green and blue from 0 to 1
DEVIATION = (0.24703233, 0.24348505, 0.26158768)


class SmallImages(ArrayWorkload):
    """What cifar and cifar_mini share: a ResNet on small images, cropped and mirrored at random.

    Batch norm is by the statistics of each process's own share of a batch, as in AlgoPerf.

    Attributes:
        padding: Black pixels around an image before it is cropped to its size again.
    """

    loss_type = LossType.SOFTMAX_CROSS_ENTROPY
    target_metric_name = "accuracy"
    target_direction = "max"
    augmentation_draws = 3
    padding: int
    model_options: ClassVar[dict[str, Any]] = {}

    def build_model(self) -> nn.Module:
        """The ResNet, initialised from torch's default generator."""
        return ResNet(small_images=True, bottleneck=False, **self.model_options)

    def augmented(self, batch: Batch, draws: Tensor) -> Batch:
        """The images shifted by up to `padding` pixels, half of them mirrored."""
        inputs_bchw = shifted(batch["inputs"], draws[:, :2], self.padding)
        is_mirrored_b = draws[:, 2] < 0.5
        mirrored_bchw = torch.where(
            is_mirrored_b.view(-1, 1, 1, 1), inputs_bchw.flip(3), inputs_bchw
        )
        return {**batch, "inputs": mirrored_bchw}


def shifted(images_bchw: Tensor, draws_b2: Tensor, padding: int) -> Tensor:
    """Images, each cropped at random to its own size from itself in a black frame.

    Args:
        images_bchw: Normalised.
        draws_b2: Top and left of the crops, from 0 to 1.
        padding: The frame's width.
    """
    count, _, height, width = images_bchw.shape
    black = on_device(_BLACK, images_bchw.device)
    framed = black.repeat(count, 1, height + 2 * padding, width + 2 * padding)
    framed[:, :, padding:-padding, padding:-padding] = images_bchw
    windows = framed.unfold(2, height, 1).unfold(3, width, 1)  # [B, C, top, left, H, W]
    top_b, left_b = (draws_b2 * (2 * padding + 1)).long().unbind(1)
    return windows[torch.arange(count, device=images_bchw.device), :, top_b, left_b]


def normalised(pixels: Tensor) -> Tensor:
    """Inputs [..., C, H, W] of pixels from 0 to 255."""
    mean, deviation = (torch.tensor(x).view(3, 1, 1) for x in (MEAN, DEVIATION))
    return (pixels / 255 - mean) / deviation


_BLACK = normalised(torch.zeros(3, 1, 1)).numpy()


def columns(images: np.ndarray, labels: np.ndarray) -> Mapping[str, np.ndarray]:
    """The columns of a split, from pixels [N, C, H, W], uint8, and labels [N]."""
    pixels = torch.from_numpy(np.array(images))
    return {"inputs": normalised(pixels).numpy(), "targets": np.array(labels)}
