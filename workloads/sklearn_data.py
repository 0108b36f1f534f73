"""The datasets that scikit-learn ships, read from its files.

Importing scikit-learn takes about as long as importing torch, and every trial has a process of its
own; a test compares what is read here with scikit-learn's own loaders.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from harness.spec import DataError


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images [1797, 64] of pixels 0..16 and labels [1797], as `load_digits` gives them."""
    table = np.loadtxt(_file("digits.csv.gz"), delimiter=",")
    return table[:, :-1], table[:, -1].astype(np.int64)


def breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    """Features [569, 30] and labels [569], as `load_breast_cancer` gives them."""
    table = np.loadtxt(_file("breast_cancer.csv"), delimiter=",", skiprows=1)
    return table[:, :-1], table[:, -1].astype(np.int64)


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """Features [442, 10] and outcomes [442], as `load_diabetes(scaled=False)` gives them."""
    return np.loadtxt(_file("diabetes_data_raw.csv.gz")), np.loadtxt(
        _file("diabetes_target.csv.gz")
    )


def _file(name: str) -> Path:
    found = find_spec("sklearn")  # looks it up without importing it
    places = [] if found is None else list(found.submodule_search_locations or [])
    for place in places:
        path = Path(place) / "datasets" / "data" / name
        if path.is_file():
            return path
    raise DataError(f"scikit-learn's {name} is not there; reinstall: pip install scikit-learn")
