"""SAGA: an unbiased gradient of low variance, from a table of the examples' earlier gradients."""

from collections.abc import Iterable
from typing import Any

import torch

from harness.spec import Hyperparameters
from submissions import whole_data
from submissions.finite_sums import Closure, FiniteSum


class SAGA(FiniteSum):
    """SAGA (Defazio, Bach, Lacoste-Julien 2014): x <- x - a (new g_i - old g_i + mean of old g_j).

    The table begins with the gradients at the start; 1/3 over L is the theory's step size.
    """

    def update(self, closure: Closure) -> float:
        """Draws an example, moves, and replaces its gradient in the table."""
        if not self.state:
            self._begin(closure)
        index = self.draw()
        loss, gradients = self.gradients(closure, index)
        self.search(closure, index, loss, gradients)
        size = self.step_size
        for p, gradient in zip(self.params, gradients, strict=True):
            state = self.state[p]
            change = gradient - state["table"][index]
            p.sub_(change + state["sum"] / self.examples, alpha=size)
            state["sum"] += change
            state["table"][index] = gradient
        self.relax()
        return loss

    def _begin(self, closure: Closure) -> None:
        for p in self.params:
            self.state[p]["table"] = p.new_zeros((self.examples, *p.shape))
        for index in range(self.examples):
            _, gradients = self.gradients(closure, index)
            for p, gradient in zip(self.params, gradients, strict=True):
                self.state[p]["table"][index] = gradient
        for p in self.params:
            self.state[p]["sum"] = self.state[p]["table"].sum(0)


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, examples: int, seed: int
) -> torch.optim.Optimizer:
    """SAGA with a search for L."""
    return SAGA(params, examples, seed, step_factor=hyperparameters.step_factor)


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    whole_data.submission(make_optimizer)
)
