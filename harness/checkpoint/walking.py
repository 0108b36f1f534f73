"""Walks through objects by what they hold, and says where two sets of objects differ."""

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
_COMPILED_FROM = "_torchdynamo_orig_callable"  # an attribute of what torch.compile returns
_OF_FUNCTIONS = ("__self__", "__func__", "__defaults__", "__kwdefaults__")
_HASHED_BY_ADDRESS: tuple[Any, ...] = (object.__hash__, torch.Tensor.__hash__)
_REDUCE = ("__reduce__", "__reduce_ex__")
_SHOWN = 100  # characters of a place


def walk(roots: Mapping[str, Any], known: Container[int]) -> Iterator[tuple[str, Any]]:
    """Every object that roots hold, with its place, nearest first; shared ones more than once.

    Args:
        roots: By name, which places begin with.
        known: Ids of objects that are looked at no further.
    """
    waiting = deque(roots.items())
    seen: dict[int, Any] = {}  # holds them, so that ids stay unique
    while waiting:
        place, thing = waiting.popleft()
        yield place, thing
        if not (is_leaf(thing) or id(thing) in known or id(thing) in seen):
            seen[id(thing)] = thing
            waiting.extend((place + label, part) for label, part in _parts(thing))


def differences(
    here: Mapping[str, Any], there: Mapping[str, Any], known: Container[int]
) -> list[str]:
    """Where objects that should be copies of each other are not, and why where that is known.

    Args:
        here: By name.
        there: What was read back, by the same names.
        known: Ids of objects that both refer to.
    """
    ours, theirs = _describe(here, known), _describe(there, known)
    differ = [place for place in ours if ours[place] != theirs.get(place)]
    found: list[str] = []
    for place in _outermost(differ):
        why = next((f" ({d.why})" for d in ours[place] if isinstance(d, _Address)), "")
        found.append(shown(place) + why)
    return found


def fingerprint(roots: Mapping[str, Any], known: Container[int]) -> dict[str, list[Any]]:
    """What `changes` compares with what is there later; holds no object.

    Args:
        roots: By name.
        known: Ids of objects that are looked at no further.
    """
    described = _describe(roots, known)
    return {
        place: [part for part in parts if not isinstance(part, _Address)]
        for place, parts in described.items()
    }


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The places where two fingerprints differ, without those inside other such places."""
    places = dict.fromkeys([*before, *after])
    differ = [place for place in places if before.get(place) != after.get(place)]
    return [shown(place) for place in _outermost(differ)]


def _outermost(places: list[str]) -> list[str]:
    """Places that are in no other of them."""
    return [
        place
        for place in places
        if not any(place != other and place.startswith(other) for other in places)
    ]


def shown(place: str) -> str:
    """A place, short enough for a message."""
    return place if len(place) <= _SHOWN else f"{place[:_SHOWN]}..."


class _Address:
    """Stands for what depends on memory addresses; equal to nothing."""

    def __init__(self, why: str) -> None:
        self.why = why


def is_leaf(thing: Any) -> bool:
    """Whether it holds nothing that is looked at."""
    return type(thing) in _VALUES or isinstance(thing, _BY_NAME) or _is_compiled(thing)


def _is_compiled(thing: Any) -> bool:
    """Whether a compiler made it: it holds what was compiled, which can be made again."""
    compiled = isinstance(thing, types.FunctionType) and _COMPILED_FROM in vars(thing)
    return compiled or type(thing).__module__.startswith(_COMPILERS)


def _parts(thing: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds, with labels to add to its place."""
    if isinstance(thing, dict):
        for number, (key, value) in enumerate(thing.items()):
            yield f".keys()[{number}]", key
            yield f"[{key!r}]" if type(key) in _VALUES else f".values()[{number}]", value
    elif isinstance(thing, (list, tuple, deque)):
        yield from ((f"[{number}]", item) for number, item in enumerate(thing))
    elif isinstance(thing, (set, frozenset)):
        yield from ((".element", item) for item in sorted(thing, key=repr))
    elif isinstance(thing, (types.FunctionType, types.MethodType)):
        variables = zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True)
        yield from ((f".{name}", cell) for name, cell in variables)
        yield from ((f".{name}", getattr(thing, name, None)) for name in _OF_FUNCTIONS)
    elif isinstance(thing, types.CellType):
        with suppress(ValueError):
            yield "", thing.cell_contents
    elif isinstance(thing, weakref.ref):
        yield from (("()", thing()), (".__callback__", thing.__callback__))
    elif isinstance(thing, torch.Tensor):
        yield from ((f".{name}", part) for name, part in reducers.tensor_state(thing).items())
    elif isinstance(thing, np.ndarray) and thing.dtype.hasobject:
        yield from ((f".flat[{number}]", item) for number, item in enumerate(thing.flat))
    if type(thing) not in (dict, list, tuple, set, frozenset):
        yield from _attributes(thing)


