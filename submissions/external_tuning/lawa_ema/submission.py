"""LAWA with a moving average: NadamW, evaluated at the exponential average of its checkpoints."""

from collections.abc import Iterable
from typing import Any

import torch

from harness.spec import Hyperparameters, Tensor
from submissions import recipe
from submissions.averaging import AveragedNadamW, options_of


class LawaEma(AveragedNadamW):
    """An average A of checkpoints W: A <- beta A + (1 - beta) W, at first W."""

    def __init__(self, params: Iterable[Any], beta: float, **options: Any) -> None:
        super().__init__(params, **options)
        self._beta = beta

    def take(self, taken: Tensor | None, weight: Tensor) -> Tensor:
        """A, moved towards the weight."""
        return weight.clone() if taken is None else taken.lerp_(weight, 1 - self._beta)

    def average(self, taken: Tensor) -> Tensor:
        """A itself."""
        return taken


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """NadamW with a moving average of checkpoints."""
    return LawaEma(params, beta=hyperparameters.lawa_beta, **options_of(hyperparameters, horizon))


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
