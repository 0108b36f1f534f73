"""The simplex method of Nelder and Mead, which needs no gradients."""

from collections.abc import Iterable
from typing import Any

import torch

from harness.spec import Hyperparameters, Tensor
from submissions import whole_data
from submissions.finite_sums import Closure
from submissions.full_batch import FullBatch


class NelderMead(FullBatch):
    """Nelder and Mead 1965 as Lagarias et al. 1998 state it: one iteration a step.

    Reflection 1, expansion 2, contraction 1/2, shrinkage 1/2. The parameters are the best vertex.

    Args:
        params: The parameters, in one group.
        size: The other vertices of the first simplex are the start plus this along each axis.
    """

    def __init__(self, params: Iterable[Any], size: float = 0.1) -> None:
        super().__init__(params, size=size)
        self.vertices: Tensor | None = None  # [P + 1, P], sorted by loss
        self.values: list[float] = []

    def update(self, closure: Closure) -> float:
        """One iteration; returns the best loss before it."""
        if self.vertices is None:
            start = self.x
            shifts = torch.eye(len(start), dtype=start.dtype) * self.param_groups[0]["size"]
            self.vertices = torch.cat([start[None], start + shifts])
            self.values = [self.value_at(closure, vertex) for vertex in self.vertices]
        order = sorted(range(len(self.values)), key=lambda n: (self.values[n], n))
        self.vertices, self.values = self.vertices[order], [self.values[n] for n in order]
        best = self.values[0]
        self._move(closure)
        self.x = self.vertices[min(range(len(self.values)), key=self.values.__getitem__)]
        return best

    def _move(self, closure: Closure) -> None:
        """Replaces the worst vertex, or shrinks the simplex."""
        assert self.vertices is not None
        values, worst = self.values, self.vertices[-1]
        centre = self.vertices[:-1].mean(0)

        def at(t: float) -> tuple[float, Tensor]:
            point = centre + t * (worst - centre)
            return self.value_at(closure, point), point

        value, point = at(-1.0)
        if value < values[0]:
            further, beyond = at(-2.0)
            if further < value:
                value, point = further, beyond
        elif value >= values[-2]:
            outside = value < values[-1]
            bound = value if outside else values[-1]
            value, point = at(-0.5 if outside else 0.5)
            if not (value <= bound if outside else value < bound):
                self.vertices = self.vertices[0] + (self.vertices - self.vertices[0]) / 2
                self.values[1:] = [self.value_at(closure, vertex) for vertex in self.vertices[1:]]
                return
        self.vertices[-1], self.values[-1] = point, value


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, examples: int, seed: int
) -> torch.optim.Optimizer:
    """Nelder and Mead's method."""
    return NelderMead(params)


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    whole_data.submission(make_optimizer, fixed={})
)
