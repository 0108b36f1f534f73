"""RMSprop, from torch.optim."""

from collections.abc import Iterable

import torch

from harness.spec import Hyperparameters, Tensor
from submissions import recipe


def make_optimizer(
    params: Iterable[Tensor], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """RMSprop (Tieleman and Hinton 2012, lecture 6e), with momentum."""
    return torch.optim.RMSprop(
        params,
        lr=hyperparameters.learning_rate,
        alpha=hyperparameters.beta2,
        momentum=1 - hyperparameters.one_minus_beta1,
        weight_decay=hyperparameters.weight_decay,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
