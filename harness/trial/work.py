"""Training work: how many examples a trial passes forward while training; the step clock's charge.

One unit is one batch of the workload's own size (of `--batch-size` where that is given), which is
also the unit of budgets in baseline steps. An ordinary step does one unit; SAM does two, L-BFGS one
for each call of its closure, a step on a batch twice as large two. A call of `update_params` counts
as one unit at least, so that small batches do not stretch a budget in steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from harness.spec import ForwardPassMode, Workload
from harness.trial.process_group import ProcessGroup
from scoring.records import TrialSpec


class TrainingWork:
    """Counts the training work of a trial's calls, over all processes that train together.

    Counted are examples passed through the workload's `model_fn` in TRAIN mode, and those passed
    through the model itself, or a copy of it, in train mode or with gradients.

    Args:
        workload: The workload that is trained.
        spec: The trial.
        group: The processes that train together.

    Attributes:
        hook: What watches the model.
        in_model_fn: Whether a pass through the model is part of `model_fn`, which counts it.
    """

    def __init__(self, workload: Workload, spec: TrialSpec, group: ProcessGroup) -> None:
        self._workload_fn, self._group = workload.model_fn, group
        self._padding = workload.padding_rows
        self._unit = spec.batch_size or workload.train_batch_size
        self._is_charged = spec.clock == "steps"
        self._examples = 0  # in the current call, in this process
        self.in_model_fn = False
        self.hook = ForwardHook(self)

    def begin(self) -> None:
        """A timed call of the submission begins; what ran between such calls does not count."""
        self._examples = 0

    def of_step(self) -> float:
        """Units of work in a call of `data_selection` and `update_params`: at least one."""
        return self._mean(max(1.0, self._units()))

    def of_preparation(self) -> float:
        """Units of work in a call of `prepare_for_eval`, which may do none at all."""
        return self._mean(self._units())

    def _units(self) -> float:
        """Units of work if every process did as much as this one."""
        return self._examples * self._group.size / self._unit

    def _mean(self, units: float) -> float:
        """The mean over the processes; where work is not charged, each adds up its own."""
        return self._group.mean(units) if self._is_charged else units

    def model_fn(self, *args: Any, **kwargs: Any) -> Any:
        """The workload's `model_fn`, which returns logits [B, ...]; counts their examples."""
        self.in_model_fn = True
        try:
            returned = self._workload_fn(*args, **kwargs)
        finally:
            self.in_model_fn = False
        if (args[3] if len(args) > 3 else kwargs.get("mode")) is ForwardPassMode.TRAIN:
            self._add(_first_tensor(returned[0]))
        return returned

    def watch(self, model: nn.Module) -> None:
        """Counts what is passed through the model without `model_fn`; copies of it count too."""
        model.register_forward_hook(self.hook)

    def forward(self, module: nn.Module, output: Any) -> None:
        """Counts one forward pass that did not go through `model_fn`."""
        logits = _first_tensor(output)
        if module.training or (logits is not None and logits.requires_grad):
            self._add(logits)

    def _add(self, logits: torch.Tensor | None) -> None:
        if logits is not None:
            self._examples += max(0, len(logits) - self._padding)


class ForwardHook:
    """The forward hook of a trial's model. A deep copy is the same hook; a pickle does nothing."""

    def __init__(self, work: TrainingWork | None = None) -> None:
        self._work = work

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        """Counts the pass."""
        if self._work is not None and not self._work.in_model_fn:
            self._work.forward(module, output)

    def __deepcopy__(self, memo: dict[int, Any]) -> ForwardHook:
        return self

    def __reduce__(self) -> tuple[type[ForwardHook], tuple[()]]:
        return ForwardHook, ()


def _first_tensor(output: Any) -> torch.Tensor | None:
    """The first tensor [B, ...] in what a model returned."""
    while not isinstance(output, torch.Tensor):
        if not (isinstance(output, (tuple, list, Mapping)) and output):
            return None
        output = next(iter(output.values() if isinstance(output, Mapping) else output))
    return output if output.dim() else None
