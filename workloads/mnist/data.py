"""MNIST's original IDX files (LeCun, Cortes and Burges 1998), plain or gzipped."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from harness.spec import DataError
from scoring.files import GzipReader, read_bytes

SHAPES = {
    "train-images-idx3-ubyte": (60000, 28, 28),
    "train-labels-idx1-ubyte": (60000,),
    "t10k-images-idx3-ubyte": (10000, 28, 28),
    "t10k-labels-idx1-ubyte": (10000,),
}
SOURCE = (
    f"{', '.join(SHAPES)} (or the same with .gz), as they come from the MNIST database "
    "(yann.lecun.com/exdb/mnist and its mirrors)"
)
MOST_BYTES = 2 * (8 + 60000 * 28 * 28)  # twice the largest file's, unpacked
_UBYTE = 8  # the IDX code of unsigned bytes


def read(data_dir: Path, name: str) -> np.ndarray:
    """Reads one of the four files, uint8, of the shape in `SHAPES`.

    Raises:
        DataError: It is missing, truncated, or not the file that its name says.
    """
    path = next((p for p in (data_dir / name, data_dir / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise DataError(f"{data_dir / name}: no such file; put {SOURCE} into {data_dir}")
    shape = SHAPES[name]
    header = bytes([0, 0, _UBYTE, len(shape)]) + np.array(shape, dtype=">u4").tobytes()
    size = len(header) + math.prod(shape)
    try:
        if path.suffix == ".gz":
            with GzipReader(path, MOST_BYTES) as file:
                content = file.read()
        else:
            content = read_bytes(path, MOST_BYTES)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}; fetch it again") from None
    if content[: len(header)] != header:
        raise DataError(f"{path}: is not an IDX file of {shape} unsigned bytes; fetch it again")
    if len(content) != size:
        raise DataError(
            f"{path}: has {len(content):,} bytes, {size:,} were expected; fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)
