"""Training work: the examples that a trial passes forward while training; the step clock's charge.

One unit is one batch of the workload's own size (of `--batch-size` where that is given), which is
also the unit of budgets in baseline steps. An ordinary step does one unit; SAM does two, L-BFGS one
per call of its closure, a step on a batch twice as large two. A call of `update_params` counts at
least one unit, so that small batches do not stretch a budget in steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from harness.spec import ForwardPassMode, Workload


class TrainingWork:
    """Counts one process's share of a trial's training work.

    Counted are examples passed through the workload's `model_fn` in TRAIN mode, and those passed
    through the model itself, or a copy of it, in train mode or with gradients.

    Args:
        workload: The workload that is trained.
        batch_size: The batch size given by the user, which replaces the workload's.
        processes: The number of processes that train together.
    """

    def __init__(
        self, workload: Workload, batch_size: int | None = None, processes: int = 1
    ) -> None:
        self._workload, self._processes = workload, processes
        self._unit = batch_size or workload.train_batch_size
        self._examples = 0  # in the call under way, in this process
        self._in_model_fn = False
        self.hook = ForwardHook(self)

    def begin(self) -> None:
        """A timed call of the submission begins; what ran between such calls does not count."""
        self._examples = 0

    def of_step(self) -> float:
        """Units of work in a call of `data_selection` and `update_params`: at least one."""
        return max(1.0, self.of_preparation())

    def of_preparation(self) -> float:
        """Units of work in a call of `prepare_for_eval`, which may do none at all.

        Where several processes train together, the trial's work is the mean over them.
        """
        return self._examples * self._processes / self._unit

    def model_fn(self, *args: Any, **kwargs: Any) -> Any:
        """The workload's `model_fn`, which returns logits [B, ...]; counts their examples."""
        self._in_model_fn = True
        try:
            returned = self._workload.model_fn(*args, **kwargs)
        finally:
            self._in_model_fn = False
        mode = kwargs["mode"] if "mode" in kwargs else next(iter(args[3:4]), None)
        if mode is ForwardPassMode.TRAIN:
            self._add(_first_tensor(returned))
        return returned

    def watch(self, model: nn.Module) -> None:
        """Counts what is passed through the model without `model_fn`; copies of it count too."""
        model.register_forward_hook(self.hook)

    def forward(self, module: nn.Module, output: Any) -> None:
        """Counts one forward pass that did not go through `model_fn`."""
        if self._in_model_fn:
            return
        logits = _first_tensor(output)
        if module.training or (logits is not None and logits.requires_grad):
            self._add(logits)

    def _add(self, logits: torch.Tensor | None) -> None:
        if logits is not None:
            self._examples += max(0, logits.shape[0] - self._workload.padding_rows)


class ForwardHook:
    """The forward hook of a trial's model. A deep copy is the same hook; a pickle does nothing."""

    def __init__(self, work: TrainingWork | None = None) -> None:
        self._work = work

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        """Counts the pass."""
        if self._work is not None:
            self._work.forward(module, output)

    def __deepcopy__(self, memo: dict[int, Any]) -> ForwardHook:
        return self

    def __reduce__(self) -> tuple[type[ForwardHook], tuple[()]]:
        return ForwardHook, ()


def _first_tensor(output: Any) -> torch.Tensor | None:
    """The first tensor [B, ...] in what a model returned."""
    while isinstance(output, (tuple, list, Mapping)) and output:
        output = next(iter(output.values() if isinstance(output, Mapping) else output))
    return output if isinstance(output, torch.Tensor) and output.dim() else None
