"""Track 3's baseline: Muon for hidden matrices, Adam at three learning rates for the rest."""

from typing import Any

import torch
from torch import nn

from harness.spec import Hyperparameters
from submissions import track3
from submissions.muon import Both


def make_optimizer(
    model: nn.Module, workload: Any, hyperparameters: Hyperparameters
) -> torch.optim.Optimizer:
    """Muon (Jordan et al. 2024) and Adam (Kingma and Ba 2015)."""
    parts = track3.split_parameters(model, workload)
    hidden = parts.pop("hidden")
    optimizers: list[torch.optim.Optimizer] = []
    if hidden:
        momentum = 1 - hyperparameters.one_minus_beta1
        lr, decay = hyperparameters.learning_rate, hyperparameters.weight_decay
        optimizers.append(track3.Track3Muon(hidden, lr, momentum, decay))
    groups = [
        {"params": params, "lr": getattr(hyperparameters, f"{kind}_learning_rate")}
        for kind, params in parts.items()
        if params
    ]
    if groups:
        betas = (hyperparameters.adam_beta1, hyperparameters.adam_beta2)
        optimizers.append(torch.optim.Adam(groups, betas=betas, eps=track3.EPSILON, fused=True))
    return Both(*optimizers)


get_batch_size, init_optimizer_state, data_selection, update_params = track3.submission(
    make_optimizer
)
