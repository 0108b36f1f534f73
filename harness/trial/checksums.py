"""Checksums of parameters and of evaluation data: whether they are the same as before."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

BLOCK, BLOCKS = 4096, 1024  # bytes of a block, and how many of a large array are read
_CHUNK = 2**22  # elements of a GPU's tensor at a time
_SIZES = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def of_model(model: nn.Module) -> dict[str, int]:
    """A checksum of each parameter and buffer."""
    return {name: _checksum(tensor.detach()) for name, tensor in named_tensors(model).items()}


def combined(checksums: Mapping[str, int]) -> str:
    """One checksum of several, eight hexadecimal digits."""
    return f"{zlib.crc32(repr(sorted(checksums.items())).encode()):08x}"


def of_data(value: Any) -> str:
    """A checksum of all arrays and tensors in an object; of large ones a sample is read.

    Args:
        value: An array, a tensor, or a mapping, sequence or object that holds such.
    """
    checksum = 0
    for array in _arrays(value, set()):
        checksum = _sampled(array, checksum)
    return f"{checksum:08x}"


def _checksum(tensor: Tensor) -> int:
    """CRC-32 of the bytes; on a GPU two sums over them, computed there."""
    if tensor.layout is not torch.strided or tensor.is_meta:
        return 0
    flat = tensor.contiguous().reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    if flat.device.type == "cpu":
        return zlib.crc32(flat.view(torch.uint8).numpy().data)
    sums = torch.zeros(2, dtype=torch.int64, device=flat.device)
    for number, part in enumerate(torch.split(flat.view(_SIZES[flat.element_size()]), _CHUNK)):
        words = part.long()
        weights = torch.arange(len(words), device=flat.device) * 0x9E3779B1 + 2 * number + 1
        sums += torch.stack([words.sum(), (words * weights).sum()])
    return zlib.crc32(sums.cpu().numpy().data)


def _arrays(value: Any, seen: set[int]) -> Iterator[np.ndarray | Tensor]:
    """Every array and tensor in an object of ours, in a fixed order."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, (np.ndarray, Tensor)):
        yield value
        return
    if isinstance(value, Mapping):
        items: Iterable[Any] = value.values()
    elif isinstance(value, (list, tuple)):
        items = value
    elif type(value).__module__.partition(".")[0] in sys.builtin_module_names:
        return
    else:
        slots = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
        items = [*getattr(value, "__dict__", {}).values(),
                 *(getattr(value, name, None) for name in slots)]  # fmt: skip
    for item in items:
        yield from _arrays(item, seen)


def _sampled(array: np.ndarray | Tensor, checksum: int) -> int:
    """Continues a checksum with an array: all of it, or of a large one evenly spaced blocks."""
    if (
        array.ndim == 0
        or not len(array)
        or (isinstance(array, np.ndarray) and array.dtype.hasobject)
    ):
        return checksum
    size = len(array)
    if array.nbytes > BLOCKS * BLOCK:
        size = max(1, BLOCK * len(array) // array.nbytes)
    starts = range(0, len(array), size)
    if len(starts) > BLOCKS:
        starts = np.linspace(0, len(array) - size, BLOCKS).astype(int).tolist()
    for start in starts:
        part = array[start : start + size]
        if isinstance(part, Tensor):
            part = part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        checksum = zlib.crc32(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data, checksum)
    return checksum
