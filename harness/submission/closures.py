"""Gradients in the closures of optimizers whose `step(closure)` runs with gradients disabled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

_RECIPE = "submissions.recipe"  # its closure computes gradients if called without arguments


@functools.cache
def enable_gradients_in_closures() -> None:
    """Enables them in this process from now on, as torch's own optimizers do themselves."""
    register_optimizer_step_pre_hook(_enable_gradients)


def _enable_gradients(
    optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Wraps the closure in the arguments of an optimizer's step."""
    given = tuple(map(_wrapped, args))
    return given, {name: _wrapped(value) for name, value in kwargs.items()}


def _wrapped(argument: Any) -> Any:
    if getattr(argument, "__module__", None) != _RECIPE or not callable(argument):
        return argument
    closure: Callable[..., torch.Tensor] = argument

    @functools.wraps(closure)
    def with_gradients(*args: Any, **kwargs: Any) -> torch.Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() or not (args or kwargs)):
            return closure(*args, **kwargs)

    return with_gradients
