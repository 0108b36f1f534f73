"""Checksums of parameters and of evaluation data, to detect changes."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

BLOCK, BLOCKS = 4096, 1024  # bytes per block, and blocks that are read from a large array
_CHUNK = 2**22  # elements of a GPU tensor that are processed at a time
_SIZES = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Returns parameters and buffers by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def model_checksums(model: nn.Module) -> dict[str, int]:
    """Returns a checksum of each parameter and buffer, by name."""
    return {name: _checksum(tensor.detach()) for name, tensor in named_tensors(model).items()}


def combine(checksums: Mapping[str, int]) -> str:
    """Combines several checksums into one of eight hexadecimal digits."""
    return f"{zlib.crc32(repr(sorted(checksums.items())).encode()):08x}"


def data_checksum(value: Any) -> str:
    """Returns a checksum of all arrays and tensors in an object; large ones are sampled.

    Args:
        value: An array, a tensor, or a mapping, sequence or object that contains them.
    """
    checksum = 0
    for array in _arrays(value, set()):
        checksum = _sampled(array, checksum)
    return f"{checksum:08x}"


def _checksum(tensor: Tensor) -> int:
    """Returns the CRC-32 of the bytes; on a GPU, of two sums that are computed there."""
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
    """Yields every array and tensor in an object, in a fixed order."""
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
    """Updates a checksum with an array; only evenly spaced blocks of a large one are read."""
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
