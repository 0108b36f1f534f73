"""SVRG: gradients whose variance vanishes with the distance from a snapshot."""

from collections.abc import Iterable
from typing import Any

import torch

from harness.spec import Hyperparameters, Tensor
from submissions import whole_data
from submissions.finite_sums import Closure, FiniteSum


class SVRG(FiniteSum):
    """SVRG (Johnson, Zhang 2013): x <- x - a (grad f_i(x) - grad f_i(s) + grad f(s)).

    Every m steps the snapshot s becomes x (the paper's option I), and the full gradient is taken
    there.

    Args:
        params: The parameters, in one group.
        examples: n.
        seed: Seed of the draws.
        step_factor: The step size is this over L.
        smoothness: L; 0 to search it.
        period: m over n.
    """

    def __init__(
        self,
        params: Iterable[Any],
        examples: int,
        seed: int,
        step_factor: float,
        smoothness: float | Tensor = 0.0,
        period: float = 2.0,
    ) -> None:
        super().__init__(params, examples, seed, step_factor, smoothness)
        self.period = max(1, round(period * examples))
        self.steps = 0

    def update(self, closure: Closure) -> float:
        """Takes a snapshot if it is time, draws an example, and moves."""
        if self.steps % self.period == 0:
            _, full = self.gradients(closure)
            for p, gradient in zip(self.params, full, strict=True):
                self.state[p].update(snapshot=p.clone(), full=gradient)
        self.steps += 1
        index = self.draw()
        loss, gradients = self.gradients(closure, index)
        self.search(closure, index, loss, gradients)
        weights = [p.clone() for p in self.params]
        torch._foreach_copy_(self.params, [self.state[p]["snapshot"] for p in self.params])
        _, earlier = self.gradients(closure, index)
        directions = [
            gradient - old + self.state[p]["full"]
            for p, gradient, old in zip(self.params, gradients, earlier, strict=True)
        ]
        moved = torch._foreach_add(weights, directions, alpha=-self.step_size)
        torch._foreach_copy_(self.params, moved)
        self.relax()
        return loss


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, examples: int, seed: int
) -> torch.optim.Optimizer:
    """SVRG with a search for L."""
    return SVRG(
        params,
        examples,
        seed,
        step_factor=hyperparameters.step_factor,
        period=hyperparameters.period,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    whole_data.submission(make_optimizer)
)
