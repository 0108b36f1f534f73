"""Amos, from pytorch_optimizer: Adam's kin with a weight decay that adapts, and no schedule."""

import math
from collections.abc import Iterable
from typing import Any

import pytorch_optimizer
import torch

from harness.spec import Hyperparameters, Tensor
from submissions import recipe, schedules


class Amos(pytorch_optimizer.Amos):
    """pytorch_optimizer's Amos, with the scale of a convolution's weights put right."""

    @staticmethod
    def get_scale(p: Tensor) -> float:
        """The scale eta that weights are expected to have: sqrt(2 / inputs of an output).

        Biases and scales have 0.5. The library counts the channels of a convolution's input alone,
        not the places that its kernel covers.
        """
        return 0.5 if p.ndim <= 1 else math.sqrt(2 / p[0].numel())


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """Amos (Tian and Parikh 2022)."""
    return Amos(
        params,
        lr=hyperparameters.learning_rate,
        beta=hyperparameters.beta2,
        momentum=1 - hyperparameters.one_minus_beta1,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer, schedules.constant)
)
