"""How objects are taken apart that pickle and cloudpickle would lose something of.

Each function gives what `object.__reduce__` may return, or None for pickle's or cloudpickle's way.
"""

from __future__ import annotations

import gc
import types
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import UninitializedBuffer, UninitializedParameter
from torch.nn.modules.module import _WrappedHook
from torch.optim import Optimizer
from torch.storage import TypedStorage, UntypedStorage
from torch.utils.hooks import RemovableHandle

Reduced = tuple[Any, ...] | None
_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


def function(thing: types.FunctionType) -> Reduced:
    """A function that its module does not have by name; it shares variables with others."""
    made_of = (thing.__code__, thing.__globals__, thing.__name__, None, thing.__closure__)
    names = ("__defaults__", "__kwdefaults__", "__annotations__", "__qualname__", "__module__")
    state = ({name: getattr(thing, name) for name in names}, vars(thing))
    return types.FunctionType, made_of, state, None, None, _set_function


def _set_function(thing: types.FunctionType, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    for name, value in state[0].items():
        setattr(thing, name, value)
    vars(thing).update(state[1])


def keep_qualified_name(thing: type, reduced: tuple[Any, ...]) -> None:
    """Adds to what cloudpickle makes of a class that has no name in a module."""
    made_of = reduced[1]
    namespace = next((part for part in made_of if type(part) is dict), None)
    if reduced[0].__name__ == "_make_skeleton_class" and namespace is not None:
        namespace["__qualname__"] = thing.__qualname__


def _cell(thing: types.CellType) -> Reduced:
    """What a function closes over; filled after it was made, as it may hold that function."""
    try:
        content = (thing.cell_contents,)
    except ValueError:
        return types.CellType, ()
    return types.CellType, (), content, None, None, _set_cell


def _set_cell(thing: types.CellType, content: tuple[Any]) -> None:
    thing.cell_contents = content[0]


def _tensor(thing: torch.Tensor) -> Reduced:
    if thing.grad_fn is not None:
        raise TypeError("it has an autograd graph; keep tensor.detach() instead")
    wraps_others = type(thing).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__
    if wraps_others or isinstance(thing, (UninitializedParameter, UninitializedBuffer)):
        return None
    made: Callable[..., Any]
    if type(thing) is torch.Tensor:
        made, made_of = thing.data._reduce_ex_internal(2)
        if isinstance(made_of[0], UntypedStorage):  # of newer types, which are made of typed ones
            typed = TypedStorage(wrap_storage=made_of[0], dtype=torch.uint8, _internal=True)
            made_of = (typed, *made_of[1:])
    else:
        with torch._C.DisableTorchFunctionSubclass():
            plain = thing.data.as_subclass(torch.Tensor)
        made, made_of = torch.Tensor._make_subclass, (type(thing), plain)
    return made, made_of, tensor_state(thing), None, None, set_tensor_state


def tensor_state(thing: torch.Tensor) -> dict[str, Any]:
    """What a leaf tensor holds besides its data: attributes, hooks, gradient."""
    hooks = {name: held for name in _HOOKS if (held := getattr(thing, name)) is not None}
    grad = thing.grad if thing.is_leaf else None
    return {**vars(thing), **hooks, "grad": grad, "requires_grad": thing.requires_grad}


def set_tensor_state(thing: torch.Tensor, state: dict[str, Any]) -> None:
    """The inverse of `tensor_state`."""
    vars(thing).clear()
    for name in ("requires_grad", *state):
        setattr(thing, name, state[name])


def _attributes(thing: Any) -> Reduced:
    """All attributes, where `__getstate__` would leave some out."""
    return _without_attributes, (type(thing),), vars(thing), None, None, _set_attributes


def _without_attributes(cls: type) -> Any:
    made: Any = object.__new__(cls)
    if isinstance(made, Optimizer):
        made._patch_step_function()  # so that the class's `step` calls hooks
    return made


def _set_attributes(thing: Any, attributes: dict[str, Any]) -> None:
    vars(thing).update(attributes)


def _weak_reference(thing: weakref.ref[Any]) -> Reduced:
    if (target := thing()) is None:
        return _dead_reference, ()
    callback = thing.__callback__
    return type(thing), (target,) if callback is None else (target, callback)


class _Gone:
    """What nothing refers to any more."""


def _dead_reference() -> weakref.ref[Any]:
    return weakref.ref(_Gone())


def _weak_dict(thing: Any) -> Reduced:
    return type(thing), (), None, None, iter([*thing.items()])


def _array(thing: np.ndarray) -> Reduced:
    """An array that is a view of another array's or a tensor's memory stays one.

    Others own their memory, so that they can be resized.
    """
    if type(thing).__reduce__ is not np.ndarray.__reduce__ or not thing.dtype.isnative:
        return None
    memory: Any = thing.base
    if memory is None:
        reduced: Any = thing.__reduce__()
        return tuple(reduced)
    if isinstance(memory, torch.Tensor):
        memory = memory.untyped_storage()
        start = memory.data_ptr()
    elif type(memory) is np.ndarray and not memory.dtype.hasobject:
        start = memory.ctypes.data
    else:
        return None
    made_of = (memory, thing.ctypes.data - start, thing.shape, thing.strides, thing.dtype)
    return _view, (type(thing), thing.flags.writeable, *made_of)


def _view(
    cls: type, writeable: bool, memory: Any, offset: int, shape: Any, strides: Any, dtype: Any
) -> np.ndarray:
    if isinstance(memory, torch.UntypedStorage):
        memory = torch.empty(0, dtype=torch.uint8).set_(memory).numpy()
    flat = memory.ravel(order="K").view(np.uint8)
    made: np.ndarray = np.ndarray(shape, dtype, flat, offset, strides).view(cls)
    made.flags.writeable = writeable
    return made


def _mapping_proxy(thing: types.MappingProxyType[Any, Any]) -> Reduced:
    return types.MappingProxyType, (gc.get_referents(thing)[0],)


def _refused(thing: Any) -> Reduced:
    """Refuses what cloudpickle would turn into something else."""
    raise TypeError(f"cannot pickle {type(thing).__name__!r} object")


_VIEWS = tuple(type(getattr({}, name)()) for name in ("keys", "values", "items"))
REDUCERS: list[tuple[Any, Callable[[Any], Reduced]]] = [
    (torch.Tensor, _tensor),
    (types.CellType, _cell),
    ((Optimizer, torch.amp.GradScaler, RemovableHandle, _WrappedHook), _attributes),
    (weakref.ref, _weak_reference),
    ((weakref.WeakKeyDictionary, weakref.WeakValueDictionary), _weak_dict),
    (np.ndarray, _array),
    (types.MappingProxyType, _mapping_proxy),
    ((memoryview, *_VIEWS), _refused),
]
