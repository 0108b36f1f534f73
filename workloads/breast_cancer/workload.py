"""breast_cancer: l2-regularised logistic regression, a strongly convex problem."""

from __future__ import annotations

import numpy as np
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from harness.spec import Batch, LossType, Tensor
from workloads import demo_data
from workloads.arrays import ArrayWorkload, standardised_splits
from workloads.breast_cancer.model import LogisticRegression
from workloads.targets import read_targets


class BreastCancer(ArrayWorkload):
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
        return LogisticRegression(num_features=30, l2=self.l2)

    def load(self) -> dict[str, dict[str, np.ndarray]]:
        """Features [N, 30], each standardised by its training mean and deviation; labels [N, 1]."""
        features, labels = demo_data.breast_cancer()
        sizes = {"train": self.num_train_examples, "test": self.num_test_examples}
        splits = standardised_splits(features, labels.astype(np.float32)[:, None], sizes, axis=0)
        return {**splits, "validation": splits["train"]}

    def losses(
        self, labels: Tensor, logits: Tensor, label_smoothing: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy plus penalty, from logits [B, 2] as the model gives them."""
        arguments, penalty = (logits[:, 0], labels[:, 0]), logits[:, 1]
        summed = F.binary_cross_entropy_with_logits(*arguments, reduction="sum")
        losses = F.binary_cross_entropy_with_logits(*arguments, reduction="none")
        return summed + penalty.sum(), losses + penalty

    def per_example_metrics(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """The objective and the accuracy, [B] each."""
        labels = batch["targets"]
        _, losses = self.losses(labels, logits)
        correct = (logits[:, 0] > 0) == (labels[:, 0] > 0.5)
        return {"loss": losses, "accuracy": correct.float()}

    def optimum(self) -> dict[str, float]:
        """The objective at w*, found by Newton's method in float64, and the targets from it."""
        from scipy import optimize

        splits = {
            name: (part["inputs"].astype(float), part["targets"][:, 0])
            for name, part in self.load().items()
        }
        minimiser = optimize.minimize(
            lambda w: _objective(w, *splits["train"], self.l2),
            np.zeros(31),
            jac=lambda w: _gradient(w, *splits["train"], self.l2),
            hess=lambda w: _hessian(w, *splits["train"], self.l2),
            method="trust-exact",
            options={"gtol": 1e-12},
        ).x
        gradient = _gradient(minimiser, *splits["train"], self.l2)
        at = {name: _objective(minimiser, x, y, self.l2) for name, (x, y) in splits.items()}
        return {
            "validation": at["validation"] * (1 + self.relative_precision),
            "test": at["test"] * (1 + self.relative_precision),
            "relative_precision": self.relative_precision,
            "optimum": at["validation"],
            "gradient_norm_at_optimum": float(np.linalg.norm(gradient)),
        }


def _with_ones(x: np.ndarray) -> np.ndarray:
    return np.hstack([x, np.ones((len(x), 1))])


def _objective(w: np.ndarray, x: np.ndarray, y: np.ndarray, l2: float) -> float:
    """The regularised loss at w = (weights, bias) [31], for features [N, 30] and labels [N]."""
    logits = _with_ones(x) @ w
    return float(np.mean(np.logaddexp(0, logits) - y * logits) + l2 / 2 * w @ w)


def _gradient(w: np.ndarray, x: np.ndarray, y: np.ndarray, l2: float) -> np.ndarray:
    inputs = _with_ones(x)
    probabilities = 1 / (1 + np.exp(-inputs @ w))
    gradient: np.ndarray = inputs.T @ (probabilities - y) / len(y) + l2 * w
    return gradient


def _hessian(w: np.ndarray, x: np.ndarray, y: np.ndarray, l2: float) -> np.ndarray:
    inputs = _with_ones(x)
    probabilities = 1 / (1 + np.exp(-inputs @ w))
    curvature = (probabilities * (1 - probabilities))[:, None]
    hessian: np.ndarray = inputs.T @ (curvature * inputs) / len(y) + l2 * np.eye(len(w))
    return hessian
