"""digits: handwritten digits, 8x8 pixels, classified by a small convolutional network."""

from __future__ import annotations

from torch import nn

from harness.spec import LossType
from workloads import demo_data
from workloads.arrays import ArrayWorkload, Splits, standardised_splits
from workloads.digits.model import ConvNet
from workloads.targets import read_targets


class Digits(ArrayWorkload):
    """Softmax cross-entropy on the 1,797 images of scikit-learn's `load_digits`.

    Data: Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI.
    """

    name = "digits"
    summary = "8x8 digit images (scikit-learn), small CNN with batch norm"
    suites = ("demo", "mini")

    loss_type = LossType.SOFTMAX_CROSS_ENTROPY
    target_metric_name = "accuracy"
    target_direction = "max"
    validation_target_value, test_target_value = read_targets(__file__, name)

    budget_steps = 1500
    eval_period_steps = 50
    step_hint = 1500

    num_train_examples = 1077
    num_eval_train_examples = 360
    num_validation_examples = 360
    num_test_examples = 360
    train_batch_size = 32
    eval_batch_size = 360

    def build_model(self) -> nn.Module:
        """The network, initialised from torch's default generator."""
        return ConvNet()

    def load(self) -> Splits:
        """Images [N, 1, 8, 8], standardised by the training mean and deviation of all pixels."""
        images, labels = demo_data.digits()
        return standardised_splits(images.reshape(-1, 1, 8, 8), labels, self.sizes, axis=None)
