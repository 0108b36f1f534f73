"""SOAP, from pytorch_optimizer: Adam in the eigenbasis of Shampoo's factors."""

from collections.abc import Iterable
from typing import Any

import pytorch_optimizer
import torch

from harness.spec import Hyperparameters
from submissions import recipe


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """SOAP (Vyas et al. 2024)."""
    return pytorch_optimizer.SOAP(
        params,
        lr=hyperparameters.learning_rate,
        betas=(1 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        weight_decay=hyperparameters.weight_decay,
        precondition_frequency=hyperparameters.precondition_frequency,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
