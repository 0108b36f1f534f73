"""Adafactor, from torch.optim."""

from collections.abc import Iterable

import torch

from harness.spec import Hyperparameters, Tensor
from submissions import recipe


def make_optimizer(
    params: Iterable[Tensor], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """Adafactor (Shazeer and Stern 2018, algorithm 4); its rates are relative to the parameters."""
    return torch.optim.Adafactor(
        params,
        lr=hyperparameters.learning_rate,
        weight_decay=hyperparameters.weight_decay,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
