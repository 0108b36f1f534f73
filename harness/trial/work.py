"""Training work: examples in a trial's forward passes for training; the step clock charges it.

One unit is one batch of the workload's own size (of `--batch-size` if given), which is also the
unit of budgets in baseline steps. An ordinary step is one unit of work; a step of SAM is two, a
step of L-BFGS one per call of its closure, a step on a batch twice as large two. A call of
`update_params` is at least one unit, so that small batches do not extend a budget in steps.
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

    It counts examples passed through the workload's `model_fn` in TRAIN mode, and those passed
    through the model itself, or a copy of it, in train mode or with gradients.

    Args:
        workload: The workload that is trained.
        spec: The trial.
        group: The processes that train together.

    Attributes:
        hook: Forward hook of the model, which counts passes outside `model_fn`.
        in_model_fn: Whether `model_fn` is running, which counts its own forward pass.
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
        """Starts a timed call of the submission; work between timed calls is not counted."""
        self._examples = 0

    def step_units(self) -> float:
        """Returns the units of work of `data_selection` and `update_params`, at least one."""
        return self._mean(max(1.0, self._units()))

    def preparation_units(self) -> float:
        """Returns the units of work of `prepare_for_eval`, which may be zero."""
        return self._mean(self._units())

    def _units(self) -> float:
        """Returns the units of work, assuming that every process did as much as this one."""
        return self._examples * self._group.size / self._unit

    def _mean(self, units: float) -> float:
        """Returns the mean over the processes if work is charged, else this process's units."""
        return self._group.mean(units) if self._is_charged else units

    def model_fn(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the workload's `model_fn`, which returns logits [B, ...]; counts the examples."""
        self.in_model_fn = True
        try:
            returned = self._workload_fn(*args, **kwargs)
        finally:
            self.in_model_fn = False
        if (args[3] if len(args) > 3 else kwargs.get("mode")) is ForwardPassMode.TRAIN:
            self._add(_first_tensor(returned[0]))
        return returned

    def watch(self, model: nn.Module) -> None:
        """Counts passes through the model, or a copy of it, outside `model_fn`."""
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
    """Returns the first tensor [B, ...] in the output of a model; None if there is none."""
    while not isinstance(output, torch.Tensor):
        if not (isinstance(output, (tuple, list, Mapping)) and output):
            return None
        output = next(iter(output.values() if isinstance(output, Mapping) else output))
    return output if output.dim() else None
