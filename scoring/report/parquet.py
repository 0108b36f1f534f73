"""Results as tidy Arrow tables with a row per trial or evaluation, in Parquet or CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.csv
import pyarrow.parquet

from scoring.escaping import printable, spreadsheet_cell
from scoring.reading.evaluations import STEP
from scoring.reading.results import Results, Trial
from scoring.report.tables import pair_row
from scoring.significance import PairTest
from scoring.tree import EVALUATIONS_FILE, WORK

HYPERPARAMETER = "hparams."  # prefix of a hyperparameter's column


def write_parquet(results: Results, folder: Path) -> list[Path]:
    """Writes trials.parquet (a row per trial) and evaluations.parquet (a row per evaluation).

    Evaluations are read again, and written per submission and workload, so that memory remains
    bounded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "trials.parquet", folder / "evaluations.parquet"]
    pyarrow.parquet.write_table(trials_table(results), paths[0])
    with pyarrow.parquet.ParquetWriter(paths[1], _schema(_EVALUATION)) as writer:
        for part in _evaluation_tables(results):
            writer.write_table(part)
    return paths


def write_pairs(pairs: Sequence[PairTest], folder: Path) -> None:
    """Writes pairs.parquet: a row for each two submissions, with the test of their difference."""
    table = pyarrow.Table.from_pylist([pair_row(test) for test in pairs], _schema(_PAIR))
    pyarrow.parquet.write_table(table, folder / "pairs.parquet")


def trials_table(results: Results) -> pyarrow.Table:
    """A row per trial: how it ended and ran, what it is judged by, and its hyperparameters.

    Hyperparameters are columns `hparams.NAME`: numbers if all trials have numbers, else JSON; null
    if a trial has none of that name.
    """
    points = [trial.hyperparameters for trial in results.trials]
    names = sorted({name for point in points for name in point})
    columns = {
        f"{HYPERPARAMETER}{printable(name)}": _column([point.get(name) for point in points])
        for name in names
    }
    table = pyarrow.Table.from_pylist([_trial(t) for t in results.trials], _schema(_TRIAL))
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


def evaluations_table(results: Results) -> pyarrow.Table:
    """A row per evaluation: clocks, steps, and the goal's metric on every split."""
    empty = _schema(_EVALUATION).empty_table()
    return pyarrow.concat_tables([empty, *_evaluation_tables(results)])


def as_csv(table: pyarrow.Table) -> bytes:
    """A table as CSV; an apostrophe precedes text that a spreadsheet would take as a formula."""
    for place, column in enumerate(table.schema):
        if column.type == pyarrow.string():
            texts = [t and spreadsheet_cell(t) for t in table.column(place).to_pylist()]
            table = table.set_column(place, column.name, pyarrow.array(texts, pyarrow.string()))
    table = table.rename_columns([spreadsheet_cell(name) for name in table.column_names])
    text = pyarrow.BufferOutputStream()
    pyarrow.csv.write_csv(table, text)
    written: bytes = text.getvalue().to_pybytes()
    return written


_PAIR = {
    **{"first": "string", "second": "string", "pairs": "int64", "ratio": "float64"},
    **{"p_low": "float64", "p_high": "float64"},
    **{"adjusted_low": "float64", "adjusted_high": "float64"},
    **{"faster": "string", "more_studies": "int64"},
}
_KEY = {"submission": "string", "workload": "string", "study": "int64", "trial": "int64"}
_RUN = {
    **{"seed": "int64", "batch_size": "int64", "steps": "int64", "attempts": "int64"},
    **{"cpu_seconds": "float64", "host": "string"},
}
_TRIAL = {
    **_KEY,
    **{"status": "string", "failure": "string", "message": "string"},
    **_RUN,
    "cpu_share": "float64",
    **{"submission_seconds": "float64", "evaluations": "int64"},
    **{"metric": "string", "direction": "string", "target": "float64", "budget_seconds": "float64"},
    **{"seconds_to_target": "float64", "steps_to_target": "int64"},
    **{"training_work_to_target": "float64", "line": "int64"},
    "file": "string",
}
_TIMES = {
    "eval_seconds": "accumulated_eval_time",
    "logging_seconds": "accumulated_logging_time",
    "total_seconds": "total_duration",
}
_EVALUATION = {
    **_KEY,
    **{"line": "int64", "global_step": "float64", WORK: "float64", "submission_seconds": "float64"},
    **dict.fromkeys(_TIMES, "float64"),
    **{"metric": "string", "train": "float64", "validation": "float64", "test": "float64"},
}


def _schema(columns: dict[str, str]) -> pyarrow.Schema:
    return pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in columns.items()])


def _column(values: list[Any]) -> pyarrow.Array:
    """The values of a hyperparameter as integers, floats or else text."""
    known = {type(value) for value in values if value is not None}
    if known <= {int} and all(abs(value) < 2**53 for value in values if value is not None):
        return pyarrow.array(values, pyarrow.int64())
    if known <= {int, float}:
        numbers = [None if value is None else float(value) for value in values]
        return pyarrow.array(numbers, pyarrow.float64())
    texts = [None if value is None else _text(value) for value in values]
    return pyarrow.array(texts, pyarrow.string())


def _text(value: Any) -> str:
    return printable(value if isinstance(value, str) else json.dumps(value))


def _trial(trial: Trial) -> dict[str, Any]:
    """A row of the trials' table; null if the target was not met within the budget."""
    hit = trial.hit if trial.within_budget else None
    goal = trial.criteria.goal
    return {
        **{name: _plain(getattr(trial, name)) for name in _TRIAL if hasattr(trial, name)},
        **{name: _plain(getattr(trial.run, name)) for name in _RUN},
        **{"metric": goal.metric, "direction": goal.direction, "target": goal.target},
        "budget_seconds": trial.criteria.budget_seconds,
        "seconds_to_target": hit and hit.submission_seconds,
        "steps_to_target": hit and hit.global_step,
        "training_work_to_target": hit and hit.work,
        "line": hit and hit.line,
        "file": _plain(str(trial.folder / EVALUATIONS_FILE)),
    }


def _plain(value: Any) -> Any:
    """Text that Parquet can store; a file name may not be UTF-8."""
    return printable(value) if isinstance(value, str) else value


def _evaluation_tables(results: Results) -> Iterator[pyarrow.Table]:
    """The evaluations of each submission and workload."""
    schema = _schema(_EVALUATION)
    for _, mine in groupby(results.trials, lambda trial: (trial.submission, trial.workload)):
        rows = [row for trial in mine for row in _evaluations(trial)]
        yield pyarrow.Table.from_pylist(rows, schema)


def _evaluations(trial: Trial) -> Iterator[dict[str, Any]]:
    """A trial's rows in the evaluations' table."""
    read, metric = trial.read(), trial.criteria.goal.metric
    columns: dict[str, Sequence[float]] = {
        "line": read.lines,
        "submission_seconds": read.seconds,
        "validation": read.values,
        "global_step": read.column(STEP),
        WORK: read.column(WORK),
        "train": read.column(f"train/{metric}"),
        "test": read.column(f"test/{metric}"),
        **{name: read.column(column) for name, column in _TIMES.items()},
    }
    key = {**{name: _plain(getattr(trial, name)) for name in _KEY}, "metric": metric}
    for row in range(len(read.lines)):
        yield {**key, **{name: values[row] for name, values in columns.items()}}
