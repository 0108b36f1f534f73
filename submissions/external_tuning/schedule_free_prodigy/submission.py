"""Schedule-Free Prodigy: Prodigy without momentum, averaged, from pytorch_optimizer."""

from collections.abc import Iterable

import torch
from pytorch_optimizer import Prodigy, ScheduleFreeWrapper

from harness.spec import Hyperparameters, Tensor
from submissions import recipe, schedules


def make_optimizer(
    params: Iterable[Tensor], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """Prodigy (Mishchenko and Defazio 2024) in the place of SGD in Defazio et al. 2024."""
    fast = Prodigy(
        params,
        lr=hyperparameters.learning_rate,
        betas=(0.0, hyperparameters.beta2),
        d_coef=hyperparameters.d_coef,
        weight_decay=hyperparameters.weight_decay,
    )
    return ScheduleFreeWrapper(fast, momentum=1 - hyperparameters.one_minus_beta1)


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer, schedules.none)
)
