"""logistic_regression, least_squares and least_squares_interpolating.

Shapes: N examples, D features.
"""

from __future__ import annotations

import numpy as np

from harness.spec import LossType
from workloads.arrays import Columns
from workloads.linear_models.task import EXAMPLES, FEATURES, LeastSquares, LinearProblem


class LogisticRegression(LinearProblem):
    """mu/2 |x|^2 + 1/m sum_i log(1 + exp(-y_i <a_i, x>)), m = 200, mu = 1: strongly convex.

    Features are normal, labels y drawn with the logistic probabilities of a normal x. Every
    example's loss includes the penalty, so that its gradient is Lipschitz with
    L_i = mu + |a_i|^2 / 4.
    """

    name = "logistic_regression"
    summary = "l2-regularised logistic regression, 200 normal examples of 10 features"
    suites = ("classic",)

    loss_type = LossType.SIGMOID_CROSS_ENTROPY
    validation_target_value = 1e-4
    target_remark = "minimum by Newton's method"
    l2 = 1.0

    def columns(self) -> Columns:
        """Features [N, D] and labels [N, 1], 0 for y = -1 and 1 for y = 1."""
        generator = np.random.default_rng(0)
        features_nd = generator.standard_normal((EXAMPLES, FEATURES))
        answers_n = features_nd @ generator.standard_normal(FEATURES)
        labels_n = generator.random(EXAMPLES) < 1 / (1 + np.exp(-answers_n))
        return {"inputs": features_nd, "targets": labels_n.astype(float)[:, None]}


class NoisyLeastSquares(LeastSquares):
    """Least squares with noise: SGD with a constant step does not converge, whatever the step."""

    name = "least_squares"
    summary = "least squares with noise, rows of unequal norm, 200 examples of 10 features"
    suites = ("classic",)

    validation_target_value = 1e-4
    target_remark = "minimum by the normal equations"
    noise = 1.0


class InterpolatingLeastSquares(LeastSquares):
    """The same rows without noise: one x solves every equation, and SGD converges to it."""

    name = "least_squares_interpolating"
    summary = "least squares without noise, rows of unequal norm, 200 examples of 10 features"
    suites = ("classic",)

    validation_target_value = 1e-8
    target_remark = "minimum 0"
    noise = 0.0
