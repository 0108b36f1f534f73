"""cifar: AlgoPerf's development workload on CIFAR-10, and its mini."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from workloads.arrays import Splits
from workloads.cifar import data
from workloads.cifar.shapes import RECIPE, SHAPES, shapes
from workloads.cifar.task import SmallImages, columns
from workloads.parts import Part
from workloads.prepared import PreparedWorkload
from workloads.targets import read_targets


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
        images, labels = data.read(self.files, data.TRAIN_FILES)
        last = self.num_train_examples
        return {
            "train": columns(images[:last], labels[:last]),
            "validation": columns(images[last:], labels[last:]),
            "test": columns(*data.read(self.files, (data.TEST_FILE,))),
        }


class CifarMini(PreparedWorkload, SmallImages):
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
        """Images [N, 3, 16, 16] and labels [N] of every split."""
        return {split: columns(**self.read(split)) for split in self.sizes}

    def parts(self) -> list[Part]:
        """The images of each split, made in seconds."""
        return [
            Part(split, f"{RECIPE}, {count}", partial(shapes, count, self.size, seed))
            for seed, (split, count) in enumerate(self.sizes.items())
        ]
