"""Submissions whose optimizer knows all training examples: full-batch and finite-sum methods.

Such a submission says in submission_info.json, as "runs_on", which workloads it can train.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import distributed
from torch.optim import Optimizer

from harness.spec import (
    Batch,
    ForwardPassMode,
    Hyperparameters,
    OptimizerState,
    ParameterContainer,
    Tensor,
    UpdateReturn,
)
from submissions.recipe import Functions

MakeOptimizer = Callable[[Iterable[Any], Hyperparameters, int, int], Optimizer]


def submission(make_optimizer: MakeOptimizer, fixed: Mapping[str, Any] | None = None) -> Functions:
    """Makes the functions of a submission whose optimizer sees all training examples.

    The optimizer is called as `step(closure)`. `closure(index, backward=True)` clears the
    gradients, computes the loss [] of the example `index` and its gradients, and returns the loss;
    of several examples [B] it is the mean, and without an index the mean over all examples.
    `closure(index, backward=False)` only returns the loss, which is attached to the graph where
    gradients are enabled. In the first step the examples are collected from as many batches as it
    takes to see each, on the clock.

    Args:
        make_optimizer: Called with the parameters, the hyperparameters, the number of examples and
            a seed.
        fixed: The hyperparameters of a self-tuning submission; None for external tuning.
    """
    made = _WholeData(make_optimizer, fixed)
    return Functions(
        made.get_batch_size,
        made.init_optimizer_state,
        made.data_selection,
        made.update_params,
        made.prepare_for_eval,
    )


def collected(queue: Iterator[Batch], count: int) -> Batch:
    """All `count` examples of a split as one batch, in the order of their indices."""
    first = next(queue)
    whole = {name: column.new_empty((count, *column.shape[1:])) for name, column in first.items()}
    seen = torch.zeros(count, dtype=torch.bool, device=first["indices"].device)
    batch = first
    while True:
        for name, column in batch.items():
            whole[name][batch["indices"]] = column
        seen[batch["indices"]] = True
        if seen.all():
            return whole
        batch = next(queue)


class _WholeData:
    """The functions of a submission, under AlgoPerf's names and arguments."""

    def __init__(self, make_optimizer: MakeOptimizer, fixed: Mapping[str, Any] | None) -> None:
        self._make_optimizer = make_optimizer
        self._fixed = None if fixed is None else SimpleNamespace(**fixed)

    def get_batch_size(self, workload_name: str) -> int:
        """None of its own: the examples are collected in the workload's batches."""
        raise ValueError(f"no batch size of its own for {workload_name}")

    def init_optimizer_state(
        self, workload: Any, model_params: ParameterContainer, model_state: Any,
        hyperparameters: Hyperparameters, rng: Any,
    ) -> OptimizerState:  # fmt: skip
        """The optimizer; the examples follow in the first step."""
        if distributed.is_initialized():
            raise ValueError("a method that collects all examples trains in a single process")
        seed = int(torch.tensor(rng, dtype=torch.int64).sum()) & 0x7FFFFFFF
        count = workload.num_train_examples
        chosen = self._fixed or hyperparameters
        return {"optimizer": self._make_optimizer(model_params.parameters(), chosen, count, seed)}

    def data_selection(
        self, workload: Any, input_queue: Iterator[Batch], optimizer_state: OptimizerState,
        current_param_container: ParameterContainer, model_state: Any,
        hyperparameters: Hyperparameters, global_step: int, rng: Any,
    ) -> Batch:  # fmt: skip
        """All examples."""
        if "examples" not in optimizer_state:
            optimizer_state["examples"] = collected(input_queue, workload.num_train_examples)
        examples: Batch = optimizer_state["examples"]
        return examples

    def update_params(
        self, workload: Any, current_param_container: ParameterContainer,
        current_params_types: Any, model_state: Any, hyperparameters: Hyperparameters, batch: Batch,
        loss_type: Any, optimizer_state: OptimizerState, eval_results: Any, global_step: int,
        rng: Any,
    ) -> UpdateReturn:  # fmt: skip
        """One step of the optimizer."""
        optimizer = optimizer_state["optimizer"]

        def closure(index: int | Tensor | None = None, backward: bool = True) -> Tensor:
            if backward:
                optimizer.zero_grad()
            chosen = batch
            if index is not None:
                rows = index if isinstance(index, Tensor) else slice(index, index + 1)
                chosen = {name: column[rows] for name, column in batch.items()}
            logits, _ = workload.model_fn(
                params=current_param_container,
                augmented_and_preprocessed_input_batch=chosen,
                model_state=model_state,
                mode=ForwardPassMode.TRAIN,
                rng=rng,
                update_batch_norm=index is None,
            )
            loss = workload.loss_fn(label_batch=chosen["targets"], logits_batch=logits)
            mean: Tensor = loss["summed"] / loss["n_valid_examples"]
            if backward:
                torch.autograd.backward(mean)
            return mean.detach() if backward else mean

        optimizer.step(closure)
        return optimizer_state, current_param_container, model_state

    def prepare_for_eval(
        self, workload: Any, current_param_container: ParameterContainer,
        current_params_types: Any, model_state: Any, hyperparameters: Hyperparameters,
        loss_type: Any, optimizer_state: OptimizerState, eval_results: Any, global_step: int,
        rng: Any,
    ) -> UpdateReturn:  # fmt: skip
        """Changes nothing."""
        return optimizer_state, current_param_container, model_state
