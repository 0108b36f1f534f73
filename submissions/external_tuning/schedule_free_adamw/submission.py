"""Schedule-Free AdamW, from its authors' package: warm-up, then a constant learning rate."""

from collections.abc import Iterable

import torch
from schedulefree import AdamWScheduleFree

from harness.spec import Hyperparameters, Tensor
from submissions import recipe, schedules


def make_optimizer(
    params: Iterable[Tensor], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """Schedule-Free AdamW (Defazio et al. 2024); the average x is what is evaluated."""
    optimizer: torch.optim.Optimizer = AdamWScheduleFree(
        params,
        lr=hyperparameters.learning_rate,
        betas=(1 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        weight_decay=hyperparameters.weight_decay,
        warmup_steps=schedules.warmup_steps(hyperparameters, horizon),
    )
    return optimizer


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer, schedules.none)
)
