"""Reductions for objects of which pickle and cloudpickle would lose a part.

Each function returns what `object.__reduce__` may return, or None for the default of pickle or
cloudpickle.
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


def function(obj: types.FunctionType) -> Reduced:
    """Reduces a function that cannot be imported by name; shared variables stay shared."""
    made_of = (obj.__code__, obj.__globals__, obj.__name__, None, obj.__closure__)
    names = ("__defaults__", "__kwdefaults__", "__annotations__", "__qualname__", "__module__")
    state = ({name: getattr(obj, name) for name in names}, vars(obj))
    return types.FunctionType, made_of, state, None, None, _set_function


def _set_function(obj: types.FunctionType, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    for name, value in state[0].items():
        setattr(obj, name, value)
    vars(obj).update(state[1])


def keep_qualified_name(obj: type, reduced: tuple[Any, ...]) -> None:
    """Adds the qualified name, which cloudpickle drops, to the reduction of a class."""
    made_of = reduced[1]
    namespace = next((part for part in made_of if type(part) is dict), None)
    if reduced[0].__name__ == "_make_skeleton_class" and namespace is not None:
        namespace["__qualname__"] = obj.__qualname__


def _cell(obj: types.CellType) -> Reduced:
    """Reduces a closure's cell; filled after creation, as it may contain the function itself."""
    try:
        content = (obj.cell_contents,)
    except ValueError:
        return types.CellType, ()
    return types.CellType, (), content, None, None, _set_cell


def _set_cell(obj: types.CellType, content: tuple[Any]) -> None:
    obj.cell_contents = content[0]


def _tensor(obj: torch.Tensor) -> Reduced:
    if obj.grad_fn is not None:
        raise TypeError("it has an autograd graph; keep tensor.detach() instead")
    wraps_others = type(obj).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__
    if wraps_others or isinstance(obj, (UninitializedParameter, UninitializedBuffer)):
        return None
    made: Callable[..., Any]
    if type(obj) is torch.Tensor:
        made, made_of = obj.data._reduce_ex_internal(2)
        if isinstance(made_of[0], UntypedStorage):  # newer dtypes: wrapped like older ones
            typed = TypedStorage(wrap_storage=made_of[0], dtype=torch.uint8, _internal=True)
            made_of = (typed, *made_of[1:])
    else:
        with torch._C.DisableTorchFunctionSubclass():
            plain = obj.data.as_subclass(torch.Tensor)
        made, made_of = torch.Tensor._make_subclass, (type(obj), plain)
    return made, made_of, tensor_state(obj), None, None, set_tensor_state


def tensor_state(obj: torch.Tensor) -> dict[str, Any]:
    """Returns what a tensor holds besides its data: attributes, hooks, gradient."""
    hooks = {name: held for name in _HOOKS if (held := getattr(obj, name)) is not None}
    grad = obj.grad if obj.is_leaf else None
    return {**vars(obj), **hooks, "grad": grad, "requires_grad": obj.requires_grad}


def set_tensor_state(obj: torch.Tensor, state: dict[str, Any]) -> None:
    """Sets what `tensor_state` returns."""
    vars(obj).clear()
    for name in ("requires_grad", *state):
        setattr(obj, name, state[name])


def _attributes(obj: Any) -> Reduced:
    """Reduces an object to all of its attributes, as its `__getstate__` omits some."""
    return _without_attributes, (type(obj),), vars(obj), None, None, _set_attributes


def _without_attributes(cls: type) -> Any:
    made: Any = object.__new__(cls)
    if isinstance(made, Optimizer):
        made._patch_step_function()  # otherwise the class's `step` calls no hooks
    return made


def _set_attributes(obj: Any, attributes: dict[str, Any]) -> None:
    vars(obj).update(attributes)


def _weak_reference(obj: weakref.ref[Any]) -> Reduced:
    if (target := obj()) is None:
        return _dead_reference, ()
    callback = obj.__callback__
    return type(obj), (target,) if callback is None else (target, callback)


class _Gone:
    """An object to which no strong reference is kept."""


def _dead_reference() -> weakref.ref[Any]:
    return weakref.ref(_Gone())


def _weak_dict(obj: Any) -> Reduced:
    return type(obj), (), None, None, iter([*obj.items()])


def _array(obj: np.ndarray) -> Reduced:
    """Reduces an array: a view of another array's or a tensor's memory stays a view.

    Other arrays own their memory, so they can be resized.
    """
    if type(obj).__reduce__ is not np.ndarray.__reduce__ or not obj.dtype.isnative:
        return None
    memory: Any = obj.base
    if memory is None:
        reduced: Any = obj.__reduce__()
        return tuple(reduced) if obj.dtype.hasobject else (_owner, tuple(reduced))
    if isinstance(memory, torch.Tensor):
        memory = memory.untyped_storage()
        start = memory.data_ptr()
    elif type(memory) is np.ndarray and not memory.dtype.hasobject:
        start = memory.ctypes.data
    else:
        return None
    made_of = (memory, obj.ctypes.data - start, obj.shape, obj.strides, obj.dtype)
    return _view, (type(obj), obj.flags.writeable, *made_of)


def _owner(made: Callable[..., Any], made_of: tuple[Any, ...], state: Any) -> Any:
    """Returns an array that owns its memory; `__setstate__` borrows that of long bytes objects."""
    array = made(*made_of)
    array.__setstate__(state)
    return array.copy(order="K")


def _view(
    cls: type, writeable: bool, memory: Any, offset: int, shape: Any, strides: Any, dtype: Any
) -> np.ndarray:
    if isinstance(memory, torch.UntypedStorage):
        memory = torch.empty(0, dtype=torch.uint8).set_(memory).numpy()
    flat = memory.ravel(order="K").view(np.uint8)
    made: np.ndarray = np.ndarray(shape, dtype, flat, offset, strides).view(cls)
    made.flags.writeable = writeable
    return made


def _mapping_proxy(obj: types.MappingProxyType[Any, Any]) -> Reduced:
    return types.MappingProxyType, (gc.get_referents(obj)[0],)


def _refused(obj: Any) -> Reduced:
    """Refuses objects that cloudpickle would convert to another type."""
    raise TypeError(f"cannot pickle {type(obj).__name__!r} object")


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
