"""ADOPT, from pytorch_optimizer."""

from collections.abc import Iterable

import torch
from pytorch_optimizer import ADOPT

from harness.spec import Hyperparameters, Tensor
from submissions import recipe


def make_optimizer(
    params: Iterable[Tensor], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """ADOPT (Taniguchi et al. 2024), clipped at t^(1/4), t from 1."""
    return ADOPT(
        params,
        lr=hyperparameters.learning_rate,
        betas=(1 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        weight_decay=hyperparameters.weight_decay,
        weight_decouple=True,
        clip_lambda=lambda step: (step - 1) ** 0.25,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
