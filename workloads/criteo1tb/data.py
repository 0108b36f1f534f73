"""The Criteo 1TB click logs: their files, and what training reads of them.

A line of `day_5_02` is a label, 13 counts and 26 categories (hexadecimal words), separated by tabs.
Prepared, a file is three arrays: labels uint8 [N], counts int32 [N, 13] and the hash buckets of the
categories int32 [N, 26].
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from harness.spec import DataError
from workloads.criteo1tb.farmhash import fingerprint64

if TYPE_CHECKING:  # imported where files are parsed: prepared data is read without it
    import pyarrow as pa

RECIPE = "criteo1tb 1"  # the version of what `parse` makes
COUNTS = 13
BUCKETS = (
    39884406, 39043, 17289, 7420, 20263, 3, 7120, 1543, 63, 38532951, 2953546, 403346, 10, 2208,
    11938, 155, 4, 976, 14, 39979771, 25641295, 39664984, 585935, 12972, 108, 36,
)  # fmt: skip
MISSING = ("", "-1")  # fields that mean "unknown"
MISSING_CATEGORY = b"00000000"
FIELDS = 1 + COUNTS + len(BUCKETS)

TRAIN_DAYS = range(23)
LAST_DAY = 23
TEST_FILES = range(19)  # of the last day
VALIDATION_FILES = range(19, 36)
LINES_OF_DAY = (
    195841983, 199563535, 196792019, 181115208, 152115810, 172548507, 204846845, 200801003,
    193772492, 198424372, 185778055, 153588700, 169003364, 194216520, 194081279, 187154596,
    177984934, 163382602, 142061091, 156534237, 193627464, 192215183, 189747893, 178274637,
)  # fmt: skip
_BLOCK = 2**22  # bytes of a file that are parsed at a time


def find_files(data_dir: Path) -> dict[str, list[Path]]:
    """The files of the splits "train", "validation" and "test", in the order of days and numbers.

    Raises:
        DataError: Files are missing; names them.
    """
    if not data_dir.is_dir():
        raise DataError(f"{data_dir}: no such directory")
    numbers = {day: set[int]() for day in (*TRAIN_DAYS, LAST_DAY)}
    for path in data_dir.iterdir():
        match = re.fullmatch(r"day_(\d|1\d|2[0-3])_(\d\d)", path.name)
        if match and path.is_file():
            numbers[int(match[1])].add(int(match[2]))
    last = {day: max(numbers[day], default=0) for day in TRAIN_DAYS}
    last[LAST_DAY] = VALIDATION_FILES[-1]
    wanted = {day: range(last[day] + 1) for day in numbers}
    missing = [_name(d, n) for d, want in wanted.items() for n in want if n not in numbers[d]]
    if missing:
        others = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise DataError(
            f"{data_dir}: {', '.join(missing[:5])}{others} missing; split each day's file by "
            "`split -a 2 -d -l 5000000 day_5 day_5_`"
        )
    return {
        "train": [data_dir / _name(day, n) for day in TRAIN_DAYS for n in wanted[day]],
        "validation": [data_dir / _name(LAST_DAY, n) for n in VALIDATION_FILES],
        "test": [data_dir / _name(LAST_DAY, n) for n in TEST_FILES],
    }


def _name(day: int, number: int) -> str:
    return f"day_{day}_{number:02d}"


def wrong_sizes(lines: Mapping[str, int]) -> list[str]:
    """How files of so many lines, by name, differ from the official dataset, a line a day."""
    found = dict.fromkeys(range(len(LINES_OF_DAY)), 0)
    for name, count in lines.items():
        found[int(name.split("_")[1])] += count
    return [
        f"day_{day}: has {count:,} lines, {official:,} were expected; fetch the day again"
        for (day, count), official in zip(found.items(), LINES_OF_DAY, strict=True)
        if count != official
    ]


def parse(path: Path) -> dict[str, np.ndarray]:
    """The arrays of one file: "labels" [N], "counts" [N, 13], "buckets" [N, 26].

    Raises:
        DataError: It cannot be read, or a line is not as it should be; says which one.
    """
    import pyarrow as pa
    from pyarrow import csv

    names = ["label", *(f"count {n}" for n in range(COUNTS)), *map(str, range(len(BUCKETS)))]
    types = [pa.uint8(), *[pa.int32()] * COUNTS, *[pa.string()] * len(BUCKETS)]
    try:
        with csv.open_csv(
            path,
            csv.ReadOptions(column_names=names, block_size=_BLOCK),
            csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False),
            csv.ConvertOptions(
                column_types=dict(zip(names, types, strict=True)),
                null_values=MISSING,
                strings_can_be_null=True,
            ),
        ) as reader:
            blocks = [_arrays(block) for block in reader]
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(_fault(path) or f"{path}: {error}") from None
    arrays = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    if len(arrays["labels"]) and arrays["labels"].max() > 1:
        raise DataError(str(_fault(path)))
    return arrays


def _arrays(block: pa.RecordBatch) -> dict[str, np.ndarray]:
    """The arrays of some lines; a label that is missing becomes 255."""
    label, *columns = block.columns
    counts = [column.fill_null(0).to_numpy() for column in columns[:COUNTS]]
    buckets = [
        hash_buckets(column, number, BUCKETS[number])
        for number, column in enumerate(columns[COUNTS:])
    ]
    return {
        "labels": label.fill_null(255).to_numpy(),
        "counts": np.stack(counts, axis=1),
        "buckets": np.stack(buckets, axis=1),
    }


def hash_buckets(categories: pa.StringArray, column: int, buckets: int) -> np.ndarray:
    """The hash buckets, int32 [N], of one column's categories, null where unknown.

    The column's number is appended before hashing, so that columns do not share their collisions.
    """
    suffix = np.frombuffer(str(column).encode(), np.uint8)
    categories = categories.fill_null(MISSING_CATEGORY.decode())
    _, offsets, data = categories.buffers()
    ends = np.frombuffer(offsets, np.int32)[categories.offset :][: len(categories) + 1]
    characters = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    lengths = np.diff(ends)
    out = np.empty(len(lengths), np.int32)
    for length in np.flatnonzero(np.bincount(lengths)).tolist():
        chosen = lengths == length
        strings = np.empty((np.count_nonzero(chosen), length + len(suffix)), np.uint8)
        strings[:, :length] = sliding_window_view(characters, length)[ends[:-1][chosen]]
        strings[:, length:] = suffix
        out[chosen] = fingerprint64(strings) % np.uint64(buckets)
    return out


def _fault(path: Path) -> str | None:
    """What is wrong with the first bad line of a file; None where all seem good."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            fault = _fault_of_line(line.rstrip(b"\r\n"))
            if fault:
                return f"{path}, line {number}: {fault}; fetch or split the file again"
    return None


def _fault_of_line(line: bytes) -> str | None:
    fields = line.split(b"\t")
    if len(fields) != FIELDS:
        return f"has {len(fields)} columns, not {FIELDS} (label, 13 counts, 26 categories)"
    if fields[0] not in (b"0", b"1"):
        return f"the label is {fields[0]!r}, neither 0 nor 1"
    for number, field in enumerate(fields[1 : 1 + COUNTS]):
        whole = re.fullmatch(rb"-?\d+", field) and -(2**31) <= int(field) < 2**31
        if field and not whole:
            return f"count {number} is {field!r}, not a whole number of 32 bits"
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"is not UTF-8 ({error})"
    return None
