"""Shampoo: the momentum between inverse roots of its rows' and columns' second moments."""

from collections.abc import Iterable
from typing import Any

import torch

from harness.spec import Hyperparameters, Tensor
from submissions import recipe
from submissions.kronecker import Factor, KroneckerFactored, options_of, product


class Shampoo(KroneckerFactored):
    """Shampoo (Gupta et al. 2018); blocks, averages and grafting as `KroneckerFactored` says."""

    def combine(self, block: Tensor, left: Factor, right: Factor) -> Tensor:
        """P M Q (Gupta et al. 2018, Algorithm 1)."""
        return product(block, left, right)


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """Shampoo with grafting."""
    return Shampoo(params, **options_of(hyperparameters))


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
