"""Gradient descent on all examples, with a constant step or a line search."""

from collections.abc import Iterable
from typing import Any

import torch

from harness.spec import Hyperparameters
from submissions import whole_data
from submissions.finite_sums import Closure
from submissions.full_batch import FullBatch


class GradientDescent(FullBatch):
    """x <- x - t g, where g is the full gradient.

    Args:
        params: The parameters, in one group.
        lr: t, or the first t that the first search tries; later ones begin with twice the last t.
        search: "constant", "armijo" or "wolfe" (the strong conditions, c2 = 0.9).
    """

    def __init__(self, params: Iterable[Any], lr: float, search: str = "constant") -> None:
        if search not in ("constant", "armijo", "wolfe"):
            raise ValueError(f"search must be constant, armijo or wolfe, not {search!r}")
        super().__init__(params, lr=lr, search=search)
        self.last = lr / 2

    def update(self, closure: Closure) -> float:
        """One step; returns the loss before it."""
        (group,) = self.param_groups
        loss, gradient = self.value_and_gradient(closure)
        if group["search"] == "constant":
            self.x = self.x - group["lr"] * gradient
            return loss
        if group["search"] == "armijo":
            t = self.armijo_step(closure, loss, gradient, -gradient, 2 * self.last)
        else:
            t = self.wolfe_step(closure, loss, gradient, -gradient, 2 * self.last, 0.9)
        self.last = t or self.last
        return loss


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, examples: int, seed: int
) -> torch.optim.Optimizer:
    """Gradient descent."""
    return GradientDescent(params, hyperparameters.learning_rate, hyperparameters.search)


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    whole_data.submission(make_optimizer)
)
