"""NadamP: NadamW with a p-th root in place of the square root."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from harness.spec import Hyperparameters, Tensor
from submissions import recipe


class NAdamP(torch.optim.Optimizer):
    """NAdam (Dozat 2016) with a constant beta1, decoupled weight decay and a p-th root.

    At step t, with moments that begin at zero::

        m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g^2
        w = (1 - lr weight_decay) w
        w = w - lr (beta1 m + (1 - beta1) g) / (1 - beta1^t) / ((v / (1 - beta2^t))^(1/root) + eps)
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float],
        root: float,
        weight_decay: float,
        eps: float = 1e-8,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "root": root, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"eps": eps, "step": 0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns what the closure gave."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._step_group(group, params)
        return loss

    def _step_group(self, group: dict[str, Any], params: list[Tensor]) -> None:
        for p in params:
            if not self.state[p]:
                self.state[p] = {"m": torch.zeros_like(p), "v": torch.zeros_like(p)}
        first = [self.state[p]["m"] for p in params]
        second = [self.state[p]["v"] for p in params]
        gradients: list[Any] = [p.grad for p in params]
        (beta1, beta2), rate = group["betas"], group["lr"]
        group["step"] += 1
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        ahead = torch._foreach_lerp(first, gradients, 1 - beta1)
        below = torch._foreach_div(second, 1 - beta2 ** group["step"])
        torch._foreach_pow_(below, 1 / group["root"])
        torch._foreach_add_(below, group["eps"])
        torch._foreach_mul_(params, 1 - rate * group["weight_decay"])
        torch._foreach_addcdiv_(params, ahead, below, -rate / (1 - beta1 ** group["step"]))


def make_optimizer(
    params: Iterable[Tensor], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """NadamP; `root` is p, and 2 makes it NadamW."""
    return NAdamP(
        params,
        lr=hyperparameters.learning_rate,
        betas=(1 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        root=hyperparameters.root,
        weight_decay=hyperparameters.weight_decay,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
