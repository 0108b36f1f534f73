"""Reads CSV files of a board at a fixed step: loss curves, and the table of published results."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scoring.escaping import one_line
from scoring.files import read_packed_text
from scoring.reading.evaluations import as_number, as_step, csv_cells
from scoring.reading.runs import Found, LossRun, in_order, not_finite, without_duplicates
from scoring.records import RecordError

_CURVES = ("result", "run", "planned_steps", "step", "val_loss")
_MOST_FAULTS = 20  # warnings about the lines of one file


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A published result.

    Attributes:
        steps: Its stopping step.
        mean_loss: The mean loss of its runs; None if the table does not have it.
        runs: The number of runs; None if the table does not have it.
    """

    steps: int
    mean_loss: float | None = None
    runs: int | None = None


def read_curves(path: Path) -> Found:
    """Reads curves: a row per evaluation with result, run, planned_steps, step and val_loss.

    Rows without a result are counted, and belong to no entry.

    Raises:
        RecordError: The file cannot be read, or lacks a column.
    """
    found = Found()
    faults: list[str] = []
    rows: dict[tuple[str, str], list[tuple[int, int | None, float, int]]] = {}
    nobody: Counter[str] = Counter()
    for line, cells in _rows(path, _CURVES, faults):
        step, loss = as_step(cells["step"]), as_number(cells["val_loss"])
        if step is None:
            faults.append(f"{path}:{line}: step is {_cell(cells['step'])}, left out")
        elif math.isnan(loss) and cells["val_loss"].strip().casefold().lstrip("+-") != "nan":
            faults.append(f"{path}:{line}: val_loss is {_cell(cells['val_loss'])}, left out")
        elif not cells["result"]:
            nobody[cells["run"]] += 1
        else:
            row = (step, as_step(cells["planned_steps"]), loss, line)
            rows.setdefault((cells["result"], cells["run"]), []).append(row)
    for (entry, name), evaluations in rows.items():
        run = _run(path, f"run {one_line(name)}", evaluations, faults)
        found.runs.setdefault(_entry(entry), []).append(run)
    found.warnings += faults[:_MOST_FAULTS]
    if len(faults) > _MOST_FAULTS:
        found.warnings.append(f"{path}: {len(faults) - _MOST_FAULTS:,} more lines like these")
    for entry in in_order(found.runs):
        found.warnings += filter(None, map(not_finite, found.runs[entry]))
        found.runs[entry] = without_duplicates(entry, found.runs[entry], found.warnings)
    if nobody:
        found.remarks.append(
            f"{path}: {len(nobody)} runs ({nobody.total():,} rows) belong to no result and are not "
            "scored"
        )
    return found


def read_published(path: Path) -> dict[str, Published]:
    """Reads a table of published results: result, steps and, if known, mean_loss and runs.

    Raises:
        RecordError: The file cannot be read, lacks a column, or a row is damaged.
    """
    faults: list[str] = []
    found: dict[str, Published] = {}
    for line, cells in _rows(path, ("result", "steps"), faults):
        name, steps = _entry(cells["result"]), as_step(cells["steps"])
        loss, runs = cells.get("mean_loss", ""), cells.get("runs", "")
        if not name or name in found or steps is None:
            raise RecordError(
                f"{path}:{line}: needs a result that no other row has, and a whole number of steps"
            )
        found[name] = Published(
            steps=steps,
            mean_loss=None if math.isnan(as_number(loss)) else as_number(loss),
            runs=as_step(runs),
        )
    if faults:
        raise RecordError(faults[0])
    return found


def _rows(
    path: Path, needed: Sequence[str], faults: list[str]
) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The rows of a CSV file by column, and their lines; damaged rows become faults."""
    try:
        text = read_packed_text(path)
        table = csv_cells(text)
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file") from None
    except (OSError, ValueError, csv.Error) as error:
        raise RecordError(f"{path}: cannot be read ({error})") from None
    header = [name.strip() for name in table[0]]
    for name in needed:
        if header.count(name) != 1:
            raise RecordError(
                f"{path}: needs one column {name}, has the columns {one_line(','.join(header))}"
            )
    for line, cells in enumerate(table[1:], 2):
        if len(cells) == len(header):
            yield line, {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        elif any(cell.strip() for cell in cells):
            faults.append(
                f"{path}:{line}: has {len(cells)} cells, not {len(header)}, and is left out"
            )


def _run(
    path: Path, name: str, rows: list[tuple[int, int | None, float, int]], faults: list[str]
) -> LossRun:
    """A run from its rows; of two with the same step the first counts."""
    by_step: dict[int, tuple[int, int | None, float, int]] = {}
    for row in rows:
        first = by_step.setdefault(row[0], row)
        if first is not row:
            faults.append(
                f"{path}:{row[3]}: {name} has step {row[0]:,} twice (line {first[3]}), the first "
                "counts"
            )
    ordered = [by_step[step] for step in sorted(by_step)]
    return LossRun(
        name=name,
        file=path,
        planned=ordered[0][1],
        steps=[row[0] for row in ordered],
        losses=[row[2] for row in ordered],
        lines=[row[3] for row in ordered],
        seconds=[math.nan] * len(ordered),
    )


def _entry(cell: str) -> str:
    """The name of an entry; pandas writes numbered results as 12.0 where some rows have none."""
    number = cell.strip().removesuffix(".0")
    return number if number.isdecimal() else one_line(cell.strip())


def _cell(cell: str) -> str:
    return f"{one_line(cell)[:40]!r}"
