"""Adam alone on track 3: one learning rate, decoupled weight decay, warm-up and linear fall."""

from typing import Any

import torch
from torch import nn

from harness.spec import Hyperparameters
from submissions import track3


def make_optimizer(
    model: nn.Module, workload: Any, hyperparameters: Hyperparameters
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019)."""
    return torch.optim.AdamW(
        model.parameters(),
        lr=hyperparameters.learning_rate,
        betas=(1 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        eps=track3.EPSILON,
        weight_decay=hyperparameters.weight_decay,
        fused=True,
    )


get_batch_size, init_optimizer_state, data_selection, update_params = track3.submission(
    make_optimizer
)
