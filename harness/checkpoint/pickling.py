"""Objects <-> a file: what a checkpoint holds, pickled by value or by name.

A file has two parts: a pickle, and the storages of all tensors, which keep what they share. Objects
that a resumed process has again without the file (its input queue, its modules) are known by name:
they are referred to, and what the model's modules and tensors hold is put back into them.

Reading a file runs code of its choice, so it must be authenticated first.
"""

from __future__ import annotations

import io
import pickle
import random
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any

import cloudpickle
import numpy as np
import torch
from cloudpickle import cloudpickle as by_value
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.storage import TypedStorage, UntypedStorage
from torch.utils.hooks import RemovableHandle

from harness.checkpoint import reducers
from harness.checkpoint.walking import is_leaf, shown, walk
from scoring.escaping import error_message

_LAST_SEEN = 10_000  # objects among which the one that cannot be pickled is looked for
_CLASS_MAKERS = ("_make_skeleton_class", "_make_skeleton_enum")  # of cloudpickle
_GENERATORS = {
    "torch.default_generator": torch.default_generator,
    "random": random._inst,
    "numpy.random": np.random.mtrand._rand,
}


class UnsavableError(Exception):
    """Some object cannot be pickled; the message names what holds it, and says why."""


class Known:
    """Objects that a resumed process has again.

    Args:
        fixed: Objects that a file only refers to, by name.
        model: Its modules, parameters and buffers are referred to too, and their contents saved.
    """

    def __init__(self, fixed: Mapping[str, Any], model: nn.Module) -> None:
        self._modules = {
            f"model.{name}".rstrip("."): module for name, module in model.named_modules()
        }
        tensors = [*model.named_parameters(), *model.named_buffers()]
        self._tensors = {f"model.{name}": tensor for name, tensor in tensors}
        self.objects = {**fixed, **_GENERATORS, **self._modules, **self._tensors}
        self.names = {id(thing): name for name, thing in self.objects.items()}
        modules = [(name, module) for name, module in [*sys.modules.items()] if module]
        self.globals = {id(vars(module)): name for name, module in modules if name != "__main__"}

    def has_globals_of(self, function: types.FunctionType) -> bool:
        """Whether a resumed process has a function's global variables: those of a module."""
        return id(function.__globals__) in self.globals

    def contents(self) -> dict[str, Any]:
        """What the model's modules and tensors hold now."""
        held: dict[str, Any] = {
            name: {"training": module.training} if _is_wrapper(module) else vars(module).copy()
            for name, module in self._modules.items()
        }
        for name, tensor in self._tensors.items():
            held[name] = (tensor.data, reducers.tensor_state(tensor))
        return held

    def fill(self, contents: Mapping[str, Any]) -> None:
        """Puts contents back into the modules and tensors."""
        for name, tensor in self._tensors.items():
            tensor.data, state = contents[name]
            reducers.set_tensor_state(tensor, state)
        for name, module in self._modules.items():
            if not _is_wrapper(module):
                vars(module).clear()
            vars(module).update(contents[name])


def _is_wrapper(module: nn.Module) -> bool:
    """Whether DistributedDataParallel or torch.compile put it around another module."""
    return isinstance(module, DistributedDataParallel) or "_orig_mod" in module._modules


def dump(state: Mapping[str, Any], file: IO[bytes], known: Known) -> None:
    """Writes objects.

    Args:
        state: By name, which messages call them by.
        file: Is written to, at its position.
        known: What is referred to by name.

    Raises:
        UnsavableError: An object cannot be pickled.
    """
    pickled, contents = io.BytesIO(), known.contents()
    pickler = _Pickler(pickled, known)
    try:
        pickler.dump({"state": state, "contents": contents, "hook": RemovableHandle.next_id})
    except Exception as error:
        places = walk({**state, **contents}, known.names)
        raise UnsavableError(_blame(pickler.seen, places, error)) from error
    storages = [
        torch.empty(0, dtype=torch.uint8, device=s.device).set_(s) for s in pickler.storages
    ]
    torch.save({"objects": pickled.getvalue(), "storages": storages}, file)


