"""NadamW with three points one after another, each from the same initial weights."""

import math
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import torch

from harness.spec import Hyperparameters, OptimizerState, Tensor, UpdateReturn
from submissions import recipe

KEYS = ("learning_rate", "one_minus_beta1", "beta2", "weight_decay", "warmup_factor")
POINTS = ((0.01, 0.1, 0.99, 0.001, 0.05), (0.001, 0.1, 0.999, 0.01, 0.05),
          (0.003, 0.05, 0.99, 0.001, 0.02))  # fmt: skip


def make_optimizer(
    params: Iterable[Tensor], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """NAdam (Dozat 2016) with the weight decay of AdamW (Loshchilov and Hutter 2019)."""
    return torch.optim.NAdam(
        params,
        lr=hyperparameters.learning_rate,
        betas=(1 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        weight_decay=hyperparameters.weight_decay,
        decoupled_weight_decay=True,
    )


RUNS = [
    recipe.submission(make_optimizer, fixed=dict(zip(KEYS, point, strict=True))) for point in POINTS
]
get_batch_size, data_selection = RUNS[0].get_batch_size, RUNS[0].data_selection


def part_of(workload: Any) -> Any:
    """The workload as one of the runs sees it: with its part of the step hint."""
    return SimpleNamespace(
        model_fn=workload.model_fn,
        loss_fn=workload.loss_fn,
        step_hint=workload.step_hint / len(RUNS),
    )


def init_optimizer_state(
    workload: Any, model_params: torch.nn.Module, model_state: Any, *rest: Any
) -> OptimizerState:
    """The three optimizers, and the model as it is at the start."""
    part = part_of(workload)
    return {
        "runs": [r.init_optimizer_state(part, model_params, model_state, *rest) for r in RUNS],
        "start": [tensor.detach().clone() for tensor in tensors(model_params)],
    }


def tensors(model: torch.nn.Module) -> list[Tensor]:
    """The parameters and buffers."""
    return [*model.parameters(), *model.buffers()]


def update_params(
    *,
    workload: Any,
    current_param_container: torch.nn.Module,
    optimizer_state: OptimizerState,
    global_step: int,
    **rest: Any,
) -> UpdateReturn:
    """A step of the run whose turn it is; the last one goes on."""
    part = part_of(workload)
    steps = math.ceil(recipe.HORIZON * part.step_hint)
    turn = min(global_step // steps, len(RUNS) - 1)
    if turn > 0 and global_step == turn * steps:
        optimizer_state["runs"][turn - 1]["optimizer"].state.clear()
        with torch.no_grad():
            torch._foreach_copy_(tensors(current_param_container), optimizer_state["start"])
    _, params, model_state = RUNS[turn].update_params(
        workload=part,
        current_param_container=current_param_container,
        optimizer_state=optimizer_state["runs"][turn],
        global_step=global_step - turn * steps,
        **rest,
    )
    return optimizer_state, params, model_state
