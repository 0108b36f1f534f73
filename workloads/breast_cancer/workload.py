"""breast_cancer: l2-regularised logistic regression, a strongly convex problem."""

from __future__ import annotations

import numpy as np
from torch import nn

from harness.spec import LossType
from workloads import demo_data
from workloads.arrays import standardised_splits
from workloads.glm import GeneralizedLinear, LinearModel
from workloads.targets import read_targets


class BreastCancer(GeneralizedLinear):
    """Sigmoid cross-entropy plus l2 / 2 ||w||^2 on scikit-learn's `load_breast_cancer`.

    A pure problem of optimisation: what is validated is the training objective itself, so the
    validation split holds the training examples; a fifth of the data is held out for the test
    split. (Held-out examples would not do: gradient descent passes below their loss at the optimum
    while the training objective is still 12% above its own.) The objective is strongly convex, with
    one minimum F*, and the target is F* (1 + relative_precision). Weights and bias are both
    penalised, and the penalty is part of every loss.

    Data: Street, Wolberg and Mangasarian (1993), Breast Cancer Wisconsin (Diagnostic), UCI.
    """

    name = "breast_cancer"
    summary = "30 features of 569 tumours (scikit-learn), l2-regularised logistic regression"
    suites = ("demo", "mini")

    loss_type = LossType.SIGMOID_CROSS_ENTROPY
    target_metric_name = "loss"
    target_direction = "min"
    validation_target_value, test_target_value = read_targets(__file__, name)

    budget_steps = 3000
    eval_period_steps = 100
    step_hint = 3000

    num_train_examples = 455
    num_eval_train_examples = 455
    num_validation_examples = 455
    num_test_examples = 114
    train_batch_size = 32
    eval_batch_size = 455

    l2 = 0.01
    relative_precision = 0.001

    def build_model(self) -> nn.Module:
        """The regression, initialised from torch's default generator."""
        return LinearModel(num_features=30, l2=self.l2)

    def load(self) -> dict[str, dict[str, np.ndarray]]:
        """Features [N, 30], each standardised by its training mean and deviation; labels [N, 1]."""
        features, labels = demo_data.breast_cancer()
        sizes = {"train": self.num_train_examples, "test": self.num_test_examples}
        splits = standardised_splits(features, labels.astype(np.float32)[:, None], sizes, axis=0)
        return {**splits, "validation": splits["train"]}

    def optimum(self) -> dict[str, float]:
        """The objective at w*, found by Newton's method in float64, and the targets from it."""
        at = {split: self.objective(split).value(self.minimiser) for split in self.splits}
        gradient = self.objective().gradient(self.minimiser)
        return {
            "validation": at["validation"] * (1 + self.relative_precision),
            "test": at["test"] * (1 + self.relative_precision),
            "relative_precision": self.relative_precision,
            "optimum": at["validation"],
            "gradient_norm_at_optimum": float(np.linalg.norm(gradient)),
        }
