"""Walks object graphs, and finds where two of them differ."""

from __future__ import annotations

import copyreg
import enum
import hashlib
import logging
import pathlib
import types
import weakref
from collections import deque
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch.nn import UninitializedBuffer, UninitializedParameter
from torch.storage import TypedStorage, UntypedStorage

from harness.checkpoint import reducers

_VALUES = (type(None), bool, int, float, complex, str, bytes)
_BY_NAME = (
    type, types.ModuleType, types.BuiltinFunctionType, types.CodeType, enum.Enum, logging.Logger,
    torch.dtype, torch.device, torch.layout, torch.memory_format, TypedStorage, UntypedStorage,
    pathlib.PurePath,
)  # fmt: skip
_COMPILERS = ("triton", "torch._dynamo", "torch._inductor")
_COMPILED_FROM = "_torchdynamo_orig_callable"  # attribute of functions that torch.compile returns
_OF_FUNCTIONS = ("__self__", "__func__", "__defaults__", "__kwdefaults__")
_HASHED_BY_ADDRESS: tuple[Any, ...] = (object.__hash__, torch.Tensor.__hash__)
_REDUCE = ("__reduce__", "__reduce_ex__")
_MAX_SHOWN = 100  # characters of a path in a message


def walk(roots: Mapping[str, Any], known: Container[int]) -> Iterator[tuple[str, Any]]:
    """Yields every path and object reachable from the roots, breadth first.

    An object that is reachable by several paths is yielded with each of them.

    Args:
        roots: Objects by name; paths begin with the name.
        known: Ids of objects whose contents are skipped.
    """
    waiting = deque(roots.items())
    seen: dict[int, Any] = {}  # keeps the objects alive, so that ids stay unique
    while waiting:
        path, obj = waiting.popleft()
        yield path, obj
        if not (is_leaf(obj) or id(obj) in known or id(obj) in seen):
            seen[id(obj)] = obj
            waiting.extend((path + label, part) for label, part in _parts(obj))


def differences(
    here: Mapping[str, Any], there: Mapping[str, Any], known: Container[int]
) -> list[str]:
    """Returns the paths where two object graphs differ, with the reason if it is known.

    Args:
        here: Objects by name.
        there: Supposed copies, by the same names.
        known: Ids of objects that both refer to.
    """
    ours, theirs = _describe(here, known), _describe(there, known)
    differ = [path for path in ours if ours[path] != theirs.get(path)]
    found: list[str] = []
    for path in _outermost(differ):
        why = next((f" ({d.why})" for d in ours[path] if isinstance(d, _Address)), "")
        found.append(shown(path) + why)
    return found


def fingerprint(roots: Mapping[str, Any], known: Container[int]) -> dict[str, list[Any]]:
    """Returns a description of objects for `changes`, without references to them.

    Args:
        roots: Objects by name.
        known: Ids of objects whose contents are skipped.
    """
    described = _describe(roots, known)
    return {
        path: [part for part in parts if not isinstance(part, _Address)]
        for path, parts in described.items()
    }


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Returns the outermost paths where two fingerprints differ."""
    paths = dict.fromkeys([*before, *after])
    differ = [path for path in paths if before.get(path) != after.get(path)]
    return [shown(path) for path in _outermost(differ)]


def _outermost(paths: list[str]) -> list[str]:
    """Returns the paths that are not inside any other of them."""
    return [
        path
        for path in paths
        if not any(path != other and path.startswith(other) for other in paths)
    ]


def shown(path: str) -> str:
    """Shortens a path for a message."""
    return path if len(path) <= _MAX_SHOWN else f"{path[:_MAX_SHOWN]}..."


class _Address:
    """Marks content that depends on memory addresses; never equal to anything else."""

    def __init__(self, why: str) -> None:
        self.why = why


def is_leaf(obj: Any) -> bool:
    """Whether an object's contents are not walked."""
    return type(obj) in _VALUES or isinstance(obj, _BY_NAME) or _is_compiled(obj)


def _is_compiled(obj: Any) -> bool:
    """Whether an object is a compiler's output, which can be compiled again."""
    compiled = isinstance(obj, types.FunctionType) and _COMPILED_FROM in vars(obj)
    return compiled or type(obj).__module__.startswith(_COMPILERS)


