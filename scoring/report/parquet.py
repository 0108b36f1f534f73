"""The results as tidy Parquet tables: one row a trial, one row an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from scoring.reading.evaluations import STEP
from scoring.reading.results import Results, Trial
from scoring.records import printable
from scoring.tree import EVALUATIONS_FILE, WORK


def write_parquet(results: Results, folder: Path) -> list[Path]:
    """Writes trials.parquet (a row a trial) and evaluations.parquet (a row an evaluation).

    Evaluations are read again, and written a submission and workload at a time, so that memory
    stays bounded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "trials.parquet", folder / "evaluations.parquet"]
    trials = pyarrow.Table.from_pylist([_trial(t) for t in results.trials], _schema(_TRIAL))
    pyarrow.parquet.write_table(trials, paths[0])
    schema = _schema(_EVALUATION)
    with pyarrow.parquet.ParquetWriter(paths[1], schema) as writer:
        for _, mine in groupby(results.trials, lambda trial: (trial.submission, trial.workload)):
            rows = [row for trial in mine for row in _evaluations(trial)]
            writer.write_table(pyarrow.Table.from_pylist(rows, schema))
    return paths


_KEY = {"submission": "string", "workload": "string", "study": "int64", "trial": "int64"}
_TRIAL = {
    **_KEY,
    **{"status": "string", "failure": "string", "message": "string"},
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


def _schema(columns: dict[str, str]) -> Any:
    return pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in columns.items()])


def _trial(trial: Trial) -> dict[str, Any]:
    """A row of trials.parquet; null where the target was not met within the budget."""
    hit = trial.hit if trial.within_budget else None
    goal = trial.judged.goal
    return {
        **{name: _plain(getattr(trial, name)) for name in _TRIAL if hasattr(trial, name)},
        **{"metric": goal.metric, "direction": goal.direction, "target": goal.target},
        "budget_seconds": trial.judged.budget_seconds,
        "seconds_to_target": hit and hit.submission_seconds,
        "steps_to_target": hit and hit.global_step,
        "training_work_to_target": hit and hit.work,
        "line": hit and hit.line,
        "file": _plain(str(trial.folder / EVALUATIONS_FILE)),
    }


def _plain(value: str | float) -> str | float:
    """Text that Parquet can hold; a name on a disk need not be UTF-8."""
    return printable(value) if isinstance(value, str) else value


def _evaluations(trial: Trial) -> Iterator[dict[str, Any]]:
    """The rows of evaluations.parquet that a trial gives."""
    read, metric = trial.read(), trial.judged.goal.metric
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
