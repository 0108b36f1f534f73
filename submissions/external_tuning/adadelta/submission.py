"""AdaDelta, from torch.optim."""

from collections.abc import Iterable

import torch

from harness.spec import Hyperparameters, Tensor
from submissions import recipe


def make_optimizer(
    params: Iterable[Tensor], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """AdaDelta (Zeiler 2012, algorithm 1), with a learning rate."""
    return torch.optim.Adadelta(
        params,
        lr=hyperparameters.learning_rate,
        rho=hyperparameters.rho,
        eps=hyperparameters.epsilon,
        weight_decay=hyperparameters.weight_decay,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
