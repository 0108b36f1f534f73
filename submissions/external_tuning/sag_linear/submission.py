"""SAG of a linear model: the table holds one number for each example."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from harness.spec import Hyperparameters, Tensor
from submissions import whole_data
from submissions.finite_sums import Closure, FiniteSum


class LinearSAG(FiniteSum):
    """The stochastic average gradient of a linear model without penalty (Schmidt et al. 2013).

    The gradient of f_i is s_i times row i of the features, so that the slope s_i replaces the
    gradient g_i of SAG's table (section 4.1): n numbers instead of n p. A step draws i, computes
    s_i at x, adds the change of s_i times row i to the sum of gradients, and moves x by -a times
    that sum over the number of examples seen.

    Args:
        params: The weights [1, D], and perhaps a bias [1].
        examples: n.
        seed: Seed of the draws.
        step_factor: The step size a is this over L; 1/16 in the theory, 1 in the paper's practice.
        smoothness: L; 0 to search it.

    Attributes:
        rows: The features [n, D], to be set before the first step.
    """

    rows: Tensor

    def __init__(
        self,
        params: Iterable[Any],
        examples: int,
        seed: int,
        step_factor: float = 1 / 16,
        smoothness: float = 0.0,
    ) -> None:
        super().__init__(params, examples, seed, step_factor, smoothness)
        self.seen = np.zeros(examples, bool)

    def update(self, closure: Closure) -> float:
        """Draws an example, replaces its slope in the table, and moves.

        Raises:
            ValueError: The gradient of the example is not along its features.
        """
        index = self.draw()
        loss, gradients = self.gradients(closure, index)
        self.search(closure, index, loss, gradients)
        weights, *bias = self.params
        along = [self.rows[index].to(weights).view_as(weights), *map(torch.ones_like, bias)]
        flat = torch.cat([direction.flatten() for direction in along])
        slope = torch.cat([g.flatten() for g in gradients]) @ flat / max(float(flat @ flat), 1e-300)
        for gradient, direction in zip(gradients, along, strict=True):
            if not torch.allclose(slope * direction, gradient, rtol=1e-4, atol=1e-8):
                raise ValueError(
                    "the gradient of an example is not along its features: the model is not "
                    "linear, or its loss has a penalty; use sag"
                )
        if not self.state:
            self.state[weights]["slopes"] = weights.new_zeros(self.examples)
            for p in self.params:
                self.state[p]["sum"] = torch.zeros_like(p)
        change = slope - self.state[weights]["slopes"][index]
        self.state[weights]["slopes"][index] = slope
        self.seen[index] = True
        step = self.step_size / int(self.seen.sum())
        for p, direction in zip(self.params, along, strict=True):
            total = self.state[p]["sum"].add_(change * direction)
            p.sub_(step * total)
        self.relax()
        return loss


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, examples: int, seed: int
) -> torch.optim.Optimizer:
    """LinearSAG with a search for L."""
    return LinearSAG(params, examples, seed, step_factor=hyperparameters.step_factor)


get_batch_size, init_optimizer_state, data_selection, _update_params, prepare_for_eval = (
    whole_data.submission(make_optimizer)
)


def update_params(**arguments: Any) -> Any:
    """One step of the optimizer, which knows the features."""
    arguments["optimizer_state"]["optimizer"].rows = arguments["batch"]["inputs"]
    return _update_params(**arguments)
