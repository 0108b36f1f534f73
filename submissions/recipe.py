"""A submission from an optimizer and a schedule: the five functions of the submission API."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import SimpleNamespace
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
    ParameterTypeTree,
    RandomState,
    Tensor,
    UpdateReturn,
)
from submissions import schedules
from submissions.schedules import MakeSchedule

HORIZON = 0.75  # schedules end after this part of the step hint, as AlgoPerf's baselines do

MakeOptimizer = Callable[[Iterable[Any], Hyperparameters, int], Optimizer]
MakeGroups = Callable[[nn.Module, Any], Iterable[Any]]  # of the model and the workload


class Functions(NamedTuple):
    """The functions of a submission, in the order in which submission.py unpacks them."""

    get_batch_size: Callable[[str], int]
    init_optimizer_state: Callable[..., OptimizerState]
    data_selection: Callable[..., Batch]
    update_params: Callable[..., UpdateReturn]
    prepare_for_eval: Callable[..., UpdateReturn]


def all_parameters(model: nn.Module, workload: Any) -> Iterable[Tensor]:
    """One group of all parameters."""
    return model.parameters()


def submission(
    make_optimizer: MakeOptimizer,
    make_schedule: MakeSchedule = schedules.cosine,
    fixed: Mapping[str, Any] | None = None,
    make_groups: MakeGroups = all_parameters,
) -> Functions:
    """Makes the functions of a submission.

    Args:
        make_optimizer: Called with the parameters, the hyperparameters and the horizon in steps.
        make_schedule: Called with the optimizer, the hyperparameters and the horizon in steps.
        fixed: The hyperparameters of a self-tuning submission; None for external tuning.
        make_groups: The parameters that `make_optimizer` is called with, or groups of them.

    The optimizer is called as `step(closure)`. `closure()` clears the gradients, computes the loss
    [] of the step's batch and its gradients, clips them where the hyperparameters say so, and
    returns the loss; it may be called as often as the optimizer likes. `closure(backward=False)`
    only returns the loss. Batch norm takes the batch into its statistics once.

    Optional hyperparameters that every such submission reads: `label_smoothing`, `dropout_rate`,
    `grad_clip` (the largest norm of the gradient).

    Example:
        >>> def make_optimizer(params, hyperparameters, horizon):
        ...     return torch.optim.SGD(params, lr=hyperparameters.learning_rate)
        >>> functions = submission(make_optimizer, schedules.none, fixed={"learning_rate": 0.1})
        >>> functions._fields[:2]
        ('get_batch_size', 'init_optimizer_state')
    """
    recipe = _Recipe(make_optimizer, make_schedule, fixed, make_groups)
    return Functions(
        recipe.get_batch_size,
        recipe.init_optimizer_state,
        recipe.data_selection,
        recipe.update_params,
        recipe.prepare_for_eval,
    )


def _mean(loss: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The mean over valid examples [], and what to differentiate for its gradient [].

    Where processes train together, the mean is over the examples of all, and each differentiates
    its part times their number, since gradients are averaged over them later.
    """
    summed, valid = loss["summed"], loss["n_valid_examples"]
    if not distributed.is_initialized():
        mean = summed / valid
        return mean.detach(), mean
    both = torch.stack([summed.detach(), valid.to(summed.dtype)])
    distributed.all_reduce(both)
    return both[0] / both[1], summed * (distributed.get_world_size() / both[1])


class _Recipe:
    """The functions of a submission, under AlgoPerf's names and arguments."""

    def __init__(
        self,
        make_optimizer: MakeOptimizer,
        make_schedule: MakeSchedule,
        fixed: Mapping[str, Any] | None,
        make_groups: MakeGroups,
    ) -> None:
        self._make_optimizer, self._make_schedule = make_optimizer, make_schedule
        self._make_groups = make_groups
        self._fixed = None if fixed is None else SimpleNamespace(**fixed)

    def get_batch_size(self, workload_name: str) -> int:
        """None of its own: the workload's is used."""
        raise ValueError(f"no batch size of its own for {workload_name}")

    def init_optimizer_state(
        self,
        workload: Any,
        model_params: ParameterContainer,
        model_state: ModelAuxiliaryState,
        hyperparameters: Hyperparameters,
        rng: RandomState,
    ) -> OptimizerState:
        """The optimizer and, where it has one, its schedule."""
        chosen = self._fixed or hyperparameters
        horizon = math.ceil(HORIZON * workload.step_hint)
        groups = self._make_groups(model_params, workload)
        optimizer = self._make_optimizer(groups, chosen, horizon)
        schedule = self._make_schedule(optimizer, chosen, horizon)
        return {"optimizer": optimizer} | ({} if schedule is None else {"schedule": schedule})

    def data_selection(
        self,
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
        self,
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
        """One step of the optimizer, then of the schedule."""
        chosen = self._fixed or hyperparameters
        optimizer = optimizer_state["optimizer"]
        if hasattr(optimizer, "train"):
            optimizer.train()
        dropout = {"dropout_rate": chosen.dropout_rate} if hasattr(chosen, "dropout_rate") else {}
        first = True

        def closure(backward: bool = True) -> Tensor:
            nonlocal first, model_state
            if backward:
                optimizer.zero_grad()
            logits, model_state = workload.model_fn(
                params=current_param_container,
                augmented_and_preprocessed_input_batch=batch,
                model_state=model_state,
                mode=ForwardPassMode.TRAIN,
                rng=rng,
                update_batch_norm=first,
                **dropout,
            )
            first = False
            loss = workload.loss_fn(
                label_batch=batch["targets"],
                logits_batch=logits,
                mask_batch=batch.get("weights"),
                label_smoothing=getattr(chosen, "label_smoothing", 0.0),
            )
            mean, part = _mean(loss)
            if backward:
                torch.autograd.backward(part)
                if hasattr(chosen, "grad_clip"):
                    parameters = current_param_container.parameters()
                    torch.nn.utils.clip_grad_norm_(parameters, chosen.grad_clip)
            return mean

        optimizer.step(closure)
        if "schedule" in optimizer_state and global_step < HORIZON * workload.step_hint:
            optimizer_state["schedule"].step()
        return optimizer_state, current_param_container, model_state

    def prepare_for_eval(
        self,
        workload: Any,
        current_param_container: ParameterContainer,
        current_params_types: ParameterTypeTree,
        model_state: ModelAuxiliaryState,
        hyperparameters: Hyperparameters,
        loss_type: LossType,
        optimizer_state: OptimizerState,
        eval_results: list[tuple[int, dict[str, float]]],
        global_step: int,
        rng: RandomState,
    ) -> UpdateReturn:
        """Lets optimizers that evaluate other weights than they train swap them in."""
        optimizer = optimizer_state["optimizer"]
        if hasattr(optimizer, "eval"):
            optimizer.eval()
        return optimizer_state, current_param_container, model_state
