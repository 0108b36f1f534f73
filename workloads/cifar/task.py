"""Classifying small images: the model, cropping and mirroring of cifar and of its mini."""

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
        padding: Black pixels around an image before an area of its own size is cropped.
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
        """The images [B, 3, H, W] shifted by up to `padding` pixels, half of them mirrored."""
        inputs = shifted(batch["inputs"], draws[:, :2], self.padding)
        mirrored = (draws[:, 2] < 0.5).view(-1, 1, 1, 1)
        return {**batch, "inputs": torch.where(mirrored, inputs.flip(3), inputs)}


def shifted(images: Tensor, draws: Tensor, padding: int) -> Tensor:
    """Images [B, 3, H, W], each cropped at random to its own size from itself in a black frame.

    Args:
        images: Normalised.
        draws: Top and left [B, 2] of the crops, from 0 to 1.
        padding: The frame's width.
    """
    count, _, height, width = images.shape
    black = on_device(_BLACK, images.device)
    framed = black.repeat(count, 1, height + 2 * padding, width + 2 * padding)
    framed[:, :, padding:-padding, padding:-padding] = images
    windows = framed.unfold(2, height, 1).unfold(3, width, 1)
    top, left = (draws * (2 * padding + 1)).long().unbind(1)
    return windows[torch.arange(count, device=images.device), :, top, left]


def normalised(pixels: Tensor) -> Tensor:
    """Inputs [..., 3, H, W] of pixels from 0 to 255."""
    mean, deviation = (torch.tensor(x).view(3, 1, 1) for x in (MEAN, DEVIATION))
    return (pixels / 255 - mean) / deviation


_BLACK = normalised(torch.zeros(3, 1, 1)).numpy()


def columns(images: np.ndarray, labels: np.ndarray) -> Mapping[str, np.ndarray]:
    """The columns of a split, from pixels [N, 3, H, W], uint8, and labels [N]."""
    pixels = torch.from_numpy(np.array(images))
    return {"inputs": normalised(pixels).numpy(), "targets": np.array(labels)}
