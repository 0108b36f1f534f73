"""Evaluates a trial's model on one split, without hooks that the submission registered.

A forward hook can answer in the model's place, or train, and an evaluation is not timed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from harness.spec import Workload
from harness.trial.process_group import uncompiled

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def evaluate(
    workload: Workload,
    model: nn.Module,
    model_state: Any,
    split: str,
    own_hooks: frozenset[tuple[str, str]],
) -> dict[str, float]:
    """Returns the metrics of a split; raises ValueError if the target metric is missing.

    Args:
        workload: The trial's workload.
        model: The model, unwrapped.
        model_state: The workload's model state.
        split: "train", "validation" or "test".
        own_hooks: Hooks that the workload's model has, as `hooks_of` returns them; others do not
            run.
    """
    with _only(own_hooks, uncompiled(model)):
        metrics = workload.eval_model(model, model_state, split)
    if workload.target_metric_name not in metrics:
        missing = f"the target metric {workload.target_metric_name!r} is missing"
        found = f"eval_model({split!r}) returned {sorted(metrics)}"
        raise ValueError(f"{workload.name}: {found}; {missing}")
    return {f"{split}/{name}": float(value) for name, value in metrics.items()}


def hooks_of(model: nn.Module) -> frozenset[tuple[str, str]]:
    """Returns (name of the module, name of the hook) of each forward hook."""
    return frozenset(
        (name, _name_of(hook))
        for name, module in model.named_modules()
        for kind in _HOOKS
        for hook in getattr(module, kind).values()
    )


@contextmanager
def _only(own: frozenset[tuple[str, str]], model: nn.Module) -> Iterator[None]:
    """Context in which the model has no other forward hooks than `own`."""
    removed = []
    for name, module in model.named_modules():
        for kind in _HOOKS:
            hooks = vars(module)[kind]
            kept = [(key, hook) for key, hook in hooks.items() if (name, _name_of(hook)) in own]
            if len(kept) < len(hooks):
                removed.append((module, kind, hooks))
                vars(module)[kind] = OrderedDict(kept)
    try:
        yield
    finally:
        for module, kind, hooks in removed:
            vars(module)[kind] = hooks


def _name_of(hook: Any) -> str:
    named = hook if hasattr(hook, "__qualname__") else type(hook)
    return f"{named.__module__}.{named.__qualname__}"
