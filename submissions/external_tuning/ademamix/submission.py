"""AdEMAMix of the package pytorch_optimizer, its warm-ups as parts of the step hint."""

from collections.abc import Iterable

import torch
from pytorch_optimizer import AdEMAMix

from harness.spec import Hyperparameters, Tensor
from submissions import recipe


def make_optimizer(
    params: Iterable[Tensor], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """AdEMAMix (Pagliardini et al. 2024); alpha and beta3 warm up together.

    A warm-up in steps, such as 500,000, would never end on a workload with a smaller step hint.
    """
    step_hint = horizon / recipe.HORIZON
    return AdEMAMix(
        params,
        lr=hyperparameters.learning_rate,
        betas=(1 - hyperparameters.one_minus_beta1, hyperparameters.beta2, hyperparameters.beta3),
        weight_decay=hyperparameters.weight_decay,
        weight_decouple=True,
        alpha=hyperparameters.alpha,
        t_alpha_beta3=max(1, round(hyperparameters.slow_warmup_factor * step_hint)),
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
