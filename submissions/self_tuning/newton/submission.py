"""Newton's method with Armijo's line search, for small problems."""

from collections.abc import Iterable
from typing import Any

import torch

from harness.spec import Hyperparameters, Tensor
from submissions import whole_data
from submissions.finite_sums import Closure
from submissions.full_batch import FullBatch

MOST_PARAMETERS = 1000  # the Hessian of more would take too long


class Newton(FullBatch):
    """x <- x - t (H + tau I)^-1 g, with t by Armijo's backtracking from 1.

    tau is 0 where the Hessian H is positive definite, and otherwise the first of a growing sequence
    that makes it so (Nocedal and Wright 2006, algorithm 3.3).
    """

    def __init__(self, params: Iterable[Any]) -> None:
        super().__init__(params)
        count = len(self.x)
        if count > MOST_PARAMETERS:
            raise ValueError(
                f"Newton's method is for at most {MOST_PARAMETERS:,} parameters, not {count:,}"
            )

    def update(self, closure: Closure) -> float:
        """One step; returns the loss before it."""
        loss, gradient, hessian = self._derivatives(closure)
        direction = -torch.cholesky_solve(gradient[:, None], _definite(hessian))[:, 0]
        self.armijo_step(closure, loss, gradient, direction, 1.0)
        return loss

    def _derivatives(self, closure: Closure) -> tuple[float, Tensor, Tensor]:
        """The loss, its gradient [P] and its Hessian [P, P]."""
        params = self.param_groups[0]["params"]
        with torch.enable_grad():
            loss = closure(backward=False)
            parts = torch.autograd.grad(loss, params, create_graph=True)
            gradient = torch.cat([part.flatten() for part in parts])
            rows = []
            for entry in gradient:
                row = torch.autograd.grad(
                    entry, params, retain_graph=True, allow_unused=True, materialize_grads=True
                )
                rows.append(torch.cat([part.flatten() for part in row]))
        return loss.item(), gradient.detach(), torch.stack(rows)


def _definite(hessian: Tensor) -> Tensor:
    """The Cholesky factor of the Hessian plus as little of the identity as makes it definite."""
    smallest = float(hessian.diagonal().min())
    beta = 1e-3 * float(hessian.norm())
    tau = 0.0 if smallest > 0 else beta - smallest
    factor: Tensor
    while True:
        shifted = hessian + tau * torch.eye(len(hessian)).to(hessian)
        factor, failed = torch.linalg.cholesky_ex(shifted)
        if not failed:
            return factor
        tau = max(2 * tau, beta)


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, examples: int, seed: int
) -> torch.optim.Optimizer:
    """Newton's method."""
    return Newton(params)


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    whole_data.submission(make_optimizer, fixed={})
)
