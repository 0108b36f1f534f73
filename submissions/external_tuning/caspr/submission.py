"""CASPR: Shampoo's factors, combined by a Kronecker sum."""

from collections.abc import Iterable
from typing import Any

import torch

from harness.spec import Hyperparameters, Tensor
from submissions import recipe
from submissions.kronecker import Factor, KroneckerFactored, options_of, product


class Caspr(KroneckerFactored):
    """CASPR (Duvvuri et al. 2024); blocks, averages and grafting as `KroneckerFactored` says."""

    def combine(self, block: Tensor, left: Factor, right: Factor) -> Tensor:
        """J = (P M + M Q) / 2, then (P J + J Q) / 2 (Duvvuri et al. 2024, Algorithm 1).

        With one of P and Q alone, Shampoo's product.
        """
        if left is None or right is None:
            return product(block, left, right)
        once = (left @ block + block @ right) / 2
        return (left @ once + once @ right) / 2


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """CASPR with grafting."""
    return Caspr(params, **options_of(hyperparameters))


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
