"""imagenet_resnet and imagenet_vit, their v0.5 variants, and their minis."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from harness.spec import Progress
from workloads import prepared
from workloads.base import read_targets
from workloads.imagenet import transforms
from workloads.imagenet.classification import ImageClassification
from workloads.imagenet.digits import RECIPE, SIZE, distorted_digits
from workloads.imagenet.loading import ArrayImages, Images
from workloads.imagenet.transforms import Transform
from workloads.imagenet.vit import Config, ViT
from workloads.prepared import Part
from workloads.resnet import ResNet


class DistortedDigits(ImageClassification):
    """What the minis share: scikit-learn's digits at 32x32 pixels, see `workloads.imagenet.digits`.

    Each split has originals of its own; each comes in several distorted versions.

    Attributes:
        strength: Of the distortion.
    """

    num_classes = 10
    strength: float

    num_train_examples = 8616
    num_eval_train_examples = 360
    num_validation_examples = 1080
    num_test_examples = 1080
    train_batch_size = 32
    eval_batch_size = 360

    @property
    def sizes(self) -> dict[str, int]:
        """How many examples each split has."""
        return {
            "train": self.num_train_examples,
            "validation": self.num_validation_examples,
            "test": self.num_test_examples,
        }

    def eval_transform(self, split: str) -> Transform:
        """None."""
        return transforms.unchanged

    def load(self) -> Mapping[str, Images]:
        """The images of every split; made and cached on first use."""
        self.prepare_data()
        return {split: ArrayImages(**prepared.read(self._folder, split)) for split in self.sizes}

    def prepare_data(self, progress: Progress = lambda done, parts, name: None) -> None:
        """Makes the images, in seconds."""
        parts = [
            Part(split, f"{RECIPE}, {self.strength}", partial(self._make, split, seed))
            for seed, split in enumerate(self.sizes)
        ]
        prepared.prepare(self._folder, parts, progress)

    @property
    def _folder(self) -> Path:
        return prepared.cache_folder() / self.name

    def _make(self, split: str, seed: int) -> dict[str, np.ndarray]:
        return distorted_digits(split, self.sizes[split], seed, self.strength)


class ImagenetResnetMini(DistortedDigits):
    """The same on distorted digits, with a small ResNet."""

    name = "imagenet_resnet_mini"
    summary = "32x32 distorted digits (made of scikit-learn's), small ResNet with batch norm"
    suites = ()  # "mini" once it has a target: chronograd calibrate
    validation_target_value, test_target_value = read_targets(__file__, name)

    budget_steps = 1100
    eval_period_steps = 136
    step_hint = 1100

    strength = 1.0

    def train_transform(self) -> Transform:
        """A random crop."""
        return transforms.training(SIZE, area=(0.6, 1.0), flip=False)

    def build_model(self) -> nn.Module:
        """The ResNet, initialised from torch's default generator."""
        return ResNet(blocks=(1, 1, 1), classes=self.num_classes, width=16)


class ImagenetVitMini(DistortedDigits):
    """The same on distorted digits, with a small ViT, RandAugment and mixup."""

    name = "imagenet_vit_mini"
    summary = "32x32 distorted digits (made of scikit-learn's), small ViT, RandAugment, mixup"
    suites = ()  # "mini" once it has a target: chronograd calibrate
    validation_target_value, test_target_value = read_targets(__file__, name)

    budget_steps = 1500
    eval_period_steps = 187
    step_hint = 1500

    strength = 0.15
    mixup_alpha = 0.2
    dropout_rate = 0.0

    def train_transform(self) -> Transform:
        """A random crop and an operation of RandAugment."""
        return transforms.training(SIZE, area=(0.9, 1.0), flip=False, operations=1)

    def build_model(self) -> nn.Module:
        """The ViT, initialised from torch's default generator."""
        return ViT(Config(patch=4, width=32, depth=2, mlp=64, heads=2, classes=self.num_classes))