def _parts(obj: Any) -> Iterator[tuple[str, Any]]:
    """Yields the parts of an object, with labels to append to its path."""
    if isinstance(obj, dict):
        for number, (key, value) in enumerate(obj.items()):
            yield f".keys()[{number}]", key
            yield f"[{key!r}]" if type(key) in _VALUES else f".values()[{number}]", value
    elif isinstance(obj, (list, tuple, deque)):
        yield from ((f"[{number}]", item) for number, item in enumerate(obj))
    elif isinstance(obj, (set, frozenset)):
        yield from ((".element", item) for item in sorted(obj, key=repr))
    elif isinstance(obj, (types.FunctionType, types.MethodType)):
        variables = zip(obj.__code__.co_freevars, obj.__closure__ or (), strict=True)
        yield from ((f".{name}", cell) for name, cell in variables)
        yield from ((f".{name}", getattr(obj, name, None)) for name in _OF_FUNCTIONS)
    elif isinstance(obj, types.CellType):
        with suppress(ValueError):
            yield "", obj.cell_contents
    elif isinstance(obj, weakref.ref):
        yield from (("()", obj()), (".__callback__", obj.__callback__))
    elif isinstance(obj, torch.Tensor):
        yield from ((f".{name}", part) for name, part in reducers.tensor_state(obj).items())
    elif isinstance(obj, np.ndarray) and obj.dtype.hasobject:
        yield from ((f".flat[{number}]", item) for number, item in enumerate(obj.flat))
    if type(obj) not in (dict, list, tuple, set, frozenset):
        yield from _attributes(obj)


def _attributes(obj: Any) -> Iterator[tuple[str, Any]]:
    """Yields the attributes of an object, and the arguments and state of its `__reduce_ex__`."""
    slots = copyreg._slotnames(type(obj))  # type: ignore[attr-defined]
    for name in [*getattr(obj, "__dict__", ()), *slots]:
        with suppress(AttributeError):
            yield f".{name}", object.__getattribute__(obj, name)
    if isinstance(obj, (np.ndarray, types.FunctionType, types.MethodType)) or _is_strided(obj):
        return
    with suppress(Exception):  # it cannot be pickled; the save reports that
        reduced: Any = obj.__reduce_ex__(4)
        _, arguments, *more = reduced
        yield ".arguments", tuple(arguments)
        if any(getattr(type(obj), name) is not getattr(object, name) for name in _REDUCE):
            yield ".state", more[0] if more else None


def _is_strided(obj: Any) -> bool:
    """Whether an object is a dense tensor with a single storage."""
    return (
        isinstance(obj, torch.Tensor)
        and not isinstance(obj, (UninitializedParameter, UninitializedBuffer))
        and obj.layout is torch.strided
        and not (obj.is_nested or obj.is_meta)
    )


def _describe(roots: Mapping[str, Any], known: Container[int]) -> dict[str, list[Any]]:
    """Describes objects by path: the value, or the type and what it shares with others."""
    found: dict[str, list[Any]] = {}
    first: dict[int, str] = {}  # first path by an object's id or a memory address
    numbers: list[tuple[str, int]] = []
    alive = []
    for path, obj in walk(roots, known):
        alive.append(obj)
        what: list[Any] = [f"{type(obj).__module__}.{type(obj).__qualname__}"]
        if type(obj) in _VALUES:
            what.append(repr(obj))
            if type(obj) is int:
                numbers.append((path, obj))
        elif _is_compiled(obj):
            pass
        elif id(obj) in known:
            what.append(id(obj))
        elif isinstance(obj, _BY_NAME):
            what.append(getattr(obj, "__qualname__", None) or str(obj))
        elif id(obj) in first:
            what.append(f"the same as {first[id(obj)]}")
        else:
            first[id(obj)] = path
            what += _content(obj, path, first)
        found.setdefault(path, []).extend(what)
    for path, number in numbers:
        if number in first or number in known:
            found[path].append(_Address("an address, which differs in another process"))
    return found


def _content(obj: Any, path: str, first: dict[int, str]) -> list[Any]:
    """Describes an object beyond its parts: an array's layout, digest and memory."""
    if isinstance(obj, (set, frozenset)):
        elements = (item() if isinstance(item, weakref.ref) else item for item in obj)
        if any(type(item).__hash__ in _HASHED_BY_ADDRESS for item in elements):
            return [_Address("a set of objects that are ordered by their addresses")]
    if _is_strided(obj):
        plain = obj.detach().resolve_conj().resolve_neg()
        plain = plain.int_repr() if obj.is_quantized else plain
        copied = plain.detach().to("cpu", copy=True).contiguous()  # numpy() fixes a storage's size
        content = copied.reshape(-1).view(torch.uint8).numpy().tobytes()
        size = obj.element_size()
        layout = [obj.dtype, obj.shape, obj.stride(), size * obj.storage_offset()]
        start = obj.untyped_storage().data_ptr()
    elif isinstance(obj, np.ndarray):
        content = b"" if obj.dtype.hasobject else obj.tobytes()
        base: Any = obj if obj.base is None else obj.base
        start = base.ctypes.data if isinstance(base, np.ndarray) else obj.ctypes.data
        if isinstance(base, torch.Tensor):
            start = base.untyped_storage().data_ptr()
        elif not isinstance(base, (np.ndarray, bytes)) and obj.flags.writeable:
            # (writeable over bytes: a subclass's `__setstate__` made them for this array)
            return [_Address(f"an array over the memory of a {type(base).__name__}")]
        layout = [obj.dtype, obj.shape, obj.strides, obj.ctypes.data - start]
    else:
        return []
    memory = first.setdefault(start, path) if start and content else path
    return [layout, hashlib.sha256(content).digest(), memory]
