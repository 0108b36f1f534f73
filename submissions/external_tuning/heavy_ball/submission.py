"""Heavy-ball momentum, from torch.optim."""

from collections.abc import Iterable

import torch

from harness.spec import Hyperparameters, Tensor
from submissions import recipe


def make_optimizer(
    params: Iterable[Tensor], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """SGD with heavy-ball momentum (Polyak 1964), weight decay added to the gradient."""
    return torch.optim.SGD(
        params,
        lr=hyperparameters.learning_rate,
        momentum=1 - hyperparameters.one_minus_beta1,
        weight_decay=hyperparameters.weight_decay,
        nesterov=False,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
