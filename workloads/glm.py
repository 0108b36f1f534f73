"""Generalised linear models with a known optimum: the model, its loss, Newton's method.

Shapes: N examples, B of them in a batch, D features, P = D or D + 1 parameters.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import nn

from harness.spec import Batch, LossType, Tensor
from workloads.arrays import ArrayWorkload
from workloads.losses import ELEMENTWISE

NEWTON_STEPS = 100


class LinearModel(nn.Module):
    """A linear predictor that carries its own l2 penalty, so that every loss includes it.

    Args:
        num_features: D, the number of features.
        l2: The penalty is l2 / 2 times the squared norm of weights and bias.
        bias: Whether there is one.
    """

    def __init__(self, num_features: int, l2: float, *, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, 1, bias=bias)
        self.l2 = l2

    def forward(self, x_bd: Tensor) -> Tensor:
        """The prediction for each example [B, 1]; with a penalty [B, 2], the penalty repeated."""
        predictions_b1: Tensor = self.linear(x_bd)
        if not self.l2:
            return predictions_b1
        squares = self.linear.weight.square().sum()
        if self.linear.bias is not None:
            squares = squares + self.linear.bias.square().sum()
        penalty = self.l2 / 2 * squares
        return torch.cat((predictions_b1, penalty.expand_as(predictions_b1)), dim=1)


class GeneralizedLinear(ArrayWorkload):
    """A generalised linear model, whose training objective is the loss that is validated.

    The loss of an example with prediction z and target t is log(1 + e^z) - t z where the loss type
    is sigmoid cross-entropy, and `scale` (z - t)^2 where it is mean squared error; plus the
    penalty.

    Attributes:
        l2: The penalty is l2 / 2 times the squared norm of all parameters.
        bias: Whether the model has one.
        scale: Factor of the squared error.
    """

    l2: float = 0.0
    bias: bool = True
    scale: float = 1.0

    def losses(
        self, labels: Tensor, logits: Tensor, label_smoothing: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """The loss plus the penalty, of logits [B, 1] or [B, 2] as the model gives them."""
        function = ELEMENTWISE[self.loss_type]
        arguments = (logits[:, 0], labels[:, 0])
        summed = function(*arguments, reduction="sum")
        losses = function(*arguments, reduction="none")
        if self.loss_type is LossType.MEAN_SQUARED_ERROR:
            summed, losses = self.scale * summed, self.scale * losses
        if self.l2:
            penalty = logits[:, 1]
            summed, losses = summed + penalty.sum(), losses + penalty
        return summed, losses

    def per_example_metrics(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """The objective [B] and, where targets are two classes, the accuracy [B]."""
        labels = batch["targets"]
        _, losses = self.losses(labels, logits)
        if self.loss_type is not LossType.SIGMOID_CROSS_ENTROPY:
            return {"loss": losses}
        correct = (logits[:, 0] > 0) == (labels[:, 0] > 0.5)
        return {"loss": losses, "accuracy": correct.float()}

    def objective(self, split: str = "train") -> Objective:
        """The mean loss over a split in float64, as a function of the parameters."""
        columns = self.load()[split]
        x_nd = np.asarray(columns["inputs"], float)
        if self.bias:
            x_nd = np.hstack([x_nd, np.ones((len(x_nd), 1))])
        logistic = self.loss_type is LossType.SIGMOID_CROSS_ENTROPY
        targets_n = np.asarray(columns["targets"], float)[:, 0]
        return Objective(x_nd, targets_n, self.l2, logistic=logistic, scale=self.scale)

    @cached_property
    def minimiser(self) -> np.ndarray:
        """The parameters [P] at the minimum of the training objective; weights, then the bias."""
        return self.objective().minimiser()


class Objective:
    """The mean loss plus penalty of a generalised linear model, in float64.

    Args:
        x_np: Features [N, P], with a column of ones where the model has a bias.
        targets_n: Targets [N].
        l2: The penalty is l2 / 2 times the squared norm of the parameters.
        logistic: Whether the loss is sigmoid cross-entropy; else it is scale (z - t)^2.
        scale: Factor of the squared error.
    """

    def __init__(
        self, x_np: np.ndarray, targets_n: np.ndarray, l2: float, *, logistic: bool, scale: float
    ) -> None:
        self.x_np, self.targets_n, self.l2 = x_np, targets_n, l2
        self.logistic, self.scale = logistic, scale

    def value(self, w_p: np.ndarray) -> float:
        """The objective at parameters [P]."""
        z_n = self.x_np @ w_p
        if self.logistic:
            losses_n = np.logaddexp(0, z_n) - self.targets_n * z_n
        else:
            losses_n = self.scale * (z_n - self.targets_n) ** 2
        return float(np.mean(losses_n) + self.l2 / 2 * w_p @ w_p)

    def example_gradients(self, w_p: np.ndarray) -> np.ndarray:
        """The gradient of every example's loss plus penalty at parameters [P]: [N, P]."""
        slopes_n = self._slopes(self.x_np @ w_p)
        gradients_np: np.ndarray = slopes_n[:, None] * self.x_np + self.l2 * w_p
        return gradients_np

    def gradient(self, w_p: np.ndarray) -> np.ndarray:
        """The gradient [P]."""
        slopes_n = self._slopes(self.x_np @ w_p)
        gradient_p: np.ndarray = self.x_np.T @ slopes_n / len(slopes_n) + self.l2 * w_p
        return gradient_p

    def hessian(self, w_p: np.ndarray) -> np.ndarray:
        """The matrix of second derivatives [P, P]."""
        if self.logistic:
            p_n = _sigmoid(self.x_np @ w_p)
            curvature_n = p_n * (1 - p_n)
        else:
            curvature_n = np.full(len(self.x_np), 2 * self.scale)
        data_pp = self.x_np.T @ (curvature_n[:, None] * self.x_np) / len(self.x_np)
        hessian_pp: np.ndarray = data_pp + self.l2 * np.eye(len(w_p))
        return hessian_pp

    def smoothness(self) -> np.ndarray:
        """The Lipschitz constants [N] of the gradients of the examples' losses."""
        largest = 0.25 if self.logistic else 2 * self.scale
        constants_n: np.ndarray = largest * np.square(self.x_np).sum(1) + self.l2
        return constants_n

    def minimiser(self) -> np.ndarray:
        """The parameters [P] at the minimum, by Newton's method with backtracking, from 0."""
        w_p = np.zeros(self.x_np.shape[1])
        value = self.value(w_p)
        for _ in range(NEWTON_STEPS):
            step_p = np.linalg.solve(self.hessian(w_p), self.gradient(w_p))
            length = 1.0
            while self.value(w_p - length * step_p) > value and length > 1e-10:
                length /= 2
            if length <= 1e-10:  # rounding: there is no lower value
                return w_p
            w_p = w_p - length * step_p
            if np.linalg.norm(length * step_p) <= 1e-15 * np.linalg.norm(w_p):
                return w_p
            value = self.value(w_p)
        return w_p

    def _slopes(self, z_n: np.ndarray) -> np.ndarray:
        """The derivative of each example's loss by its prediction [N]."""
        factor, means_n = (1.0, _sigmoid(z_n)) if self.logistic else (2 * self.scale, z_n)
        slopes_n: np.ndarray = factor * (means_n - self.targets_n)
        return slopes_n


def _sigmoid(z_n: np.ndarray) -> np.ndarray:
    probabilities_n: np.ndarray = 1 / (1 + np.exp(-z_n))
    return probabilities_n
