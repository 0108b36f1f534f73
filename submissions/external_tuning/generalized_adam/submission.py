"""Generalized Adam: quasi-hyperbolic Adam, from pytorch_optimizer."""

from collections.abc import Iterable

import torch
from pytorch_optimizer import QHAdam

from harness.spec import Hyperparameters, Tensor
from submissions import recipe


def make_optimizer(
    params: Iterable[Tensor], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """QHAdam (Ma and Yarats 2019) with decoupled weight decay."""
    return QHAdam(
        params,
        lr=hyperparameters.learning_rate,
        betas=(1 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        nus=(hyperparameters.nu1, hyperparameters.nu2),
        weight_decay=hyperparameters.weight_decay,
        weight_decouple=True,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
