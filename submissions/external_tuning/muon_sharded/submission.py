"""Muon for hidden matrices, shared out among processes, and AdamW for the rest."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from harness.spec import Hyperparameters
from submissions import recipe
from submissions.muon import Both, ShardedMuon, hidden_and_rest


def make_groups(model: nn.Module, workload: Any) -> list[dict[str, Any]]:
    """Hidden matrices, and the rest."""
    hidden, rest = hidden_and_rest(model, workload)
    return [{"params": hidden}, {"params": rest}]


def make_optimizer(
    groups: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """Muon (Jordan et al. 2024; Liu et al. 2025, eq. 4) and torch's AdamW."""
    hidden, rest = (group["params"] for group in groups)
    lr, decay = hyperparameters.learning_rate, hyperparameters.weight_decay
    parts: list[torch.optim.Optimizer] = []
    if hidden:
        parts.append(ShardedMuon(hidden, lr, 1 - hyperparameters.one_minus_beta1, decay))
    if rest:
        betas = (0.9, hyperparameters.beta2)
        parts.append(torch.optim.AdamW(rest, lr=lr, betas=betas, weight_decay=decay))
    return Both(*parts)


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer, make_groups=make_groups)
)
