"""AdamG, from pytorch_optimizer: Adam that finds its own step size."""

from collections.abc import Iterable
from typing import Any

import pytorch_optimizer
import torch

from harness.spec import Hyperparameters
from submissions import recipe, schedules


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """AdamG (Pan et al. 2024), with the constants of the paper, which are the library's."""
    return pytorch_optimizer.AdamG(params)


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer, schedules.none, fixed={})
)
