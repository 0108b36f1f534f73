"""Serialises the objects of a checkpoint, by value or by name.

A file has two parts: a pickle, and the storages of all tensors, so that shared storages stay
shared. Objects that a resumed process recreates without the file (its input queue, its modules) are
stored as references by name; the contents of the model's modules and tensors are saved, and
restored into the existing objects.

Reading a file can run arbitrary code, so it must be authenticated first.
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

_LAST_SEEN = 10_000  # latest objects to search for the one that cannot be pickled
_CLASS_MAKERS = ("_make_skeleton_class", "_make_skeleton_enum")  # functions of cloudpickle
_GENERATORS = {
    "torch.default_generator": torch.default_generator,
    "random": random._inst,
    "numpy.random": np.random.mtrand._rand,
}


class UnsavableError(Exception):
    """The state cannot be saved; the message says which object, and why."""


class Known:
    """Objects that a resumed process recreates, which a file refers to by name.

    Args:
        fixed: Objects of which nothing is saved, by name.
        model: Model whose modules, parameters and buffers are known; their contents are saved.
    """

    def __init__(self, fixed: Mapping[str, Any], model: nn.Module) -> None:
        self._modules = {
            f"model.{name}".rstrip("."): module for name, module in model.named_modules()
        }
        tensors = [*model.named_parameters(), *model.named_buffers()]
        self._tensors = {f"model.{name}": tensor for name, tensor in tensors}
        self.objects = {**fixed, **_GENERATORS, **self._modules, **self._tensors}
        self.names = {id(obj): name for name, obj in self.objects.items()}
        modules = [(name, module) for name, module in [*sys.modules.items()] if module]
        # held, as the id of a dictionary that is gone would be that of another object
        self._variables = {name: vars(module) for name, module in modules if name != "__main__"}
        self.globals = {id(variables): name for name, variables in self._variables.items()}

    def has_globals_of(self, function: types.FunctionType) -> bool:
        """Whether a function's global variables are those of a module."""
        return id(function.__globals__) in self.globals

    def contents(self) -> dict[str, Any]:
        """Returns the current contents of the model's modules and tensors."""
        held: dict[str, Any] = {
            name: {"training": module.training} if _is_wrapper(module) else vars(module).copy()
            for name, module in self._modules.items()
        }
        for name, tensor in self._tensors.items():
            held[name] = (tensor.data, reducers.tensor_state(tensor))
        return held

    def fill(self, contents: Mapping[str, Any]) -> None:
        """Restores contents into the model's modules and tensors."""
        for name, tensor in self._tensors.items():
            tensor.data, state = contents[name]
            reducers.set_tensor_state(tensor, state)
        for name, module in self._modules.items():
            if not _is_wrapper(module):
                vars(module).clear()
            vars(module).update(contents[name])


def _is_wrapper(module: nn.Module) -> bool:
    """Whether a module is the wrapper of DistributedDataParallel or torch.compile."""
    return isinstance(module, DistributedDataParallel) or "_orig_mod" in module._modules


def dump(state: Mapping[str, Any], file: IO[bytes], known: Known) -> None:
    """Writes objects to a file.

    Args:
        state: Objects by the names that messages use.
        file: File to write to, at its position.
        known: Objects to store as references.

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
    """Reads objects from a file; does not change existing ones.

    Args:
        file: Authenticated file.
        known: Objects that references are resolved to.
        device: Device of the tensors; None for the one that they were saved from.

    Returns:
        The argument of `restore_objects`; "state" and "contents" are as in `dump`.

    Raises:
        ValueError: The model has other modules or tensors than the one that was saved.
    """
    content = torch.load(file, map_location=device, weights_only=True)
    loaded: dict[str, Any] = _Unpickler(content["objects"], content["storages"], known).load()
    if different := loaded["contents"].keys() ^ known.contents().keys():
        raise ValueError(f"the model is a different one: {', '.join(sorted(different)[:3])}")
    return loaded


def restore_objects(loaded: Mapping[str, Any], known: Known) -> Any:
    """Restores the contents of known objects; returns the state."""
    known.fill(loaded["contents"])
    RemovableHandle.next_id = max(RemovableHandle.next_id, loaded["hook"])
    return loaded["state"]


def _blame(seen: Iterable[Any], places: Iterable[tuple[str, Any]], error: Exception) -> str:
    """Describes the object that could not be pickled: the last one seen that has a path."""
    empty: tuple[Any, ...] = ()  # a singleton, so its path says nothing
    by_id = {id(obj): place for place, obj in reversed([*places]) if not is_leaf(obj)}
    held = [obj for obj in seen if id(obj) in by_id and obj is not empty]
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

    def persistent_id(self, obj: Any) -> Any:
        """Returns the reference to a storage or a known object; None for all others."""
        self.seen.append(obj)
        if isinstance(obj, (TypedStorage, UntypedStorage)):
            dtype = obj.dtype if isinstance(obj, TypedStorage) else None
            storage = obj._untyped_storage if isinstance(obj, TypedStorage) else obj
            number = self._numbers.setdefault(storage._cdata, len(self.storages))
            if number == len(self.storages):
                self.storages.append(storage)
            return "storage", number, dtype
        if name := self._known.names.get(id(obj)):
            return "known", name
        if type(obj) is dict and (name := self._known.globals.get(id(obj))):
            return "globals", name
        return None

    def reducer_override(self, obj: Any) -> Any:
        """Returns an object's reduction; NotImplemented for pickle's default."""
        for kind, reduce in reducers.REDUCERS:
            if isinstance(obj, kind) and (reduced := reduce(obj)) is not None:
                return reduced
        by_value = super().reducer_override(obj)
        if by_value is not NotImplemented and isinstance(obj, types.FunctionType):
            return reducers.function(obj) if self._known.has_globals_of(obj) else by_value
        if by_value is not NotImplemented and isinstance(obj, type):
            reducers.keep_qualified_name(obj, by_value)
        return by_value


class _Unpickler(pickle.Unpickler):
    def __init__(self, pickled: bytes, storages: list[torch.Tensor], known: Known) -> None:
        super().__init__(io.BytesIO(pickled))
        self._known = known
        self._storages: list[UntypedStorage] = []
        while storages:  # one by one, as they are large
            loaded = storages.pop(0)
            if loaded.device.type == "cpu":
                loaded = loaded.clone()  # storages of a file cannot be resized
            self._storages.append(loaded.untyped_storage())

    def persistent_load(self, name: Any) -> Any:
        """Returns the object that a reference stands for."""
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
        """Returns a class or function; always creates a new class if it was pickled by value."""
        if module == by_value.__name__ and name in _CLASS_MAKERS:
            make: Callable[..., type] = getattr(by_value, name)
            return lambda *args: make(*args[:-2], None, None)
        return super().find_class(module, name)
