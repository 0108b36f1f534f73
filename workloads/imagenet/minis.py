"""What imagenet_resnet_mini and imagenet_vit_mini share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from harness.spec import Progress
from workloads import prepared
from workloads.imagenet import transforms
from workloads.imagenet.digits import RECIPE, distorted_digits
from workloads.imagenet.loading import DecodedImages, Images
from workloads.imagenet.task import ImageClassification
from workloads.imagenet.transforms import Transform
from workloads.prepared import Part


class DistortedDigits(ImageClassification):
    """scikit-learn's digits at 32x32 pixels, see `workloads.imagenet.digits`.

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

    def eval_transform(self, split: str) -> Transform:
        """None."""
        return transforms.unchanged

    def load(self) -> Mapping[str, Images]:
        """The images of every split; made and cached on first use."""
        self.prepare_data()
        splits = {}
        for split in self.sizes:
            arrays = prepared.read(self._folder, split)
            images = [Image.fromarray(pixels) for pixels in arrays["pixels"]]
            splits[split] = DecodedImages(images, arrays["labels"])
        return splits

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
