"""torch.optim.Muon for hidden matrices and torch.optim.AdamW for the rest."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from harness.spec import Hyperparameters
from submissions import recipe
from submissions.muon import Both, hidden_and_rest


def make_groups(model: nn.Module, workload: Any) -> list[dict[str, Any]]:
    """Hidden matrices, and the rest, convolutions among them: torch's Muon takes two axes."""
    hidden, rest = hidden_and_rest(model, workload, most_axes=2)
    return [{"params": hidden}, {"params": rest}]


def make_optimizer(
    groups: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """Muon (Jordan et al. 2024) at AdamW's size (Liu et al. 2025, eq. 4), and AdamW."""
    hidden, rest = (group["params"] for group in groups)
    lr, decay = hyperparameters.learning_rate, hyperparameters.weight_decay
    parts: list[torch.optim.Optimizer] = []
    if hidden:
        momentum = 1 - hyperparameters.one_minus_beta1
        parts.append(
            torch.optim.Muon(hidden, lr, decay, momentum, adjust_lr_fn="match_rms_adamw", eps=1e-7)
        )
    if rest:
        betas = (0.9, hyperparameters.beta2)
        parts.append(torch.optim.AdamW(rest, lr=lr, betas=betas, weight_decay=decay))
    return Both(*parts)


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer, make_groups=make_groups)
)
