"""LAWA with a queue: NadamW, evaluated at the mean of its latest checkpoints."""

from collections.abc import Iterable
from typing import Any

import torch

from harness.spec import Hyperparameters, Tensor
from submissions import recipe
from submissions.averaging import AveragedNadamW, options_of


class LawaQueue(AveragedNadamW):
    """The mean of the `length` latest checkpoints (Kaddour 2022)."""

    def __init__(self, params: Iterable[Any], length: int, **options: Any) -> None:
        super().__init__(params, **options)
        self._length = length

    def take(self, taken: list[Tensor] | None, weight: Tensor) -> list[Tensor]:
        """The queue with the weight at its end."""
        return [*(taken or []), weight.clone()][-self._length :]

    def average(self, taken: list[Tensor]) -> Tensor:
        """The mean over the queue."""
        return torch.stack(taken).mean(0)


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """NadamW with a queue of checkpoints."""
    return LawaQueue(
        params, length=hyperparameters.lawa_queue_length, **options_of(hyperparameters, horizon)
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
