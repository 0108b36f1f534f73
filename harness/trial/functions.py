"""What evaluates and measures: recorded before a submission is imported, and compared later."""

from __future__ import annotations

import builtins
import math
import sys
import time
from collections.abc import Iterator
from functools import cached_property
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.spec import Workload

OURS = ("harness", "scoring", "workloads")
_LIBRARIES = (builtins, math, time, np, torch, torch.nn.functional, nn.Module, torch.Tensor)
_REPLACED_BY_TORCH = (torch, "manual_seed")  # by torch._dynamo, when it is imported
_DESCRIPTORS = (property, classmethod, staticmethod, cached_property)


class Functions:
    """Functions of this project, of the workload, of its model's classes, and of libraries.

    Args:
        workload: The trial's workload.
        model: A model of it.
    """

    def __init__(self, workload: Workload, model: nn.Module) -> None:
        owners = _owners(workload, model)
        self._names = [(owner, frozenset(vars(owner))) for owner in owners]
        self._values = [
            (owner, name, value)
            for owner in owners
            for name, value in list(vars(owner).items())
            if (_is_function(value) or isinstance(value, ModuleType))
            and (owner, name) != _REPLACED_BY_TORCH
        ]
        self._codes = [
            (owner, name, f, f.__code__, f.__defaults__, f.__kwdefaults__)
            for owner, name, value in self._values
            if isinstance(f := _unwrapped(value), FunctionType)
        ]
        self._tables = {
            id(value): (f"{_name_of(owner)}.{name}", value, dict(value))
            for owner in owners
            if isinstance(owner, ModuleType) and owner.__name__.partition(".")[0] in OURS
            for name, value in list(vars(owner).items())
            if type(value) is dict and name[:2] != "__" and any(map(callable, value.values()))
        }

    def replaced(self) -> Iterator[str]:
        """Yields the names of those that were replaced, or hidden by another of the same name."""
        for owner, name, value in self._values:
            if vars(owner).get(name) is not value:
                yield f"{_name_of(owner)}.{name}"
        for owner, name, f, code, defaults, keywords in self._codes:
            if (
                f.__code__ is not code
                or f.__defaults__ is not defaults
                or f.__kwdefaults__ is not keywords
            ):
                yield f"{_name_of(owner)}.{name}"
        for owner, known in self._names:
            for name in vars(owner).keys() - known:
                if _is_function(vars(owner).get(name)) and _hides(owner, name):
                    yield f"{_name_of(owner)}.{name}"
        for place, table, before in self._tables.values():
            for key, value in before.items():
                if table.get(key) is not value:
                    yield f"{place}[{key!r}]"


def _owners(workload: Workload, model: nn.Module) -> list[Any]:
    """Returns the modules, classes and objects that hold the functions."""
    roots = {*OURS, type(workload).__module__.partition(".")[0]}
    owners = [*_LIBRARIES, workload]
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in roots and module is not None:
            owners.append(module)
            owners += [
                value
                for value in vars(module).values()
                if isinstance(value, type) and value.__module__ == name
            ]
    owners += [cls for module in model.modules() for cls in type(module).__mro__[:-1]]
    return list({id(owner): owner for owner in owners}.values())


def _is_function(value: Any) -> bool:
    return callable(value) or isinstance(value, _DESCRIPTORS)


def _unwrapped(value: Any) -> Any:
    """Returns the function of a property or method."""
    if isinstance(value, property):
        return value.fget
    if isinstance(value, _DESCRIPTORS):
        return getattr(value, "__func__", getattr(value, "func", None))
    return value


def _hides(owner: Any, name: str) -> bool:
    """Returns whether a new name in `owner` hides a function that was found by that name."""
    if isinstance(owner, ModuleType):
        return hasattr(builtins, name)
    if isinstance(owner, type):
        return any(_is_function(vars(base).get(name)) for base in owner.__mro__[1:])
    return callable(getattr(type(owner), name, None))


def _name_of(owner: Any) -> str:
    if isinstance(owner, type):
        return f"{owner.__module__}.{owner.__qualname__}"
    return getattr(owner, "__name__", type(owner).__name__)
