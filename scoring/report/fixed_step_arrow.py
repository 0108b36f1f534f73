"""The runs of a board at a fixed step as tidy Arrow tables, and as Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow
import pyarrow.parquet

from scoring.escaping import printable
from scoring.fixed_step import FixedStepBoard
from scoring.reading.runs import Entry, Runs

_KEY = [("entry", pyarrow.string()), ("run", pyarrow.string())]
_FILE = [("file", pyarrow.string()), ("line", pyarrow.int64())]
_RUN = pyarrow.schema(
    [
        *_KEY, ("planned_steps", pyarrow.int64()), ("last_step", pyarrow.int64()),
        ("steps", pyarrow.int64()), ("loss", pyarrow.float64()), *_FILE,
    ]
)  # fmt: skip
_EVALUATION = pyarrow.schema(
    [
        *_KEY, ("step", pyarrow.int64()), ("loss", pyarrow.float64()),
        ("train_seconds", pyarrow.float64()), *_FILE,
    ]
)  # fmt: skip


def runs_table(runs: Runs, steps: Mapping[str, int | None]) -> pyarrow.Table:
    """A row per run: its loss at the stopping step of its entry, with file and line.

    Args:
        runs: The runs.
        steps: The stopping step of each entry; loss and line are null without one.
    """
    rows = [row for entry in runs.entries.values() for row in _runs(entry, steps.get(entry.name))]
    return pyarrow.Table.from_pylist(rows, _RUN)


def _runs(entry: Entry, steps: int | None) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for run in entry.runs:
        place = None if steps is None else run.at(steps)
        rows.append(
            {
                "entry": printable(entry.name),
                "run": printable(run.name),
                "planned_steps": run.planned,
                "last_step": run.last,
                "steps": steps,
                "loss": None if place is None else run.losses[place],
                "file": printable(str(run.file)),
                "line": None if place is None else run.lines[place],
            }
        )
    return rows


def evaluations_table(runs: Runs) -> pyarrow.Table:
    """A row per evaluation of every run."""
    rows = [
        {
            "entry": printable(entry.name),
            "run": printable(run.name),
            "step": step,
            "loss": loss,
            "train_seconds": seconds,
            "file": printable(str(run.file)),
            "line": line,
        }
        for entry in runs.entries.values()
        for run in entry.runs
        for step, loss, seconds, line in zip(
            run.steps, run.losses, run.seconds, run.lines, strict=True
        )
    ]
    return pyarrow.Table.from_pylist(rows, _EVALUATION)


def board_table(board: FixedStepBoard) -> pyarrow.Table:
    """The `runs_table` of a board."""
    return runs_table(board.runs, {result.name: result.steps for result in board.results})


def write_parquet(board: FixedStepBoard, folder: Path) -> None:
    """Writes runs.parquet (a row per run) and evaluations.parquet (a row per evaluation)."""
    folder.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(board_table(board), folder / "runs.parquet")
    pyarrow.parquet.write_table(evaluations_table(board.runs), folder / "evaluations.parquet")
