"""What optimizers of finite sums share: sampling an example, its gradient, a search for L.

Below, f = 1/n sum_i f_i, and `closure(i)` computes f_i and its gradient, `closure()` that of f (see
`submissions.whole_data`).
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

from harness.spec import Tensor

Closure = Callable[..., Tensor]


class FiniteSum(Optimizer, abc.ABC):
    """An optimizer that takes the gradient of one example a step, drawn at random.

    Args:
        params: The parameters, in one group.
        examples: n, the number of examples.
        seed: Seed of the draws.
        step_factor: The step size is `step_factor` / L.
        smoothness: L, the Lipschitz constant of the gradients of the f_i, or one constant for each
            example [n], whose largest is L; 0 for a search that starts with L = 1.

    The search (Schmidt, Le Roux, Bach 2013, section 4.6) doubles L until, at the drawn example,
    f_i(x - g / L) <= f_i(x) - |g|^2 / (2 L), and multiplies it by 2^(-1/n) after every step.
    """

    def __init__(
        self,
        params: Iterable[Any],
        examples: int,
        seed: int,
        step_factor: float,
        smoothness: float | Tensor = 0.0,
    ) -> None:
        constants = torch.as_tensor(smoothness, dtype=torch.float64).flatten()
        largest = float(constants.max())
        defaults = {"step_factor": step_factor, "smoothness": largest or 1.0}
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("L is of all parameters: give them in one group")
        self.examples = examples
        self.searches = largest == 0
        self.constants = constants if len(constants) > 1 else None
        self.random = np.random.default_rng(seed)

    @property
    def params(self) -> list[Tensor]:
        """The parameters."""
        found: list[Tensor] = self.param_groups[0]["params"]
        return found

    @property
    def step_size(self) -> float:
        """The step size."""
        group = self.param_groups[0]
        return float(group["step_factor"] / group["smoothness"])

    def draw(self) -> int:
        """The number of an example, uniformly drawn."""
        return int(self.random.integers(self.examples))

    def gradients(
        self, closure: Closure, index: int | Tensor | None = None
    ) -> tuple[float, list[Tensor]]:
        """The loss of an example, or the mean over several [B] or all, and its gradients."""
        with torch.enable_grad():
            loss = closure() if index is None else closure(index)
        found = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.params]
        return loss.item(), [gradient.clone() for gradient in found]

    def search(self, closure: Closure, index: int, loss: float, gradients: list[Tensor]) -> None:
        """Searches L at an example whose loss and gradients are known, if L is not given."""
        if not self.searches:
            return
        group, params = self.param_groups[0], self.params
        squared = sum(float(gradient.square().sum()) for gradient in gradients)
        if squared > 1e-16:  # otherwise rounding decides, and L would grow without bound
            weights = [p.clone() for p in params]
            while True:
                moved = torch._foreach_add(weights, gradients, alpha=-1 / group["smoothness"])
                torch._foreach_copy_(params, moved)
                bound = loss - squared / (2 * group["smoothness"])
                if closure(index, backward=False).item() <= bound or group["smoothness"] > 1e12:
                    break
                group["smoothness"] *= 2
            torch._foreach_copy_(params, weights)

    def relax(self) -> None:
        """Lets a searched L fall by 2^(-1/n)."""
        if self.searches:
            self.param_groups[0]["smoothness"] *= 2 ** (-1 / self.examples)

    def step(self, closure: Closure) -> Any:  # type: ignore[override]
        """One step; returns the loss of the drawn example."""
        with torch.no_grad():
            return self.update(closure)

    @abc.abstractmethod
    def update(self, closure: Closure) -> float:
        """Takes one step without building a graph; returns the loss of the drawn example."""
