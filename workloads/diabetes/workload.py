"""diabetes: the progression of a disease, predicted by a multilayer perceptron."""

from __future__ import annotations

import numpy as np
from torch import nn

from harness.spec import LossType
from workloads import demo_data
from workloads.arrays import ArrayWorkload, Splits, standardised_splits
from workloads.diabetes.model import MLP
from workloads.targets import read_targets


class Diabetes(ArrayWorkload):
    """Mean squared error on scikit-learn's `load_diabetes`, the outcome standardised too.

    Data: Efron, Hastie, Johnstone and Tibshirani (2004), Least Angle Regression, Annals of
    Statistics 32(2).
    """

    name = "diabetes"
    summary = "10 features of 442 patients (scikit-learn), MLP regression"
    suites = ("demo", "mini")

    loss_type = LossType.MEAN_SQUARED_ERROR
    target_metric_name = "loss"
    target_direction = "min"
    validation_target_value, test_target_value = read_targets(__file__, name)

    budget_steps = 1500
    eval_period_steps = 25
    step_hint = 1500

    num_train_examples = 266
    num_eval_train_examples = 266
    num_validation_examples = 88
    num_test_examples = 88
    train_batch_size = 64
    eval_batch_size = 266

    def build_model(self) -> nn.Module:
        """The network, initialised from torch's default generator."""
        return MLP()

    def load(self) -> Splits:
        """Features [N, 10] and outcomes [N, 1], standardised by the training examples."""
        features, outcomes = demo_data.diabetes()
        table = np.hstack([features, outcomes[:, None]])
        parts = standardised_splits(table, outcomes, self.sizes, axis=0)
        return {
            name: {
                "inputs": part["inputs"][:, :-1].copy(),
                "targets": part["inputs"][:, -1:].copy(),
            }
            for name, part in parts.items()
        }
