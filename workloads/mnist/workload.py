"""mnist: AlgoPerf's development workload."""

from __future__ import annotations

import numpy as np
from torch import nn

from harness.spec import LossType
from workloads.arrays import ArrayWorkload, Splits
from workloads.mnist.data import SOURCE, read
from workloads.mnist.model import MLP


class Mnist(ArrayWorkload):
    """MNIST as AlgoPerf v0.6 defines it: model, splits, pixels, targets, budget.

    Kept as they are there: pixels 0..255 are shifted and scaled by 0.1307 and 0.3081, numbers meant
    for pixels 0..1, so that the target is out of reach (`target_remark`); `is_output_params` knows
    the last layer's weight but not its bias.
    """

    name = "mnist"
    summary = "28x28 digit images (IDX files in --data-dir), MLP 784-128-10"
    data_source = SOURCE

    loss_type = LossType.SOFTMAX_CROSS_ENTROPY
    target_metric_name = "accuracy"
    target_direction = "max"
    validation_target_value = 0.97
    target_remark = (
        "no optimizer tried reaches it: "
        "AlgoPerf scales pixels 0 to 255 by constants made for 0 to 1"
    )
    test_target_value = 0.97

    max_allowed_runtime_sec = 60.0
    eval_period_time_sec = 10.0
    step_hint = 7813
    compile_model = True

    num_train_examples = 50000
    num_eval_train_examples = 10000
    num_validation_examples = 10000
    num_test_examples = 10000
    train_batch_size = 16
    eval_batch_size = 10000

    def build_model(self) -> nn.Module:
        """The network, initialised from torch's default generator."""
        return MLP()

    def is_output_params(self, param_key: str) -> bool:
        """As in AlgoPerf, where a typo leaves out the bias."""
        return param_key == "net.layer2.weight"

    def load(self) -> Splits:
        """Images [N, 1, 28, 28]; the last 10,000 of the 60,000 training images validate."""
        images, labels = _read_split(self, "train")
        test_images, test_labels = _read_split(self, "t10k")
        last = self.num_train_examples
        return {
            "train": {"inputs": images[:last], "targets": labels[:last]},
            "validation": {"inputs": images[last:], "targets": labels[last:]},
            "test": {"inputs": test_images, "targets": test_labels},
        }


def _read_split(workload: Mnist, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    pixels = read(workload.files, f"{prefix}-images-idx3-ubyte").astype(np.float32)
    labels = read(workload.files, f"{prefix}-labels-idx1-ubyte").astype(np.int64)
    return ((pixels - 0.1307) / 0.3081)[:, None].astype(np.float32), labels
