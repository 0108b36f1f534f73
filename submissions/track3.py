"""Submissions in the form of modded-nanogpt's track 3: summed losses, constant then falling rates.

Gradients are those of the loss summed over the batch. Learning rates are constant and fall linearly
to 0 over the last part of the step hint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import distributed, nn
from torch.optim import Optimizer

from harness.spec import (
    Batch,
    ForwardPassMode,
    Hyperparameters,
    LossType,
    ModelAuxiliaryState,
    OptimizerState,
    ParameterContainer,
    ParameterType,
    ParameterTypeTree,
    RandomState,
    Tensor,
    UpdateReturn,
)
from submissions.muon import ShardedMuon, hidden_and_rest

COEFFICIENTS = (2.0, -1.5, 0.5)  # a, b, c of Newton-Schulz
ITERATIONS = 12
EPSILON = 1e-10  # of Adam: summed gradients are large

MakeOptimizer = Callable[[nn.Module, Any, Hyperparameters], Optimizer]


class Functions(NamedTuple):
    """The functions of a submission, in the order in which submission.py unpacks them."""

    get_batch_size: Callable[[str], int]
    init_optimizer_state: Callable[..., OptimizerState]
    data_selection: Callable[..., Batch]
    update_params: Callable[..., UpdateReturn]


def submission(make_optimizer: MakeOptimizer) -> Functions:
    """Makes the functions of a submission.

    Args:
        make_optimizer: Called with the model, the workload and the hyperparameters.

    Hyperparameters that every such submission reads: `cooldown_factor`, the part of the step hint
    over which learning rates fall; `warmup_factor`, that over which they rise, 0 without it.
    """

    def init_optimizer_state(
        workload: Any,
        model_params: ParameterContainer,
        model_state: ModelAuxiliaryState,
        hyperparameters: Hyperparameters,
        rng: RandomState,
    ) -> OptimizerState:
        """The optimizer, which keeps its initial learning rates."""
        optimizer = make_optimizer(model_params, workload, hyperparameters)
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        return {"optimizer": optimizer}

    return Functions(get_batch_size, init_optimizer_state, data_selection, update_params)


def get_batch_size(workload_name: str) -> int:
    """The workload's is used."""
    raise ValueError(f"no batch size of its own for {workload_name}")


def data_selection(
    workload: Any,
    input_queue: Iterator[Batch],
    optimizer_state: OptimizerState,
    current_param_container: ParameterContainer,
    model_state: ModelAuxiliaryState,
    hyperparameters: Hyperparameters,
    global_step: int,
    rng: RandomState,
) -> Batch:
    """The next batch."""
    return next(input_queue)


def update_params(
    workload: Any,
    current_param_container: ParameterContainer,
    current_params_types: ParameterTypeTree,
    model_state: ModelAuxiliaryState,
    hyperparameters: Hyperparameters,
    batch: Batch,
    loss_type: LossType,
    optimizer_state: OptimizerState,
    eval_results: list[tuple[int, dict[str, float]]],
    global_step: int,
    rng: RandomState,
) -> UpdateReturn:
    """One step on the gradient of the summed loss, at the learning rates of the step."""
    optimizer = optimizer_state["optimizer"]
    optimizer.zero_grad()
    logits, model_state = workload.model_fn(
        params=current_param_container,
        augmented_and_preprocessed_input_batch=batch,
        model_state=model_state,
        mode=ForwardPassMode.TRAIN,
        rng=rng,
        update_batch_norm=True,
    )
    loss = workload.loss_fn(
        label_batch=batch["targets"], logits_batch=logits, mask_batch=batch.get("weights")
    )
    processes = distributed.get_world_size() if distributed.is_initialized() else 1
    torch.autograd.backward(processes * loss["summed"])  # gradients are averaged over processes
    factor = rate_factor(global_step, workload.step_hint, hyperparameters)
    for group in optimizer.param_groups:
        group["lr"] = factor * group["initial_lr"]
    optimizer.step()
    return optimizer_state, current_param_container, model_state


def rate_factor(step: int, step_hint: int, hyperparameters: Hyperparameters) -> float:
    """What the initial learning rates are multiplied by at a step, from 0; 0 after the step hint.

    Args:
        step: The number of steps made so far.
        step_hint: The number of steps planned.
        hyperparameters: `cooldown_factor` and, optionally, `warmup_factor`.
    """
    left = max(0.0, 1 - step / step_hint)
    warmup = round(getattr(hyperparameters, "warmup_factor", 0.0) * step_hint)
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return float(rise * min(1.0, left / hyperparameters.cooldown_factor))


def split_parameters(model: nn.Module, workload: Any) -> dict[str, list[nn.Parameter]]:
    """Hidden matrices as "hidden", and the rest as "embedding", "output" and "vector".

    Vectors are all biases and gains, the output layer's too.
    """
    hidden, rest = hidden_and_rest(model, workload)
    names = {id(p): name for name, p in model.named_parameters()}
    found: dict[str, list[nn.Parameter]] = {"hidden": hidden}
    found |= {kind: [] for kind in ("embedding", "output", "vector")}
    for parameter in rest:
        name = names[id(parameter)].removeprefix("_orig_mod.").removeprefix("module.")
        embeds = workload.model_params_types[name] is ParameterType.EMBEDDING
        outer = "output" if workload.is_output_params(name) and not embeds else "embedding"
        found["vector" if parameter.ndim < 2 else outer].append(parameter)
    return found


class Track3Muon(ShardedMuon):
    """Muon as track 3's baseline has it, for matrices.

    The rule is::

        m = momentum * m + (1 - momentum) * g
        o = orthogonalised(momentum * m + (1 - momentum) * g)
        w = w - lr * weight_decay * w - lr * sqrt(max(1, rows / columns)) * o

    Every process orthogonalises all matrices. Arguments are those of `ShardedMuon`.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns what the closure gave."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                o = orthogonalised(self._direction(p, group["momentum"]))
                size = math.sqrt(max(1, o.shape[0] / o.shape[1]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(o.view_as(p).to(p.dtype), alpha=-group["lr"] * size)
        return loss


def orthogonalised(matrix: Tensor) -> Tensor:
    """Newton-Schulz: singular values to 1, in the type of the matrix [rows, columns]."""
    a, b, c = COEFFICIENTS
    x: Tensor = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if matrix.shape[0] > matrix.shape[1] else x
