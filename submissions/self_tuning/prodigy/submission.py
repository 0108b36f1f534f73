"""Prodigy with one fixed point for every workload."""

from collections.abc import Iterable

import torch
from pytorch_optimizer import Prodigy

from harness.spec import Hyperparameters, Tensor
from submissions import recipe

FIXED = {
    "learning_rate": 1.0,
    "d_coef": 1.0,
    "one_minus_beta1": 0.1,
    "beta2": 0.99,
    "weight_decay": 1e-3,
    "warmup_factor": 0.05,
}


def make_optimizer(
    params: Iterable[Tensor], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """Prodigy (Mishchenko and Defazio 2024, algorithm 4); the learning rate is a factor."""
    return Prodigy(
        params,
        lr=hyperparameters.learning_rate,
        betas=(1 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        d_coef=hyperparameters.d_coef,
        weight_decay=hyperparameters.weight_decay,
        safeguard_warmup=True,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer, fixed=FIXED)
)
