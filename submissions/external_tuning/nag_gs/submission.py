"""NAG-GS: Nesterov's flow, discretised by Gauss-Seidel splitting."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from harness.spec import Hyperparameters
from submissions import recipe


class NagGs(torch.optim.Optimizer):
    """NAG-GS (Leplat et al. 2022, Algorithm 1).

    The weights x, where the gradient g is taken, follow a point v; at first v = x::

        b     <- lr mu / (lr mu + gamma)
        v     <- (1 - b) v + b x - lr g / (lr mu + gamma)
        a     <- lr / (1 + lr)
        gamma <- (1 - a) gamma + a mu
        x     <- (1 - a) x + a v

    Args:
        params: The parameters, or groups of them.
        lr: The step size, alpha in the paper.
        mu: The strong convexity that the flow assumes, where gamma goes; 0 or more.
        gamma: Where gamma starts; more is slower.
        weight_decay: Times the weights, added to the gradient.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        mu: float = 1.0,
        gamma: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "mu": mu, "gamma": gamma, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """One step; returns what the closure returned."""
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            self._update(params, group)
        return loss

    def _update(self, params: list[torch.Tensor], group: dict[str, Any]) -> None:
        if not params:
            return
        lr, mu, gamma = group["lr"], group["mu"], group["gamma"]
        gradients = [p.grad for p in params if p.grad is not None]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, params, alpha=group["weight_decay"]))
        for p in params:
            if "v" not in self.state[p]:
                self.state[p]["v"] = p.clone()
        ahead = [self.state[p]["v"] for p in params]
        total = lr * mu + gamma
        torch._foreach_lerp_(ahead, params, lr * mu / total)
        torch._foreach_sub_(ahead, gradients, alpha=lr / total)
        a = lr / (1 + lr)
        group["gamma"] = (1 - a) * gamma + a * mu
        torch._foreach_lerp_(params, ahead, a)


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """NAG-GS."""
    return NagGs(
        params,
        lr=hyperparameters.learning_rate,
        mu=hyperparameters.mu,
        gamma=hyperparameters.gamma,
        weight_decay=hyperparameters.weight_decay,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
