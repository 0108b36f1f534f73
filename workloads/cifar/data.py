"""CIFAR-10's binary version (Krizhevsky 2009)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.spec import DataError
from scoring.files import read_bytes

FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
RECORDS = 10000  # in a file
PIXELS = 3 * 32 * 32
SOURCE = (
    "the binary version, cifar-10-binary.tar.gz of www.cs.toronto.edu/~kriz/cifar.html, unpacked: "
    f"{FOLDER}/data_batch_1.bin to data_batch_5.bin and test_batch.bin"
)


def read(data_dir: Path, files: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The images [N, 3, 32, 32], uint8, and labels [N], int64, of some files.

    Raises:
        DataError: One is missing, of another size, or holds a label that is none.
    """
    records = np.concatenate([_records(data_dir, name) for name in files])
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)


def _records(data_dir: Path, name: str) -> np.ndarray:
    """The records [10000, 3073] of a file: a label, then red, green and blue pixels in rows."""
    path = data_dir / FOLDER / name
    expected = RECORDS * (1 + PIXELS)
    try:
        content = read_bytes(path, expected)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {_advice(data_dir)}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise DataError(f"{path}: {error}; fetch it again") from None
    if len(content) != expected:
        raise DataError(
            f"{path}: has {len(content):,} bytes, {expected:,} were expected; fetch it again"
        )
    records = np.frombuffer(content, np.uint8).reshape(RECORDS, 1 + PIXELS)
    wrong = np.flatnonzero(records[:, 0] > 9)
    if wrong.size:
        label = records[wrong[0], 0]
        raise DataError(f"{path}: record {wrong[0]} has label {label}, not 0 to 9; fetch it again")
    return records


def _advice(data_dir: Path) -> str:
    """What to put where; the other version of CIFAR-10 is not read."""
    if (data_dir / "cifar-10-batches-py").exists() or (data_dir / "data_batch_1").exists():
        return (
            f"the Python version in {data_dir} is not read, since unpickling runs whatever code a "
            f"file holds; get {SOURCE}"
        )
    return f"put into {data_dir} {SOURCE}"
