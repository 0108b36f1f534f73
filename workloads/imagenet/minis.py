"""What imagenet_resnet_mini and imagenet_vit_mini share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from PIL import Image

from workloads.imagenet import transforms
from workloads.imagenet.digits import RECIPE, distorted_digits
from workloads.imagenet.loading import DecodedImages, Images
from workloads.imagenet.task import ImageClassification
from workloads.imagenet.transforms import Transform
from workloads.parts import Part


class DistortedDigits(ImageClassification):
    """scikit-learn's digits at 32x32 pixels, see `workloads.imagenet.digits`.

    Each split has its own originals; each comes in several distorted versions.

    Attributes:
        strength: The strength of the distortion, from 0 to 1.
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
        """The images of every split."""
        splits = {}
        for split in self.sizes:
            arrays = self.read(split)
            images = [Image.fromarray(pixels) for pixels in arrays["pixels"]]
            splits[split] = DecodedImages(images, arrays["labels"])
        return splits

    def parts(self) -> list[Part]:
        """The images of each split, made in seconds."""
        return [
            Part(
                split,
                f"{RECIPE}, {self.strength}",
                partial(distorted_digits, split, count, seed, self.strength),
            )
            for seed, (split, count) in enumerate(self.sizes.items())
        ]
