"""Token shards in the speedrun's format, memory-mapped, and windows of them as training examples.

A shard is a header of 256 int32 (20240520, version 1, the number of tokens, zeros) and the tokens
as uint16, all little-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.spec import DataError
from workloads.parts import Rows

MAGIC, VERSION = 20240520, 1
_HEADER = 256  # int32 words


def shard(tokens: np.ndarray) -> np.ndarray:
    """What a shard's file holds for tokens [N]: uint16 [512 + N]."""
    header = np.zeros(_HEADER, "<i4")
    header[:3] = MAGIC, VERSION, len(tokens)
    return np.concatenate([header.view("<u2"), tokens.astype("<u2")])


def read_shard(path: Path) -> np.ndarray:
    """The tokens [N] of a shard, uint16, memory-mapped.

    Raises:
        DataError: It is not a shard of this version, or not as long as it says.
    """
    try:
        words = np.fromfile(path, "<i4", count=_HEADER)
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if len(words) < _HEADER or words[0] != MAGIC:
        raise DataError(f"{path}: is not a token shard (its first number is not {MAGIC})")
    if words[1] != VERSION:
        raise DataError(f"{path}: is of version {words[1]}; version {VERSION} is read here")
    count = int(words[2])
    if size != 4 * _HEADER + 2 * count:
        raise DataError(
            f"{path}: should be {4 * _HEADER + 2 * count:,} bytes for its {count:,} tokens, but is "
            f"{size:,}; download it again"
        )
    if not count:
        raise DataError(f"{path}: has no tokens")
    return np.memmap(path, "<u2", mode="r", offset=4 * _HEADER, shape=(count,))


def windows(
    shards: Sequence[np.ndarray], length: int, first: int = 0, count: int | None = None
) -> tuple[Windows, Windows]:
    """Inputs and targets [N, length]: targets are the inputs moved on by a token.

    Windows are side by side in their shard; what is left at its end is not used.

    Args:
        shards: Tokens [N] of each.
        length: The length of a window.
        first: The number of windows that are left out at the beginning.
        count: The number of windows that are taken after those; None for all.
    """
    inputs: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    for tokens in shards:
        whole = (len(tokens) - 1) // length
        stop = whole if count is None else min(whole, first + count)
        start = min(first, stop)
        for rows, shift in ((inputs, 0), (targets, 1)):
            ends = tokens[shift + start * length : shift + stop * length]
            rows.append(ends.reshape(-1, length))
        first -= start
        if count is not None:
            count -= stop - start
    return Windows(inputs), Windows(targets)


class Windows(Rows):
    """Windows of several shards as one long array, of int64 once they are taken."""

    def take(self, indices: np.ndarray) -> np.ndarray:
        """The windows [len(indices), length] of these numbers, in their order."""
        return super().take(indices).astype(np.int64)
