"""ogbg-molpcba's original files (Hu et al. 2020): from gzipped CSV to the arrays training reads.

The files have no header. A molecule is a graph: its atoms are rows of node-feat, its bonds rows of
edge and edge-feat, molecule after molecule; num-node-list and num-edge-list say how many each has.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from harness.spec import DataError
from scoring.files import GzipReader
from workloads.ogbg.model import EDGE_FEATURES, NODE_FEATURES
from workloads.parts import Part

RECIPE = "ogbg 1"
TASKS = 128
MOST_BYTES = 2 * 2**30  # of an unpacked file; the largest of OGB's has about 0.5 GB
SPLITS = {"train": "train", "validation": "valid", "test": "test"}  # and what OGB calls them
RAW = ("num-node-list", "num-edge-list", "node-feat", "edge", "edge-feat", "graph-label")
WHERE = "https://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download/pcba.zip"

Files = dict[str, Path]


def find_files(data_dir: Path) -> Files:
    """The nine files by name without .csv.gz, those of the splits by the split.

    Args:
        data_dir: OGB's folder, with raw/ and split/ in it, or one that holds it as ogbg_molpcba/
            or, as it is called in OGB's archive, as pcba/.

    Raises:
        DataError: One is missing.
    """
    inside = (data_dir / name for name in ("ogbg_molpcba", "pcba"))
    root = next((folder for folder in inside if folder.is_dir()), data_dir)
    files = {name: root / "raw" / f"{name}.csv.gz" for name in RAW}
    files |= {
        split: root / "split" / "scaffold" / f"{name}.csv.gz" for split, name in SPLITS.items()
    }
    for file in files.values():
        if not file.is_file():
            raise DataError(f"{file}: no such file; unpack {WHERE} into {data_dir}")
    return files


def parts(files: Files) -> list[Part]:
    """What is prepared: arrays of whole files, so that a graph's number is its row in OGB's files.

    nodes: `n_node` [graphs], `nodes` [atoms, 9].
    edges: `n_bond` [graphs], `bonds` [bonds, 2] (numbers of atoms, from 0 in each graph),
        `bond_features` [bonds, 3].
    labels: `labels` [graphs, 128], -1 where there is none.
    splits: `train`, `validation`, `test`: the numbers of their graphs.
    """

    def part(name: str, make: Callable[[Files], dict[str, np.ndarray]], *sources: str) -> Part:
        used = [files[source] for source in ("num-node-list", *sources)]
        return Part(name, RECIPE, partial(make, files), used)

    return [
        part("nodes", _nodes, "node-feat"),
        part("edges", _edges, "num-edge-list", "edge", "edge-feat"),
        part("labels", _labels, "graph-label"),
        part("splits", _splits, *SPLITS),
    ]


def read_table(file: Path, columns: int, dtype: type[np.generic]) -> np.ndarray:
    """A file's rows [rows, columns]; of floating point an empty field is NaN.

    Raises:
        DataError: It is damaged, or a field is not of its type; the message names the row.
    """
    import pyarrow as pa
    from pyarrow import csv

    names = [str(number) for number in range(columns)]
    missing = ["", "nan", "NaN"] if np.issubdtype(dtype, np.floating) else []
    try:
        table = csv.read_csv(
            GzipReader(file, MOST_BYTES),
            csv.ReadOptions(column_names=names, use_threads=False),  # with threads no row numbers
            csv.ParseOptions(ignore_empty_lines=False),
            csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.from_numpy_dtype(np.dtype(dtype))),
                null_values=missing,
            ),
        )
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{file}: {error}; fetch it again from {WHERE}") from None
    out = np.empty((table.num_rows, columns), dtype)
    for number, column in enumerate(table.columns):
        out[:, number] = column.to_numpy()
    return out


def count_graphs(file: Path) -> int:
    """How many rows a file of one number a row has: graphs of a split, or of all."""
    return len(read_table(file, 1, np.int32))


def _counts(file: Path, least: int) -> np.ndarray:
    """How many atoms or bonds each graph has, [graphs], each `least` or more."""
    counts = read_table(file, 1, np.int32)[:, 0]
    _check_rows(file, counts < least, f"has a graph of fewer than {least}", counts)
    return counts


def _nodes(files: Files) -> dict[str, np.ndarray]:
    counts = _counts(files["num-node-list"], least=1)
    nodes = read_table(files["node-feat"], NODE_FEATURES, np.uint8)
    _check_count(files["node-feat"], len(nodes), counts.sum(), "num-node-list")
    return {"n_node": counts, "nodes": nodes}


def _edges(files: Files) -> dict[str, np.ndarray]:
    atoms = _counts(files["num-node-list"], least=1)
    counts = _counts(files["num-edge-list"], least=0)
    bonds = read_table(files["edge"], 2, np.int32)
    features = read_table(files["edge-feat"], EDGE_FEATURES, np.uint8)
    _check_count(files["num-edge-list"], len(counts), len(atoms), "num-node-list")
    _check_count(files["edge"], len(bonds), counts.sum(), "num-edge-list")
    _check_count(files["edge-feat"], len(features), counts.sum(), "num-edge-list")
    unknown = (bonds < 0) | (bonds >= np.repeat(atoms, counts)[:, None])
    _check_rows(files["edge"], unknown, "names an atom that its graph does not have", bonds)
    return {"n_bond": counts, "bonds": bonds, "bond_features": features}


def _labels(files: Files) -> dict[str, np.ndarray]:
    file = files["graph-label"]
    graphs = count_graphs(files["num-node-list"])
    values = read_table(file, TASKS, np.float32)
    _check_count(file, len(values), graphs, "num-node-list")
    labels = np.full(values.shape, 2, np.int8)
    for number, value in ((-1, np.isnan(values)), (0, values == 0), (1, values == 1)):
        labels[value] = number
    _check_rows(file, labels == 2, "has a label that is not 0, 1 or empty", values)
    return {"labels": labels}


def _splits(files: Files) -> dict[str, np.ndarray]:
    graphs = count_graphs(files["num-node-list"])
    taken = np.zeros(graphs, bool)
    splits = {}
    for split in SPLITS:
        numbers = read_table(files[split], 1, np.int64)[:, 0]
        unknown = (numbers < 0) | (numbers >= graphs)
        _check_rows(files[split], unknown, f"names no graph from 0 to {graphs - 1}", numbers)
        first = np.zeros(len(numbers), bool)
        first[np.unique(numbers, return_index=True)[1]] = True
        again = taken[numbers] | ~first
        _check_rows(files[split], again, "names a graph that has been named before", numbers)
        taken[numbers] = True
        splits[split] = numbers
    return splits


def _check_count(file: Path, rows: int, expected: int, by: str) -> None:
    if rows != expected:
        raise DataError(
            f"{file}: has {rows:,} rows, {expected:,} were expected by {by}.csv.gz; fetch both "
            f"again from {WHERE}"
        )


def _check_rows(file: Path, wrong: np.ndarray, fault: str, values: np.ndarray) -> None:
    """Raises DataError for the first row that something in `wrong` [rows, ...] is true of."""
    rows = np.nonzero(wrong)[0]
    if len(rows):
        text = ",".join(f"{value:g}" for value in np.atleast_1d(values[rows[0]])[:8])
        raise DataError(f"{file}: row {rows[0] + 1} ({text}) {fault}; fetch it again from {WHERE}")
