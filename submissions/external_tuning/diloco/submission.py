"""DiLoCo with one worker: AdamW inside, Nesterov momentum on what several of its steps moved."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from harness.spec import Hyperparameters, Tensor
from submissions import recipe


class DiLoCo(Optimizer):
    """DiLoCo (Douillard et al. 2023, algorithm 1) with one worker.

    After every `period` steps of the inner method, from the weights a where these began::

        d = a - w
        b = momentum * b + d
        a = a - outer_lr * (d + momentum * b)
        w = a

    The inner method's state stays as it is. Evaluations between see the inner weights.

    Args:
        inner: The method whose steps are followed.
        outer_lr: The outer learning rate, which no schedule changes.
        momentum: Nesterov's, in [0, 1).
        period: Inner steps of a round.
    """

    def __init__(self, inner: Optimizer, outer_lr: float, momentum: float, period: int) -> None:
        super().__init__(inner.param_groups, inner.defaults)  # takes over the groups themselves
        self.inner, self.state = inner, inner.state
        self.period, self.steps = period, 0
        weights = [p for group in self.param_groups for p in group["params"]]
        self.anchors = [p.detach().clone() for p in weights]
        self.outer = torch.optim.SGD(self.anchors, lr=outer_lr, momentum=momentum, nesterov=True)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of the inner method, and at the end of a round the outer one."""
        loss = self.inner.step(closure)
        self.steps += 1
        if self.steps % self.period == 0:
            self._outer_step()
        return loss

    @torch.no_grad()
    def _outer_step(self) -> None:
        weights = [p for group in self.param_groups for p in group["params"]]
        for anchor, p in zip(self.anchors, weights, strict=True):
            anchor.grad = anchor - p
        self.outer.step()
        self.outer.zero_grad()
        for anchor, p in zip(self.anchors, weights, strict=True):
            p.copy_(anchor)


def make_optimizer(
    params: Iterable[Tensor], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """AdamW inside; a round takes `round_factor` of the horizon, one step at least."""
    inner = torch.optim.AdamW(
        params,
        lr=hyperparameters.learning_rate,
        betas=(1 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        weight_decay=hyperparameters.weight_decay,
    )
    period = max(1, round(hyperparameters.round_factor * horizon))
    return DiLoCo(
        inner, hyperparameters.outer_learning_rate, hyperparameters.outer_momentum, period
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
