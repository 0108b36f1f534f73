"""How the objects of a submission's state are taken apart and put together, kind by kind."""

from __future__ import annotations

import collections
import enum
import functools
import random
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

VALUES = (type(None), bool, int, float, str)
_INERT = (  # objects that hold nothing that changes
    type, types.ModuleType, types.BuiltinFunctionType, torch.dtype, torch.device, torch.layout,
    torch.memory_format, enum.Enum, property,
)  # fmt: skip
_CONTAINERS = (
    list, set, dict, collections.deque, collections.OrderedDict, collections.defaultdict,
    collections.Counter,
)  # fmt: skip
_COMPILED = "_orig_mod"  # the module that torch.compile wrapped


class NotResumableError(Exception):
    """Something in a submission's state cannot be saved; the message says what, and where."""


RANDOM: dict[type, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {
    torch.Generator: (lambda g: g.get_state(), lambda g, state: g.set_state(state)),
    random.Random: (lambda g: g.getstate(), lambda g, state: g.setstate(state)),
    np.random.Generator: (
        lambda g: g.bit_generator.state,
        lambda g, state: setattr(g.bit_generator, "state", state),
    ),
    np.random.RandomState: (
        lambda g: g.get_state(legacy=False),
        lambda g, state: g.set_state(state),
    ),
}


def kind_of(thing: Any) -> str:
    """How an object is taken apart."""
    if type(thing) in (torch.Tensor, nn.Parameter):
        return "tensor"
    if type(thing) is np.ndarray:
        return "array"
    if type(thing) in _CONTAINERS:
        return "container"
    if type(thing) in RANDOM:
        return "random"
    if isinstance(thing, _INERT):
        return "inert"
    return "function" if isinstance(thing, types.FunctionType) else "object"


def attributes(thing: Any, where: str) -> list[tuple[str, Any]]:
    """What an object holds, by name; a function holds the variables that it closes over.

    Raises:
        NotResumableError: It has a state that cannot be seen, as an iterator has.
    """
    if isinstance(thing, types.FunctionType):
        return [(n, cell.cell_contents) for n, cell in _cells(thing).items() if _filled(cell)]
    if isinstance(thing, functools.partial):
        return [("func", thing.func), ("args", thing.args), ("keywords", thing.keywords)]
    if _is_wrapper(thing):
        name = "module" if isinstance(thing, DistributedDataParallel) else _COMPILED
        return [(name, getattr(thing, name))]
    names = _slots(type(thing))
    hidden = isinstance(thing, (Iterator, torch.Tensor, *_CONTAINERS))
    if hidden or not (hasattr(thing, "__dict__") or names):
        raise NotResumableError(
            f"{shown_place(where)} holds a {name_of(type(thing))}, whose state cannot be read"
        )
    found = [(name, getattr(thing, name)) for name in names if hasattr(thing, name)]
    return found + sorted(getattr(thing, "__dict__", {}).items())


def set_attributes(thing: Any, held: dict[str, Any]) -> None:
    """Gives an object what it held; what a wrapper or a partial holds was filled in place."""
    if isinstance(thing, types.FunctionType):
        cells = _cells(thing)
        for name, value in held.items():
            cells[name].cell_contents = value
    elif not _is_wrapper(thing) and not isinstance(thing, functools.partial):
        slots = _slots(type(thing))
        if hasattr(thing, "__dict__"):
            thing.__dict__.clear()
            thing.__dict__.update({n: value for n, value in held.items() if n not in slots})
        for name in slots:
            if name in held:
                object.__setattr__(thing, name, held[name])


def _cells(function: types.FunctionType) -> dict[str, types.CellType]:
    return dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))


def _is_wrapper(thing: Any) -> bool:
    """Whether it is a module that DistributedDataParallel or torch.compile put around another."""
    compiled = isinstance(thing, nn.Module) and _COMPILED in thing._modules
    return compiled or isinstance(thing, DistributedDataParallel)


def _slots(cls: type) -> list[str]:
    found: list[str] = []
    for base in cls.__mro__:
        slots = base.__dict__.get("__slots__", ())
        found += [slots] if isinstance(slots, str) else list(slots)
    return [name for name in found if name not in ("__dict__", "__weakref__")]


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True


def shell(kind: str, cls: str, state: Any, class_named: Callable[[str], type]) -> Any:
    """An object of a kind, yet to be filled."""
    if kind == "tensor":
        empty = torch.empty(0, dtype=state[0].dtype, device=state[0].device)
        return nn.Parameter(empty, False) if cls.endswith("Parameter") else empty
    if kind == "array":
        return np.empty(state[1], state[0])
    if kind == "container":
        (made,) = (known for known in _CONTAINERS if name_of(known) == cls)
        return made(maxlen=state[1][1]) if made is collections.deque else made()
    made_of = class_named(cls)
    return object.__new__(made_of)


def packed(data: bytes) -> torch.Tensor:
    """Bytes as a tensor, which a checkpoint may hold."""
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())


def unpacked(data: torch.Tensor, dtype: str) -> np.ndarray:
    """The inverse, as an array [N]."""
    return np.frombuffer(data.numpy().tobytes(), dtype)


def check_dtype(dtype: np.dtype[Any], where: str) -> None:
    """Raises NotResumableError for arrays of Python objects and of records."""
    if dtype.hasobject or dtype.fields:
        raise NotResumableError(f"{shown_place(where)} holds an array of {dtype}")


def name_of(cls: type) -> str:
    """A class by its module and name."""
    return f"{cls.__module__}.{cls.__qualname__}"


def shown_place(where: str) -> str:
    """Where something is held, for messages."""
    return where.lstrip(".") or "the state"


def shown_key(key: Any) -> str:
    """A dict's key, for messages."""
    return repr(key) if type(key) in VALUES else type(key).__name__