def load(file: IO[bytes], known: Known, device: str | None = None) -> dict[str, Any]:
    """Reads objects; changes none that is there.

    Args:
        file: Authenticated.
        known: What a name stands for.
        device: Where tensors are put; None for where they were.

    Returns:
        What `put_back` takes; its "state" and "contents" are those of `dump`.

    Raises:
        ValueError: The model has other modules or tensors than the one that was saved.
    """
    content = torch.load(file, map_location=device, weights_only=True)
    loaded: dict[str, Any] = _Unpickler(content["objects"], content["storages"], known).load()
    if different := loaded["contents"].keys() ^ known.contents().keys():
        raise ValueError(f"the model is another one: {', '.join(sorted(different)[:3])}")
    return loaded


def put_back(loaded: Mapping[str, Any], known: Known) -> Any:
    """Fills known objects with their contents; returns the state."""
    known.fill(loaded["contents"])
    RemovableHandle.next_id = max(RemovableHandle.next_id, loaded["hook"])
    return loaded["state"]


def _blame(seen: Iterable[Any], places: Iterable[tuple[str, Any]], error: Exception) -> str:
    """Which object could not be pickled: the last one seen whose place can be named."""
    empty: tuple[Any, ...] = ()  # one object, wherever it is
    by_id = {id(thing): place for place, thing in reversed([*places]) if not is_leaf(thing)}
    held = [thing for thing in seen if id(thing) in by_id and thing is not empty]
    reason = error_message(error)
    if not held:
        return f"the state cannot be pickled: {reason}"
    kind = type(held[-1])
    return f"{shown(by_id[id(held[-1])])} holds a {kind.__module__}.{kind.__qualname__}: {reason}"


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: IO[bytes], known: Known) -> None:
        super().__init__(file, protocol=5)
        self._known = known
        self.seen: deque[Any] = deque(maxlen=_LAST_SEEN)
        self.storages: list[UntypedStorage] = []
        self._numbers: dict[int, int] = {}

    def persistent_id(self, thing: Any) -> Any:
        """What a storage or a known object is referred to by; None for all others."""
        self.seen.append(thing)
        if isinstance(thing, (TypedStorage, UntypedStorage)):
            dtype = thing.dtype if isinstance(thing, TypedStorage) else None
            storage = thing._untyped_storage if isinstance(thing, TypedStorage) else thing
            number = self._numbers.setdefault(storage._cdata, len(self.storages))
            if number == len(self.storages):
                self.storages.append(storage)
            return "storage", number, dtype
        if name := self._known.names.get(id(thing)):
            return "known", name
        if type(thing) is dict and (name := self._known.globals.get(id(thing))):
            return "globals", name
        return None

    def reducer_override(self, thing: Any) -> Any:
        """How an object is taken apart; NotImplemented for pickle's way."""
        for kind, reduce in reducers.REDUCERS:
            if isinstance(thing, kind) and (reduced := reduce(thing)) is not None:
                return reduced
        by_value = super().reducer_override(thing)
        if by_value is not NotImplemented and isinstance(thing, types.FunctionType):
            return reducers.function(thing) if self._known.has_globals_of(thing) else by_value
        if by_value is not NotImplemented and isinstance(thing, type):
            reducers.keep_qualified_name(thing, by_value)
        return by_value


class _Unpickler(pickle.Unpickler):
    def __init__(self, pickled: bytes, storages: list[torch.Tensor], known: Known) -> None:
        super().__init__(io.BytesIO(pickled))
        self._known = known
        self._storages: list[UntypedStorage] = []
        while storages:  # one by one, as they are large
            loaded = storages.pop(0)
            if loaded.device.type == "cpu":
                loaded = loaded.clone()  # those of a file cannot be resized
            self._storages.append(loaded.untyped_storage())

    def persistent_load(self, name: Any) -> Any:
        """What a reference stands for."""
        kind, which, *dtype = name
        if kind == "known":
            return self._known.objects[which]
        if kind == "globals":
            return vars(sys.modules[which])
        storage = self._storages[which]
        if dtype[0] is None:
            return storage
        return TypedStorage(wrap_storage=storage, dtype=dtype[0], _internal=True)

    def find_class(self, module: str, name: str) -> Any:
        """A class or function; a class made in a function is made again, apart from any other."""
        if module == by_value.__name__ and name in _CLASS_MAKERS:
            make: Callable[..., type] = getattr(by_value, name)
            return lambda *args: make(*args[:-2], None, None)
        return super().find_class(module, name)
