"""cifar: AlgoPerf's development workload on CIFAR-10, and its mini."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from harness.spec import Batch, LossType, Progress
from workloads import prepared
from workloads.arrays import ArrayWorkload, Splits
from workloads.base import read_targets
from workloads.cifar import data
from workloads.cifar.shapes import RECIPE, SHAPES, shapes
from workloads.prefetch import on_device
from workloads.prepared import Part
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


def _columns(images: np.ndarray, labels: np.ndarray) -> Mapping[str, np.ndarray]:
    pixels = torch.from_numpy(np.array(images))
    return {"inputs": normalised(pixels).numpy(), "targets": np.array(labels)}


class Cifar(SmallImages):
    """CIFAR-10 as AlgoPerf v0.6 defines it: ResNet-18, splits, augmentation, targets, budget.

    The last 5,000 of the 50,000 training images validate.
    """

    name = "cifar"
    summary = "32x32 photographs of ten kinds (CIFAR-10 files in --data-dir), ResNet-18"
    data_source = data.SOURCE

    validation_target_value = 0.85
    test_target_value = 0.85
    max_allowed_runtime_sec = 3600.0
    eval_period_time_sec = 600.0
    step_hint = 4883
    compile_model = True

    num_train_examples = 45000
    num_eval_train_examples = 5120
    num_validation_examples = 5000
    num_test_examples = 10000
    train_batch_size = 128
    eval_batch_size = 1024

    padding = 4
    model_options: ClassVar[dict[str, Any]] = {"blocks": (2, 2, 2, 2), "classes": 10}

    def load(self) -> Splits:
        """Images [N, 3, 32, 32] and labels [N] of every split; raises DataError."""
        images, labels = data.read(self.data_dir, data.TRAIN_FILES)
        last = self.num_train_examples
        return {
            "train": _columns(images[:last], labels[:last]),
            "validation": _columns(images[last:], labels[last:]),
            "test": _columns(*data.read(self.data_dir, (data.TEST_FILE,))),
        }


class CifarMini(SmallImages):
    """The same on 16x16 images of coloured shapes, with a narrow ResNet."""

    name = "cifar_mini"
    summary = "16x16 images of ten coloured shapes (made here), narrow ResNet with batch norm"
    suites = ("mini",)
    validation_target_value, test_target_value = read_targets(__file__, name)

    budget_steps = 1400
    eval_period_steps = 174
    step_hint = 1400

    num_train_examples = 8192
    num_eval_train_examples = 512
    num_validation_examples = 1536
    num_test_examples = 1536
    train_batch_size = 32
    eval_batch_size = 512

    padding = 2
    size = 16  # pixels of an image's side
    model_options: ClassVar[dict[str, Any]] = {
        "blocks": (1, 1, 1, 1), "classes": len(SHAPES), "width": 8,
    }  # fmt: skip

    def load(self) -> Splits:
        """Images [N, 3, 16, 16] and labels [N]; made and cached on first use."""
        self.prepare_data()
        return {split: _columns(**prepared.read(self._folder, split)) for split in self.sizes}

    def check_data(self) -> None:
        """Nothing can be missing: the project makes this data itself."""

    def prepare_data(self, progress: Progress = lambda done, parts, name: None) -> None:
        """Makes the images, in seconds."""
        parts = [
            Part(split, f"{RECIPE}, {count}", partial(shapes, count, self.size, seed))
            for seed, (split, count) in enumerate(self.sizes.items())
        ]
        prepared.prepare(self._folder, parts, progress)

    @property
    def _folder(self) -> Path:
        return prepared.cache_folder() / self.name
