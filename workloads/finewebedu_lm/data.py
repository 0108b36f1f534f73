"""Tokens of finewebedu_lm: Hugging Face's Arrow folders or token shards, both memory-mapped.

Documents are joined end to end and cut into sequences, over the borders of documents, record
batches and files alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from harness.spec import DataError
from scoring.files import entries
from workloads.parts import Rows
from workloads.shards import read_shard

COLUMN = "input_ids"
_STATE = "state.json"  # names the Arrow files of a folder, in their order
_END = b"\xff\xff\xff\xff\0\0\0\0"  # of a complete Arrow stream
_BUFFER = 1000  # sequences that official training draws from


def texts(data_dir: Path, split: str) -> list[np.ndarray]:
    """The tokens of a split as integer arrays, to be joined in this order.

    Args:
        data_dir: Holds a folder of the split's name with Arrow files or token shards, or token
            shards that have the split in their names.
        split: "train" or "val".

    Raises:
        DataError: There are none, or a file is missing or damaged.
    """
    folder = data_dir / split
    if folder.is_dir():
        if files := arrow_files(folder):
            return [tokens for file in files for tokens in read_arrow(file)]
        shards = entries(folder, "*.bin")
    else:
        shards = entries(data_dir, f"*{split}*.bin") if data_dir.is_dir() else []
    if not shards:
        raise DataError(
            f"{data_dir}: no folder {split!r} with Arrow files, and no *{split}*.bin there"
        )
    return [read_shard(shard) for shard in shards]


def arrow_files(folder: Path) -> list[Path]:
    """The Arrow files of a folder as `datasets` saved it, in the order of its rows.

    Raises:
        DataError: A file is missing, or rows were selected without being copied.
    """
    state = folder / _STATE
    if not state.is_file():
        return entries(folder, "*.arrow")
    try:
        saved = json.loads(state.read_text(encoding="utf-8"))
        names = [str(file["filename"]) for file in saved["_data_files"]]
        selected = saved.get("_indices_data_files")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{state}: cannot be read ({type(error).__name__}: {error})") from None
    if selected:
        raise DataError(
            f"{state}: rows are selected by an index; save `dataset.flatten_indices()` instead"
        )
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise DataError(f"{folder / name}: is missing; {state} names it")
    return [folder / name for name in names]


def read_arrow(file: Path) -> Iterator[np.ndarray]:
    """The tokens of each record batch of an Arrow stream, its rows joined, not copied.

    Raises:
        DataError: It is not an Arrow stream, is cut off, or has no column `input_ids` of integers.
    """
    try:
        source = pa.memory_map(str(file))
        tail = max(0, source.size() - len(_END))
        if source.read_at(len(_END), tail) != _END:
            raise DataError(f"{file}: is cut off, or is not an Arrow stream; download it again")
        reader = pa.ipc.open_stream(source)
        place = reader.schema.get_field_index(COLUMN)
        if place < 0:
            raise DataError(
                f"{file}: has no column {COLUMN!r}, but {', '.join(reader.schema.names)}"
            )
        for batch in reader:
            yield _joined(file, batch.column(place))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file}: cannot be read as an Arrow stream ({error})") from None


def _joined(file: Path, lists: pa.Array) -> np.ndarray:
    """The values of a column of lists as one array [N] of integers, not copied."""
    kinds = (pa.ListArray, pa.LargeListArray, pa.FixedSizeListArray)
    values = lists.flatten() if isinstance(lists, kinds) else None
    if values is None or not pa.types.is_integer(values.type):
        raise DataError(f"{file}: {COLUMN!r} is {lists.type}, and should be lists of integers")
    if values.null_count:
        raise DataError(f"{file}: {COLUMN!r} has {values.null_count:,} missing tokens")
    tokens: np.ndarray = values.to_numpy(zero_copy_only=True)
    return tokens


class Sequences(Rows):
    """Sequences of `length` tokens of a joined text, one more token apart."""

    def __init__(
        self, arrays: Sequence[np.ndarray], length: int, shift: int, most: int | None = None
    ) -> None:
        """Makes the inputs, or the targets.

        Args:
            arrays: The text's tokens [N] of each part.
            length: The length of a sequence.
            shift: 0 for inputs; 1 for targets, which are a token later.
            most: How many sequences are taken at most; None for all.
        """
        super().__init__([array for array in arrays if len(array)])
        self._length, self._shift = length, shift
        count = super().__len__() // (length + 1) if self._arrays else 0
        self._count = count if most is None else min(count, most)

    def __len__(self) -> int:
        return self._count

    def take(self, indices: np.ndarray) -> np.ndarray:
        """The sequences of these numbers, int64 [len(indices), length]."""
        out = np.empty((len(indices), self._length), np.int64)
        for row, index in zip(out, indices, strict=True):
            start = int(index) * (self._length + 1) + self._shift
            done = 0
            part = int(np.searchsorted(self._ends, start, side="right"))
            while done < self._length:
                array = self._arrays[part]
                begin = start + done - (int(self._ends[part]) - len(array))
                piece = array[begin : begin + self._length - done]
                row[done : done + len(piece)] = piece
                done, part = done + len(piece), part + 1
        return out


def buffered_order(generator: np.random.Generator, count: int) -> np.ndarray:
    """The order [count] in which a shuffle buffer of 1,000 hands out the numbers from 0 on.

    Each number is drawn from the buffer at random, and the next one takes its place there; what is
    left in the end is shuffled. Reading goes through the files from front to back.
    """
    size = min(_BUFFER, count)
    places = generator.integers(size, size=count - size)
    steps = np.argsort(places, kind="stable")  # by place, and in time within each
    filled = np.arange(count - size)  # the step that filled the place which a step empties
    filled[steps[1:]] = steps[:-1]
    first = np.ones(len(places), bool)
    first[1:] = places[steps[1:]] != places[steps[:-1]]
    drawn = filled + size
    drawn[steps[first]] = places[steps[first]]
    left = np.ones(count, bool)
    left[drawn] = False
    return np.concatenate([drawn, generator.permutation(np.flatnonzero(left))])
