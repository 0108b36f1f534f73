"""SGD with a stochastic Armijo line search: the step size is found on the step's own batch."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

from harness.spec import Hyperparameters, Tensor
from submissions import recipe, schedules
from submissions.draws import same_draws


class ArmijoSGD(torch.optim.Optimizer):
    """SGD that searches its step size on the step's batch.

    The step size eta satisfies, with the batch's loss f and its gradient g at the weights w::

        f(w - eta g) <= f(w) - c eta |g|^2        (Vaswani et al. 2019, eq. 1)

    A step starts with `growth` times the step size that the last one found and shrinks it by
    `shrink` until this holds (Algorithm 1; Algorithm 2, option 2). The group's "lr" is the step
    size found last. The closure's loss must be that of all processes that train together, so that
    they find the same.

    Args:
        params: The parameters, in one group.
        lr: The first step size.
        c: How much of the decrease that the gradient promises must come true, in (0, 1).
        shrink: In (0, 1).
        growth: At least 1.
        largest: The step size grows no further.
        trials: So many step sizes are tried; then `smallest` is taken untried.
        smallest: As said.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        c: float = 0.1,
        shrink: float = 0.9,
        growth: float = 2 ** (1 / 500),
        largest: float = 10.0,
        trials: int = 100,
        smallest: float = 1e-6,
    ) -> None:
        defaults = {
            "lr": lr, "c": c, "shrink": shrink, "growth": growth, "largest": largest,
            "trials": trials, "smallest": smallest,
        }  # fmt: skip
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("the line search has one step size: give the parameters in one group")

    @torch.no_grad()
    def step(self, closure: Callable[..., Tensor]) -> float:  # type: ignore[override]
        """Searches and takes one step; returns the loss before it."""
        (group,) = self.param_groups
        repeated = same_draws(closure, group["params"][0].device)
        with torch.enable_grad():
            loss: float = repeated().item()
        params = [p for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in params]
        weights = [p.clone() for p in params]
        squared = sum(norm.item() ** 2 for norm in torch._foreach_norm(gradients))

        def move(step_size: float) -> None:
            torch._foreach_copy_(params, torch._foreach_add(weights, gradients, alpha=-step_size))

        step_size = min(group["lr"] * group["growth"], group["largest"])
        for _ in range(group["trials"]):
            move(step_size)
            found = repeated(backward=False).item()
            if found <= loss - group["c"] * step_size * squared or not math.isfinite(loss):
                break  # where the loss itself is lost there is nothing to search for
            step_size *= group["shrink"]
        else:
            step_size = group["smallest"]
            move(step_size)
        group["lr"] = step_size
        return loss


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """SGD with the line search, with the constants of the paper."""
    return ArmijoSGD(params)


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer, schedules.none, fixed={})
)
