"""Cautious AdamW: AdamW of torch.optim, masked."""

from collections.abc import Iterable

import torch

from harness.spec import Hyperparameters, Tensor
from submissions import recipe
from submissions.cautious import Cautious


def make_optimizer(
    params: Iterable[Tensor], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """AdamW made cautious (Liang et al. 2024)."""
    inner = torch.optim.AdamW(
        params,
        lr=hyperparameters.learning_rate,
        betas=(1 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        weight_decay=0.0,
    )
    return Cautious(inner, hyperparameters.weight_decay)


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
