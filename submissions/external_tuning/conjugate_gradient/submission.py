"""Nonlinear conjugate gradients of Fletcher and Reeves, or Polak and Ribière."""

from collections.abc import Iterable
from typing import Any

import torch

from harness.spec import Hyperparameters, Tensor
from submissions import whole_data
from submissions.finite_sums import Closure
from submissions.full_batch import FullBatch


class ConjugateGradient(FullBatch):
    """d <- -g + beta d, and x <- x + t d with the strong Wolfe conditions.

    beta is |g|^2 / |h|^2 for Fletcher and Reeves and max(0, g (g - h) / |h|^2) for Polak and
    Ribière, where h is the gradient of the step before (Nocedal and Wright 2006, section 5.2).
    Where d does not descend, it becomes -g.

    Args:
        params: The parameters, in one group.
        formula: "fletcher_reeves" or "polak_ribiere".
        lr: The first t of the first search; later ones begin where the first-order change of the
            loss would be that of the step before (eq. 3.60).
        c2: Of the strong Wolfe conditions; below 1/2, so that Fletcher and Reeves descend.
    """

    def __init__(
        self,
        params: Iterable[Any],
        formula: str = "polak_ribiere",
        lr: float = 1e-3,
        c2: float = 0.1,
    ) -> None:
        if formula not in ("fletcher_reeves", "polak_ribiere"):
            raise ValueError(f"formula must be fletcher_reeves or polak_ribiere, not {formula!r}")
        super().__init__(params, formula=formula, lr=lr, c2=c2)
        self.gradient: Tensor | None = None
        self.direction: Tensor | None = None
        self.last = 0.0  # t times the slope of the last step

    def update(self, closure: Closure) -> float:
        """One step; returns the loss before it."""
        (group,) = self.param_groups
        loss, gradient = self.value_and_gradient(closure)
        direction = -gradient
        if self.gradient is not None and self.direction is not None:
            change = gradient - self.gradient
            above = gradient @ (gradient if group["formula"] == "fletcher_reeves" else change)
            squared = self.gradient @ self.gradient
            if squared > 0:
                direction = direction + (above / squared).clamp(min=0) * self.direction
            if gradient @ direction >= 0:
                direction = -gradient
        slope = float(gradient @ direction)
        if slope == 0:
            return loss
        first = self.last / slope if self.last else group["lr"]
        t = self.wolfe_step(closure, loss, gradient, direction, first, group["c2"])
        self.last = t * slope
        self.gradient, self.direction = gradient, direction if t else None
        return loss


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, examples: int, seed: int
) -> torch.optim.Optimizer:
    """Conjugate gradients."""
    return ConjugateGradient(params, hyperparameters.formula, hyperparameters.learning_rate)


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    whole_data.submission(make_optimizer)
)
