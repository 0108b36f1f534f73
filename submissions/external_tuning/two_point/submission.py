"""Gradient descent on a gradient that two values of the loss estimate."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from harness.spec import Hyperparameters
from submissions import whole_data
from submissions.finite_sums import Closure
from submissions.full_batch import FullBatch


class TwoPoint(FullBatch):
    """x <- x - lr g, where g is a mean of n / (2 delta) (f(x + delta u) - f(x - delta u)) u.

    Each u is uniform on the unit sphere in n dimensions (Nesterov and Spokoiny 2017 draw it from
    the normal distribution; Flaxman et al. 2005 from the sphere).

    Args:
        params: The parameters, in one group.
        seed: Seed of the directions.
        lr: The learning rate.
        delta: Half the distance of both points.
        directions: How many estimates g is the mean of.
    """

    def __init__(
        self,
        params: Iterable[Any],
        seed: int,
        lr: float,
        delta: float = 1e-5,
        directions: int = 1,
    ) -> None:
        super().__init__(params, lr=lr, delta=delta, directions=directions)
        self.random = np.random.default_rng(seed)

    def update(self, closure: Closure) -> float:
        """One step; returns the last pair's mean loss."""
        (group,) = self.param_groups
        start, delta, loss = self.x, group["delta"], 0.0
        gradient = torch.zeros_like(start)
        for _ in range(group["directions"]):
            normal = self.random.standard_normal(len(start))
            u = torch.as_tensor(normal / np.linalg.norm(normal), dtype=start.dtype)
            above = self.value_at(closure, start + delta * u)
            below = self.value_at(closure, start - delta * u)
            gradient += len(start) / (2 * delta) * (above - below) * u
            loss = (above + below) / 2
        self.x = start - group["lr"] / group["directions"] * gradient
        return loss


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, examples: int, seed: int
) -> torch.optim.Optimizer:
    """The two-point method."""
    return TwoPoint(
        params,
        seed,
        lr=hyperparameters.learning_rate,
        delta=hyperparameters.delta,
        directions=hyperparameters.directions,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    whole_data.submission(make_optimizer)
)
