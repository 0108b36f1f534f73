"""Muon for hidden matrices and AdamW for the rest, from pytorch_optimizer."""

from collections.abc import Iterable
from typing import Any

import torch
from pytorch_optimizer import Muon
from torch import nn

from harness.spec import Hyperparameters, ParameterType
from submissions import recipe

MATRICES = (
    ParameterType.WEIGHT, ParameterType.CONV_WEIGHT, ParameterType.ATTENTION_Q,
    ParameterType.ATTENTION_K, ParameterType.ATTENTION_V, ParameterType.ATTENTION_OUT,
    ParameterType.ATTENTION_QKV, ParameterType.ATTENTION_KV,
)  # fmt: skip


def make_groups(model: nn.Module, workload: Any) -> list[dict[str, Any]]:
    """Hidden matrices, and the rest: embeddings, the output layer, biases and norms.

    Embeddings are told by their names too, since criteo1tb's are typed as weights.
    """
    hidden: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for full_name, parameter in model.named_parameters():
        name = full_name.removeprefix("_orig_mod.").removeprefix("module.")
        matrix = parameter.ndim >= 2 and workload.model_params_types[name] in MATRICES
        outer = "embedding" in name or workload.is_output_params(name)
        (hidden if matrix and not outer else rest).append(parameter)
    return [{"params": hidden, "use_muon": True}, {"params": rest, "use_muon": False}]


def make_optimizer(
    groups: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """Muon (Jordan et al. 2024) at AdamW's size (Liu et al. 2025, eq. 4), Nesterov's momentum."""
    return Muon(
        groups,
        lr=hyperparameters.learning_rate,
        momentum=1 - hyperparameters.one_minus_beta1,
        weight_decay=hyperparameters.weight_decay,
        use_adjusted_lr=True,
        adamw_lr=hyperparameters.learning_rate,
        adamw_betas=(0.9, hyperparameters.beta2),
        adamw_wd=hyperparameters.weight_decay,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer, make_groups=make_groups)
)
