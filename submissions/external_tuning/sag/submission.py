"""SAG: the average of the gradients that the examples had when they were last drawn."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from harness.spec import Hyperparameters, Tensor
from submissions import whole_data
from submissions.finite_sums import Closure, FiniteSum


class SAG(FiniteSum):
    """The stochastic average gradient (Schmidt, Le Roux, Bach 2013), with a table of gradients.

    A step draws i, replaces g_i by the gradient of f_i at x, and moves x by -a/n sum_j g_j.

    Args:
        params: The parameters, in one group.
        examples: n.
        seed: Seed of the draws.
        step_factor: The step size a is this over L; 1/16 in the theory, 1 in the paper's practice.
        smoothness: L, or one constant L_i for each example; 0 to search it.
        initial: "gradients": g_i begins as the gradient of f_i less that of f, at the start.
            "sgd": the first epoch is SGD's, which takes the examples in order and fills the table.
            "zero": g_i begins as 0, and the sum is divided by the number of examples seen.
        nonuniform: Draws i uniformly with probability 1/2, and else in proportion to L_i.
    """

    def __init__(
        self,
        params: Iterable[Any],
        examples: int,
        seed: int,
        step_factor: float = 1 / 16,
        smoothness: float | Tensor = 0.0,
        initial: str = "zero",
        nonuniform: bool = False,
    ) -> None:
        super().__init__(params, examples, seed, step_factor, smoothness)
        if nonuniform and self.constants is None:
            raise ValueError("draws in proportion to L_i need a constant for each example")
        if initial not in ("gradients", "sgd", "zero"):
            raise ValueError(f"initial must be gradients, sgd or zero, not {initial!r}")
        self.initial = initial
        self.weights = None
        if nonuniform and self.constants is not None:
            constants = self.constants.numpy()
            self.weights = 0.5 / examples + 0.5 * constants / constants.sum()
        self.seen = np.zeros(examples, bool)
        self.direction: list[Tensor] = []  # of the last step

    def draw(self) -> int:
        """The number of an example."""
        if self.weights is None:
            return super().draw()
        return int(self.random.choice(self.examples, p=self.weights))

    def update(self, closure: Closure) -> float:
        """Draws an example, replaces its gradient in the table, and moves."""
        if not self.state:
            self._begin(closure)
        epoch_of_sgd = self.initial == "sgd" and not self.seen.all()
        index = int(np.argmin(self.seen)) if epoch_of_sgd else self.draw()
        loss, gradients = self.gradients(closure, index)
        self.search(closure, index, loss, gradients)
        self.seen[index] = True
        count = int(self.seen.sum()) if self.initial == "zero" else self.examples
        self.direction = []
        for p, gradient in zip(self.params, gradients, strict=True):
            state = self.state[p]
            state["sum"] += gradient - state["table"][index]
            state["table"][index] = gradient
            self.direction.append(gradient if epoch_of_sgd else state["sum"] / count)
        torch._foreach_add_(self.params, self.direction, alpha=-self.step_size)
        self.relax()
        return loss

    def _begin(self, closure: Closure) -> None:
        """Makes the tables."""
        for p in self.params:
            table = p.new_zeros((self.examples, *p.shape))
            self.state[p] = {"table": table, "sum": torch.zeros_like(p)}
        if self.initial == "gradients":
            _, mean = self.gradients(closure)
            for index in range(self.examples):
                _, gradients = self.gradients(closure, index)
                for p, gradient, all_of_them in zip(self.params, gradients, mean, strict=True):
                    self.state[p]["table"][index] = gradient - all_of_them
            self.seen[:] = True


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, examples: int, seed: int
) -> torch.optim.Optimizer:
    """SAG with a search for L."""
    return SAG(
        params,
        examples,
        seed,
        step_factor=hyperparameters.step_factor,
        initial=hyperparameters.initial,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    whole_data.submission(make_optimizer)
)