def _attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds by name, and what it says itself about how it is made again."""
    slots = copyreg._slotnames(type(thing))  # type: ignore[attr-defined]
    for name in [*getattr(thing, "__dict__", ()), *slots]:
        with suppress(AttributeError):
            yield f".{name}", object.__getattribute__(thing, name)
    if isinstance(thing, (np.ndarray, types.FunctionType, types.MethodType)) or _is_strided(thing):
        return
    with suppress(Exception):  # then it cannot be pickled, which the save says
        reduced: Any = thing.__reduce_ex__(4)
        _, arguments, *more = reduced
        yield ".arguments", tuple(arguments)
        if any(getattr(type(thing), name) is not getattr(object, name) for name in _REDUCE):
            yield ".state", more[0] if more else None


def _is_strided(thing: Any) -> bool:
    """Whether it is a tensor whose numbers are in one storage."""
    return (
        isinstance(thing, torch.Tensor)
        and not isinstance(thing, (UninitializedParameter, UninitializedBuffer))
        and thing.layout is torch.strided
        and not (thing.is_nested or thing.is_meta)
    )


def _describe(roots: Mapping[str, Any], known: Container[int]) -> dict[str, list[Any]]:
    """By place, what is there: the value, or the kind of object and what it shares with others."""
    found: dict[str, list[Any]] = {}
    first: dict[int, str] = {}  # by id of an object or address of memory, its first place
    numbers: list[tuple[str, int]] = []
    alive = []
    for place, thing in walk(roots, known):
        alive.append(thing)
        what: list[Any] = [f"{type(thing).__module__}.{type(thing).__qualname__}"]
        if type(thing) in _VALUES:
            what.append(repr(thing))
            if type(thing) is int:
                numbers.append((place, thing))
        elif _is_compiled(thing):
            pass
        elif isinstance(thing, _BY_NAME) or id(thing) in known:
            what.append(getattr(thing, "__qualname__", None) or str(thing))
        elif id(thing) in first:
            what.append(f"the same as {first[id(thing)]}")
        else:
            first[id(thing)] = place
            what += _content(thing, place, first)
        found.setdefault(place, []).extend(what)
    for place, number in numbers:
        if number in first or number in known:
            found[place].append(_Address("an address, which is another one in another process"))
    return found


def _content(thing: Any, place: str, first: dict[int, str]) -> list[Any]:
    """What an object is, beyond its parts: the numbers of an array, whose memory it uses."""
    if isinstance(thing, (set, frozenset)):
        elements = (item() if isinstance(item, weakref.ref) else item for item in thing)
        if any(type(item).__hash__ in _HASHED_BY_ADDRESS for item in elements):
            return [_Address("a set of objects, whose order depends on their addresses")]
    if _is_strided(thing):
        plain = thing.detach().resolve_conj().resolve_neg()
        plain = plain.int_repr() if thing.is_quantized else plain
        copied = plain.detach().to("cpu", copy=True).contiguous()  # numpy() fixes a storage's size
        content = copied.reshape(-1).view(torch.uint8).numpy().tobytes()
        size = thing.element_size()
        layout = [thing.dtype, thing.shape, thing.stride(), size * thing.storage_offset()]
        start = thing.untyped_storage().data_ptr()
    elif isinstance(thing, np.ndarray):
        content = b"" if thing.dtype.hasobject else thing.tobytes()
        base: Any = thing if thing.base is None else thing.base
        start = base.ctypes.data if isinstance(base, np.ndarray) else thing.ctypes.data
        if isinstance(base, torch.Tensor):
            start = base.untyped_storage().data_ptr()
        elif not isinstance(base, np.ndarray) and thing.flags.writeable:
            return [_Address(f"an array over the memory of a {type(base).__name__}")]
        layout = [thing.dtype, thing.shape, thing.strides, thing.ctypes.data - start]
    else:
        return []
    memory = first.setdefault(start, place) if start and content else place
    return [layout, hashlib.sha256(content).digest(), memory]
