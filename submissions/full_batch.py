"""What optimizers of a deterministic function share: its value, gradient and line along a vector.

`closure()` computes the mean loss over all examples and its gradient, `closure(backward=False)` the
loss alone (see `submissions.whole_data`). Shapes: P parameters, as one vector.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim import Optimizer

from harness.spec import Tensor
from submissions.finite_sums import Closure
from submissions.line_search import armijo, strong_wolfe


class FullBatch(Optimizer, abc.ABC):
    """An optimizer that sees its parameters as one vector x [P], and all examples at once.

    Args:
        params: The parameters, in one group.
        options: Options of the group.
    """

    def __init__(self, params: Iterable[Any], **options: Any) -> None:
        super().__init__(params, options)
        if len(self.param_groups) != 1:
            raise ValueError("all parameters are one vector: give them in one group")

    def step(self, closure: Closure) -> Any:  # type: ignore[override]
        """One step; returns the loss before it."""
        with torch.no_grad():
            return self.update(closure)

    @abc.abstractmethod
    def update(self, closure: Closure) -> float:
        """Takes one step without building a graph; returns the loss before it."""

    @property
    def x(self) -> Tensor:
        """The parameters [P], a copy."""
        return parameters_to_vector(self.param_groups[0]["params"]).detach().clone()

    @x.setter
    def x(self, x_p: Tensor) -> None:
        vector_to_parameters(x_p, self.param_groups[0]["params"])

    def value_and_gradient(self, closure: Closure) -> tuple[float, Tensor]:
        """The loss and its gradient [P]."""
        with torch.enable_grad():
            loss = closure()
        params = self.param_groups[0]["params"]
        parts = [p.grad if p.grad is not None else torch.zeros_like(p) for p in params]
        return loss.item(), torch.cat([part.flatten() for part in parts])

    def value_at(self, closure: Closure, x_p: Tensor) -> float:
        """The loss at x [P], which is kept."""
        self.x = x_p
        return closure(backward=False).item()

    def armijo_step(
        self, closure: Closure, loss: float, gradient_p: Tensor, direction_p: Tensor, first: float
    ) -> float:
        """Moves along a direction [P] by Armijo's backtracking; returns how far."""
        start_p, slope = self.x, float(gradient_p @ direction_p)

        def along(t: float) -> float:
            return self.value_at(closure, start_p + t * direction_p)

        t = armijo(along, loss, slope, first)
        self.x = start_p + t * direction_p
        return t

    def wolfe_step(
        self, closure: Closure, loss: float, gradient_p: Tensor, direction_p: Tensor, first: float,
        c2: float,
    ) -> float:  # fmt: skip
        """Moves along a direction [P] by a search for the strong Wolfe conditions.

        Args:
            closure: Of the step.
            loss: The loss at x.
            gradient_p: The gradient at x.
            direction_p: A direction of descent.
            first: The first t to be tried.
            c2: What remains of the slope, at most.

        Returns:
            How far it moved, in multiples of the direction.
        """
        start_p, slope = self.x, float(gradient_p @ direction_p)

        def along(t: float) -> tuple[float, float]:
            self.x = start_p + t * direction_p
            value, there_p = self.value_and_gradient(closure)
            return value, float(there_p @ direction_p)

        t = strong_wolfe(along, loss, slope, first, c2=c2)
        self.x = start_p + t * direction_p
        return t if math.isfinite(t) else 0.0
