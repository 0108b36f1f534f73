"""NadamW under a cyclic learning rate."""

from collections.abc import Iterable

import torch

from harness.spec import Hyperparameters, Tensor
from submissions import recipe, schedules


def make_optimizer(
    params: Iterable[Tensor], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """NAdam (Dozat 2016) with the weight decay of AdamW (Loshchilov and Hutter 2019)."""
    return torch.optim.NAdam(
        params,
        lr=hyperparameters.learning_rate,
        betas=(1 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        weight_decay=hyperparameters.weight_decay,
        decoupled_weight_decay=True,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer, schedules.cyclic)
)
