"""L-BFGS, as torch.optim has it, one iteration a step."""

from collections.abc import Iterable
from typing import Any

import torch

from harness.spec import Hyperparameters
from submissions import whole_data


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, examples: int, seed: int
) -> torch.optim.Optimizer:
    """L-BFGS with the strong Wolfe conditions, which stops nowhere by itself."""
    return torch.optim.LBFGS(
        params,
        lr=1.0,
        max_iter=1,
        max_eval=50,
        tolerance_grad=0,
        tolerance_change=0,
        history_size=10,
        line_search_fn="strong_wolfe",
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    whole_data.submission(make_optimizer, fixed={})
)
