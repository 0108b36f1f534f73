"""MARS-AdamW, from pytorch_optimizer."""

from collections.abc import Iterable

import torch
from pytorch_optimizer import MARS

from harness.spec import Hyperparameters, Tensor
from submissions import recipe


def make_optimizer(
    params: Iterable[Tensor], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """MARS-AdamW (Yuan et al. 2024, algorithm 2); plain AdamW for vectors."""
    return MARS(
        params,
        lr=hyperparameters.learning_rate,
        betas=(1 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        gamma=hyperparameters.gamma,
        lr_1d=hyperparameters.learning_rate,
        weight_decay=hyperparameters.weight_decay,
        weight_decay_1d=hyperparameters.weight_decay,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
