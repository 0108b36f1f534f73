"""A (mu/mu, lambda) evolution strategy with cumulative step-size adaptation."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from harness.spec import Hyperparameters
from submissions import whole_data
from submissions.finite_sums import Closure
from submissions.full_batch import FullBatch


class Evolution(FullBatch):
    """The (mu/mu, lambda)-ES: x becomes the mean of the mu best of lambda normal mutants.

    The step size sigma follows the evolution path (Hansen, Arnold, Auger 2015, algorithm 4)::

        z = mean of the mu best mutants' standard normal vectors
        x = x + sigma z
        s = (1 - c) s + sqrt(mu c (2 - c)) z
        sigma = sigma exp(c / d (|s| / E|N(0, I)| - 1))

    with c = sqrt(mu / (n + mu)), d = 1 + sqrt(mu / n), lambda = 4 + 3 ln n and mu = lambda / 4.

    Args:
        params: The parameters, in one group.
        seed: Seed of the mutants.
        sigma: The first step size.
        population: lambda; 0 for 4 + 3 ln n.
    """

    def __init__(self, params: Iterable[Any], seed: int, sigma: float, population: int = 0) -> None:
        super().__init__(params, sigma=sigma)
        n = len(self.x)
        self.offspring = population or 4 + int(3 * math.log(n))
        self.parents = max(1, self.offspring // 4)
        self.random = np.random.default_rng(seed)
        self.path = np.zeros(n)

    def update(self, closure: Closure) -> float:
        """One generation; returns the best mutant's loss."""
        (group,) = self.param_groups
        start, n, mu = self.x, len(self.path), self.parents
        normals = self.random.standard_normal((self.offspring, n))
        mutants = start + group["sigma"] * torch.as_tensor(normals, dtype=start.dtype)
        losses = np.array([self.value_at(closure, mutant) for mutant in mutants])
        z = normals[np.argsort(losses, kind="stable")[:mu]].mean(0)
        c, d = math.sqrt(mu / (n + mu)), 1 + math.sqrt(mu / n)
        self.x = start + group["sigma"] * torch.as_tensor(z, dtype=start.dtype)
        self.path = (1 - c) * self.path + math.sqrt(mu * c * (2 - c)) * z
        expected = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))
        growth = c / d * (float(np.linalg.norm(self.path)) / expected - 1)
        group["sigma"] = min(group["sigma"] * math.exp(growth), 1e10)
        return float(losses.min())


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, examples: int, seed: int
) -> torch.optim.Optimizer:
    """The evolution strategy."""
    return Evolution(params, seed, hyperparameters.sigma, hyperparameters.population)


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    whole_data.submission(make_optimizer)
)
