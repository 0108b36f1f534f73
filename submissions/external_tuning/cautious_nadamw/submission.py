"""Cautious NadamW: NAdam of torch.optim, masked."""

from collections.abc import Iterable

import torch

from harness.spec import Hyperparameters, Tensor
from submissions import recipe
from submissions.cautious import Cautious


def make_optimizer(
    params: Iterable[Tensor], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """NAdam (Dozat 2016) made cautious (Liang et al. 2024), with decoupled weight decay."""
    inner = torch.optim.NAdam(
        params,
        lr=hyperparameters.learning_rate,
        betas=(1 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
    )
    return Cautious(inner, hyperparameters.weight_decay)


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
