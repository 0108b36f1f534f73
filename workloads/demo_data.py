"""The three small datasets of the demo workloads, in files beside these.

Each folder's DATA.md says where its files come from and under which licence. They are in a format
that numpy reads; importing scikit-learn for them would take as long as importing torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harness.spec import DataError


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images [1797, 64] of pixels 0..16 and labels [1797], as scikit-learn's `load_digits`."""
    table = _read("digits/digits.csv.gz", delimiter=",")
    return table[:, :-1], table[:, -1].astype(np.int64)


def breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    """Features [569, 30] and labels [569], as scikit-learn's `load_breast_cancer`."""
    table = _read("breast_cancer/breast_cancer.csv", delimiter=",", skiprows=1)
    return table[:, :-1], table[:, -1].astype(np.int64)


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """Features [442, 10] and outcomes [442], as scikit-learn's `load_diabetes(scaled=False)`."""
    return _read("diabetes/diabetes_data_raw.csv.gz"), _read("diabetes/diabetes_target.csv.gz")


def _read(name: str, **options: Any) -> np.ndarray:
    file = Path(__file__).parent / name
    if not file.is_file():
        raise DataError(f"{file}: no such file; it is part of chronograd: install it again")
    return np.loadtxt(file, **options)
