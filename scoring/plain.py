"""Converts records to plain JSON data and back, and reads and writes the files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from scoring.escaping import first_line, printable
from scoring.files import load_json
from scoring.records import (
    EvalRow,
    Failure,
    Goal,
    RecordError,
    Status,
    TrialResult,
    TrialSpec,
    Tuning,
)
from scoring.writing import write_text

SCHEMA = 1
TIMES = ("submission_seconds", "cpu_seconds", "eval_seconds", "logging_seconds", "total_seconds")


def to_plain(value: Any) -> Any:
    """Turns records into JSON-ready data; a non-finite float becomes "nan", "inf" or "-inf"."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def goal_from_plain(data: Mapping[str, Any]) -> Goal:
    """The inverse of `to_plain` for a Goal."""
    return Goal(**{**data, "metric": str(data["metric"]), "target": float(data["target"])})


def spec_from_plain(data: Mapping[str, Any]) -> TrialSpec:
    """The inverse of `to_plain` for a TrialSpec."""
    seconds = ("budget_seconds", "max_allowed_runtime_sec", "eval_period_seconds")
    floats = {key: float(data[key]) for key in seconds}
    data = _with_run_options(data)
    goal = goal_from_plain(data["goal"])
    test_goal = None if data["test_goal"] is None else goal_from_plain(data["test_goal"])
    return TrialSpec(**{**data, "goal": goal, "test_goal": test_goal, **floats})


def _with_run_options(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a spec; early versions named three of them device, threads and processes."""
    fields_now = dict(data)
    if "threads" in fields_now:
        device, processes = fields_now.pop("device"), fields_now.pop("processes", 1)
        fields_now["cpus_per_trial"] = fields_now.pop("threads")
        kind = "gpus_per_trial" if device == "cuda" else "processes_per_trial"
        fields_now[kind] = processes
    return fields_now | {"tuning": Tuning(data["tuning"])}


def result_from_plain(data: Mapping[str, Any], rows: list[EvalRow]) -> TrialResult:
    """The inverse of `to_plain` for a TrialResult, whose rows are in a separate file."""
    failure = None if data["failure"] is None else Failure(data["failure"])
    numbers = {name: float(data[name]) for name in TIMES}
    numbers["global_step"] = int(data["global_step"])
    texts = {
        "message": first_line(str(data["message"])),
        "traceback": printable(str(data["traceback"])),
    }
    status = Status(data["status"])
    return TrialResult(
        **{
            **data, **numbers, **texts, **_work(data),
            "status": status, "failure": failure, "rows": rows,
        }
    )  # fmt: skip


def row_from_plain(data: Mapping[str, Any]) -> EvalRow:
    """The inverse of `to_plain` for an EvalRow."""
    numbers = {name: float(data[name]) for name in TIMES}
    metrics = {name: float(value) for name, value in data["metrics"].items()}
    return EvalRow(**{**data, **numbers, **_work(data), "metrics": metrics})


def _work(data: Mapping[str, Any]) -> dict[str, float | None]:
    """The training work of a row or a result; records of early versions have none."""
    work = data.get("work")
    return {"work": None if work is None else float(work)}


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Writes `data` with the schema number, aside and renamed (see `write_text`)."""
    text = json.dumps({"schema": SCHEMA, **to_plain(data)}, indent=2, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a file written by `write_json`.

    Raises:
        RecordError: It is missing or damaged, or has a newer schema.
    """
    try:
        data = load_json(path)
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file; is this a results directory?") from None
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: damaged: cannot be read as JSON ({error})") from None
    if not isinstance(data, dict):
        raise RecordError(f"{path}: contains a {type(data).__name__} where an object was expected")
    schema = data.pop("schema", None)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise RecordError(
            f"{path}: has schema {schema}, this chronograd reads up to {SCHEMA}; upgrade chronograd"
        )
    return data
