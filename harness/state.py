"""A submission's objects <-> plain data: what a checkpoint holds of them, without pickling any.

A trial that resumes first does what it did at its start: it makes the model and calls
`init_optimizer_state`. That gives the same objects again, in the same order, so that they can be
numbered: functions, classes and whatever else cannot be written down is *there*, and only what
objects hold is restored into them. Objects that came later (an optimizer makes its buffers at its
first step) are made anew, if they are of a kind known here or of a class that was there.

Plain data is lists, strings, numbers and tensors, which `torch.load(weights_only=True)` reads; no
code of the file is run. Tensors keep what they share of their storage.
"""

from __future__ import annotations

import types
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from harness.kinds import (
    RANDOM,
    VALUES,
    NotResumableError,
    attributes,
    check_dtype,
    kind_of,
    name_of,
    packed,
    set_attributes,
    shell,
    shown_key,
    shown_place,
    unpacked,
)


class StateCodec:
    """Encodes and restores what is reachable from a trial's roots.

    Args:
        roots: At the trial's start.
        boundary: Objects that are looked at no further and are there again on resuming: the
            workload, the input queue.

    Raises:
        NotResumableError: The roots hold something that cannot be saved.
    """

    def __init__(self, roots: Sequence[Any], boundary: Sequence[Any]) -> None:
        self._boundary = {id(thing) for thing in boundary}
        self._old: list[Any] = list(boundary)
        self._number = {id(thing): number for number, thing in enumerate(boundary)}
        encoding = _Encoding(self, first=True)
        for root in roots:
            encoding.node(root, "")
        self._classes = {type(thing) for thing in self._old}
        self._classes |= {thing for thing in self._old if isinstance(thing, type)}

    def encode(self, roots: Sequence[Any]) -> dict[str, Any]:
        """Plain data of all that is reachable from `roots`; raises NotResumableError."""
        encoding = _Encoding(self, first=False)
        nodes = [encoding.node(root, "") for root in roots]
        return {"roots": nodes, "states": encoding.states, "new": encoding.new}

    def restore(self, plain: dict[str, Any]) -> list[Any]:
        """Puts what was encoded into the objects that are there; returns the roots."""
        decoding = _Decoding(self._old, self._class_named, plain)
        return [decoding.value(node) for node in plain["roots"]]

    def _class_named(self, name: str) -> type:
        return next(cls for cls in self._classes if name_of(cls) == name)

    def knows(self, cls: type) -> bool:
        """Whether objects of a class can be made anew: one was there at the start."""
        return cls in self._classes

    def at_boundary(self, thing: Any) -> bool:
        """Whether it is looked at no further."""
        return id(thing) in self._boundary

    def number(self, thing: Any) -> int | None:
        """Of an object that was there at the start."""
        return self._number.get(id(thing))

    def add(self, thing: Any) -> int:
        """Numbers an object that is there at the start."""
        self._number[id(thing)] = len(self._old)
        self._old.append(thing)
        return len(self._old) - 1


class _Encoding:
    """One walk through all objects.

    Attributes:
        states: By number what each object holds, for those that were there at the start.
        new: For those that came later: [kind, class, state].
    """

    def __init__(self, codec: StateCodec, *, first: bool) -> None:
        self._codec, self._first = codec, first
        self.states: dict[int, Any] = {}
        self.new: list[list[Any]] = []
        self._new_number: dict[int, int] = {}
        self._alive: list[Any] = []  # ids stay unique while this lives

    def node(self, thing: Any, where: str) -> list[Any]:
        """What stands for a value wherever it is held."""
        if type(thing) in VALUES:
            return ["value", thing]
        if isinstance(thing, (bytes, tuple, frozenset, np.generic, complex, range, slice)):
            return self._immutable(thing, where)
        if isinstance(thing, types.MethodType):
            name, owner = thing.__func__.__name__, thing.__self__
            if getattr(type(owner), name, None) is thing.__func__:
                return ["own method", name, self.node(owner, where)]
            return ["method", self.node(thing.__func__, where), self.node(owner, where)]
        if isinstance(thing, weakref.ref):
            return ["weak", self.node(thing(), where)]
        number = self._codec.number(thing)
        if number is None and self._first:
            number = self._codec.add(thing)
        if number is not None:
            if number not in self.states and not self._codec.at_boundary(thing):
                self.states[number] = None  # while it is under way
                self.states[number] = self._state(thing, where)
            return ["old", number]
        if isinstance(thing, (torch.dtype, torch.device)):
            return ["torch", str(thing)]
        if id(thing) not in self._new_number:
            self._make_new(thing, where)
        return ["new", self._new_number[id(thing)]]

    def _make_new(self, thing: Any, where: str) -> None:
        self._new_number[id(thing)] = len(self.new)
        self._alive.append(thing)
        kind, cls = kind_of(thing), type(thing)
        known = kind == "object" and self._codec.knows(cls)
        if not known and kind not in ("tensor", "container", "array"):
            raise NotResumableError(
                f"{shown_place(where)} came to hold a {name_of(cls)} during training, which "
                "was not there at the start and so cannot be made again"
            )
        record: list[Any] = [kind, name_of(cls), None]
        self.new.append(record)
        record[2] = self._state(thing, where)

    def _immutable(self, thing: Any, where: str) -> list[Any]:
        if isinstance(thing, bytes):
            return ["bytes", packed(thing)]
        if isinstance(thing, np.generic):
            check_dtype(thing.dtype, where)
            return ["scalar", thing.dtype.str, packed(thing.tobytes())]
        if isinstance(thing, complex):
            return ["complex", thing.real, thing.imag]
        if isinstance(thing, range):
            return ["range", thing.start, thing.stop, thing.step]
        if isinstance(thing, slice):
            parts = (thing.start, thing.stop, thing.step)
            return ["slice", [self.node(part, where) for part in parts]]
        items = [self.node(item, f"{where}[{place}]") for place, item in enumerate(thing)]
        if type(thing) in (tuple, frozenset):
            return [type(thing).__name__, items]
        if isinstance(thing, torch.Size):
            return ["size", items]
        return ["named", self.node(type(thing), where), items]

    def _state(self, thing: Any, where: str) -> Any:
        """What an object holds."""
        kind = kind_of(thing)
        if kind == "inert":
            return None
        if kind == "tensor":
            if thing.grad_fn is not None:
                raise NotResumableError(f"{shown_place(where)} is a tensor with a graph behind it")
            grad = None if thing.grad is None else self.node(thing.grad, f"{where}.grad")
            return [thing.detach(), thing.requires_grad, grad]
        if kind == "array":
            check_dtype(thing.dtype, where)
            content = np.ascontiguousarray(thing).tobytes()
            return [thing.dtype.str, list(thing.shape), packed(content)]
        if kind == "container":
            return self._items(thing, where)
        if kind == "random":
            return self.node(RANDOM[type(thing)][0](thing), where)
        return [
            [name, self.node(value, f"{where}.{name}")] for name, value in attributes(thing, where)
        ]

    def _items(self, thing: Any, where: str) -> list[Any]:
        if isinstance(thing, dict):
            pairs = [
                [self.node(key, where), self.node(value, f"{where}[{shown_key(key)}]")]
                for key, value in thing.items()
            ]
            factory = getattr(thing, "default_factory", None)
            return [pairs, self.node(factory, where)]
        items = [self.node(item, f"{where}[{place}]") for place, item in enumerate(thing)]
        if isinstance(thing, set) and any(kind in ("old", "new") for kind, *_ in items):
            raise NotResumableError(f"{shown_place(where)} is a set of objects, in no fixed order")
        return [items, ["value", getattr(thing, "maxlen", None)]]


class _Decoding:
    """One restoration: objects that came later are made, then everything is filled."""

    def __init__(
        self, old: Sequence[Any], class_named: Callable[[str], type], plain: dict[str, Any]
    ) -> None:
        self._old, self._plain = old, plain
        self._new = [shell(kind, cls, state, class_named) for kind, cls, state in plain["new"]]
        records = [
            (thing, record[2]) for thing, record in zip(self._new, plain["new"], strict=True)
        ]
        records += [(old[number], state) for number, state in plain["states"].items()]
        for thing, state in records:  # a dict's keys may be tensors, which must not change after
            if kind_of(thing) == "tensor":
                self._fill(thing, state)
        for thing, state in records:
            if kind_of(thing) != "tensor":
                self._fill(thing, state)

    def value(self, node: Sequence[Any]) -> Any:
        """The value that a node stands for."""
        kind, *rest = node
        if kind == "value":
            return rest[0]
        if kind == "old":
            return self._old[rest[0]]
        if kind == "new":
            return self._new[rest[0]]
        if kind == "weak":
            target = self.value(rest[0])
            return (lambda: None) if target is None else weakref.ref(target)
        if kind == "own method":
            return getattr(self.value(rest[1]), rest[0])
        if kind == "method":
            return types.MethodType(*map(self.value, rest))
        if kind == "torch":
            return getattr(torch, rest[0][6:]) if rest[0][:6] == "torch." else torch.device(rest[0])
        return self._immutable(kind, rest)

    def _immutable(self, kind: str, rest: Sequence[Any]) -> Any:
        if kind == "scalar":
            return unpacked(rest[1], rest[0])[0]
        if kind == "bytes":
            return rest[0].numpy().tobytes()
        if kind in ("complex", "range"):
            return {"complex": complex, "range": range}[kind](*rest)
        items = [self.value(item) for item in rest[-1]]
        if kind == "slice":
            return slice(*items)
        if kind == "named":
            return self.value(rest[0])._make(items)
        return {"tuple": tuple, "frozenset": frozenset, "size": torch.Size}[kind](items)

    def _fill(self, thing: Any, state: Any) -> None:
        """Puts into an object what it held."""
        kind = kind_of(thing)
        if kind == "tensor":
            data, requires_grad, grad = state
            thing.data = data
            thing.requires_grad_(requires_grad)
            thing.grad = None if grad is None else self.value(grad)
        elif kind == "array":
            thing[...] = unpacked(state[2], state[0]).reshape(state[1])
        elif kind == "container":
            self._fill_container(thing, state)
        elif kind == "random":
            RANDOM[type(thing)][1](thing, self.value(state))
        elif kind != "inert":
            set_attributes(thing, {name: self.value(node) for name, node in state})

    def _fill_container(self, thing: Any, state: Any) -> None:
        thing.clear()
        if isinstance(thing, dict):
            ordered = isinstance(thing, OrderedDict)  # dict's own would leave out its order
            put = OrderedDict.__setitem__ if ordered else dict.__setitem__
            for key, value in state[0]:
                put(thing, self.value(key), self.value(value))
            if isinstance(thing, defaultdict):
                thing.default_factory = self.value(state[1])
        else:
            add = thing.add if isinstance(thing, set) else thing.append
            for item in state[0]:
                add(self.value(item))
