"""What a trial leaves behind: its records, their schema, and the results tree on disk.

Everything that crosses from running to scoring is a file described here. Standard library only, so
that any reader can use it. The tree (facts in the comments are AlgoPerf v0.6's own layout)::

    OUT/experiment.json
    OUT/ledger.jsonl
    OUT/submissions/<submission>/study_<k>/<workload>_pytorch/trial_<n>/
        eval_measurements.csv, hparams.json, meta_data_0.json    as AlgoPerf writes them
        trial.json                                               spec, result, environment
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

SCHEMA = 1
SPLITS = ("train", "validation", "test")
_ASIDE = ".writing_"


class UserError(Exception):
    """Something that the user can mend: shown as one line, which says what, where and how."""


class RecordError(UserError):
    """A record cannot be read; the message names the file and says what to do."""


class Status(StrEnum):
    """How a trial ended."""

    REACHED = "reached"
    OUT_OF_TIME = "out_of_time"
    STEP_LIMIT = "step_limit"
    TRAINING_COMPLETE = "training_complete"  # the submission ended itself, goal not met
    DIVERGED = "diverged"  # non-finite parameters: a result, not a fault
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class Failure(StrEnum):
    """The class of a failed trial."""

    OOM = "oom"
    SUBMISSION_ERROR = "submission_error"
    WORKLOAD_ERROR = "workload_error"
    EVALUATION_ERROR = "evaluation_error"
    DATA_ERROR = "data_error"
    WORKER_LOST = "worker_lost"


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """A metric, its direction and its target: the one place that says when a goal is met."""

    metric: str
    direction: str  # "min" or "max"
    target: float

    def __post_init__(self) -> None:
        if self.direction not in ("min", "max"):
            raise ValueError(f"Goal.direction must be 'min' or 'max', got {self.direction!r}")

    def met_by(self, value: float) -> bool:
        """Whether `value` meets the target: `<=` or `>=`, NaN never."""
        return value <= self.target if self.direction == "min" else value >= self.target

    def better(self, a: float, b: float) -> bool:
        """Whether `a` is strictly better than `b`; NaN is worse than everything."""
        if math.isnan(a) or math.isnan(b):
            return math.isnan(b) and not math.isnan(a)
        return a < b if self.direction == "min" else a > b


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialSpec:
    """All that fixes one trial. Plain data: two equal specs give equal rows on the step clock."""

    submission: str
    submission_path: str
    submission_hash: str
    tuning: str  # "external" or "self"
    workload: str
    study: int  # from 0
    trial: int  # from 1
    seed: int
    hyperparameters: dict[str, Any] | None  # None under self-tuning
    goal: Goal
    test_goal: Goal | None
    budget_seconds: float  # of this trial: under self-tuning a multiple of the external budget
    max_allowed_runtime_sec: float  # the external budget: what submissions see, as in AlgoPerf
    eval_period_seconds: float
    step_hint: int
    max_steps: int | None = None
    clock: str = "wall"  # or "steps": each step is charged step_seconds
    step_seconds: float = 0.0
    until: str = "validation"  # stop at this goal: "validation", "test"; "budget" never stops early
    stop_diverged: bool = True
    batch_size: int | None = None  # None: the submission's, else the workload's
    data_dir: str | None = None
    device: str = "cpu"
    threads: int = 1

    @property
    def name(self) -> str:
        """A name for messages, unique within a results tree."""
        return f"{self.submission}/study_{self.study}/{self.workload}/trial_{self.trial}"

    @property
    def goal_column(self) -> str:
        """The column of eval_measurements.csv that the goal is judged by."""
        return f"validation/{self.goal.metric}"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalRow:
    """One evaluation. All times are seconds accumulated since the trial began."""

    global_step: int
    submission_seconds: float  # the submission clock
    cpu_seconds: float  # CPU time of the process over the same stretches
    eval_seconds: float
    logging_seconds: float
    total_seconds: float  # wall time, everything included
    metrics: dict[str, float]  # "validation/loss" and so on


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResult:
    """How a trial ended and what it measured."""

    status: Status
    rows: list[EvalRow] = field(default_factory=list)
    global_step: int = 0
    submission_seconds: float = 0.0
    cpu_seconds: float = 0.0
    eval_seconds: float = 0.0
    logging_seconds: float = 0.0
    total_seconds: float = 0.0
    peak_memory_bytes: int = 0
    batch_size: int | None = None  # as used
    failure: Failure | None = None
    message: str = ""  # one line: what went wrong
    traceback: str = ""  # its tail
    environment: dict[str, Any] = field(default_factory=dict)
    attempts: int = 1


# ---- plain data <-> JSON ------------------------------------------------------------------------


def to_plain(value: Any) -> Any:
    """Turns records into JSON-ready data; a non-finite float becomes "nan", "inf" or "-inf"."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def goal_from_plain(data: Mapping[str, Any]) -> Goal:
    """The inverse of `to_plain` for a Goal."""
    return Goal(**{**data, "target": float(data["target"])})


def spec_from_plain(data: Mapping[str, Any]) -> TrialSpec:
    """The inverse of `to_plain` for a TrialSpec."""
    seconds = ("budget_seconds", "max_allowed_runtime_sec", "eval_period_seconds")
    floats = {key: float(data[key]) for key in seconds}
    goal = goal_from_plain(data["goal"])
    test_goal = None if data["test_goal"] is None else goal_from_plain(data["test_goal"])
    return TrialSpec(**{**data, "goal": goal, "test_goal": test_goal, **floats})


def row_from_plain(data: Mapping[str, Any]) -> EvalRow:
    """The inverse of `to_plain` for an EvalRow."""
    metrics = {name: float(value) for name, value in data["metrics"].items()}
    return EvalRow(**{**data, "metrics": metrics})


def result_from_plain(data: Mapping[str, Any], rows: list[EvalRow]) -> TrialResult:
    """The inverse of `to_plain` for a TrialResult, whose rows live in a file of their own."""
    failure = None if data["failure"] is None else Failure(data["failure"])
    numbers = {name: float(data[name]) for name in _TIMES.values()}
    numbers["global_step"] = int(data["global_step"])
    return TrialResult(
        **{**data, **numbers, "status": Status(data["status"]), "failure": failure, "rows": rows}
    )


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Writes `data` with the schema number: aside, synced, then renamed over `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"schema": SCHEMA, **to_plain(data)}, indent=2, allow_nan=False) + "\n"
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(aside).chmod(0o644)
    Path(aside).replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a file written by `write_json`; refuses damaged files and newer schemas by name."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file; is this a results directory?") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(data, dict):
        raise RecordError(f"{path}: holds a {type(data).__name__}, an object was expected")
    schema = data.pop("schema", None)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise RecordError(
            f"{path}: has schema {schema}, this chronograd reads up to {SCHEMA}; upgrade chronograd"
        )
    return data


# ---- the results tree ---------------------------------------------------------------------------


def trial_folder(out: Path, spec: TrialSpec) -> Path:
    """Where a trial's records lie in the results tree `out`."""
    study = out / "submissions" / spec.submission / f"study_{spec.study}"
    return study / f"{spec.workload}_pytorch" / f"trial_{spec.trial}"


def write_trial(out: Path, spec: TrialSpec, result: TrialResult) -> Path:
    """Writes a finished trial's folder aside and renames it into its place, replacing an older one.

    An older folder is there only when an earlier attempt was lost or interrupted; its rows stay in
    the ledger.
    """
    folder = trial_folder(out, spec)
    aside = Path(tempfile.mkdtemp(dir=out, prefix=_ASIDE))
    new = aside / "new"
    new.mkdir()
    _write_csv(new / "eval_measurements.csv", spec, result)
    if spec.hyperparameters is not None:
        hparams = json.dumps(spec.hyperparameters, indent=2, allow_nan=False) + "\n"
        (new / "hparams.json").write_text(hparams, encoding="utf-8")
    write_json(new / "meta_data_0.json", {**result.environment, "rng_seed": spec.seed})
    summary = {**to_plain(result), "rows": len(result.rows)}
    write_json(new / "trial.json", {"spec": spec, "result": summary})
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rename(aside / "old")
    new.rename(folder)
    shutil.rmtree(aside)
    return folder


def remove_half_written(out: Path) -> None:
    """Removes what a driver left that was killed inside `write_trial`; the ledger has it all."""
    for aside in out.glob(f"{_ASIDE}*"):
        shutil.rmtree(aside, ignore_errors=True)


def read_trial(folder: Path) -> tuple[TrialSpec, TrialResult]:
    """Reads one trial's folder, as `write_trial` left it."""
    data = read_json(folder / "trial.json")
    try:
        spec = spec_from_plain(data["spec"])
        measured = data["result"]["rows"]  # 0: the file holds one NaN row
        rows = _read_csv(folder / "eval_measurements.csv") if measured else []
        if len(rows) != measured:
            raise ValueError(f"{len(rows)} evaluations, trial.json has {measured}")
        return spec, result_from_plain(data["result"], rows)
    except (KeyError, TypeError, ValueError, OSError, OverflowError, csv.Error) as error:
        raise RecordError(f"{folder}: damaged trial records ({error})") from None


def trial_folders(out: Path) -> Iterator[Path]:
    """Every trial folder of the results tree, in a fixed order."""
    yield from sorted((out / "submissions").glob("*/study_*/*_pytorch/trial_*/"))


_TIMES = {  # AlgoPerf's column -> ours; `score` is the submission time once more
    "accumulated_submission_time": "submission_seconds",
    "accumulated_submission_cpu_time": "cpu_seconds",
    "accumulated_eval_time": "eval_seconds",
    "accumulated_logging_time": "logging_seconds",
    "total_duration": "total_seconds",
}


def _write_csv(path: Path, spec: TrialSpec, result: TrialResult) -> None:
    """AlgoPerf's eval_measurements.csv: sorted columns, one NaN row where nothing was evaluated.

    A metric that was not evaluated is an empty cell, which pandas reads as NaN.
    """
    rows = result.rows or [
        EvalRow(
            global_step=result.global_step,
            **{name: getattr(result, name) for name in _TIMES.values()},
            metrics={},
        )
    ]
    metrics = {f"{split}/{spec.goal.metric}" for split in SPLITS}
    metrics |= {name for row in rows for name in row.metrics}
    columns = sorted([*_TIMES, "global_step", "preemption_count", "score", *metrics])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            cells: dict[str, Any] = {name: row.metrics.get(name, "") for name in metrics}
            cells |= {column: getattr(row, name) for column, name in _TIMES.items()}
            cells |= {"global_step": row.global_step, "score": row.submission_seconds}
            writer.writerow({**cells, "preemption_count": result.attempts - 1})
        file.flush()
        os.fsync(file.fileno())


def _read_csv(path: Path) -> list[EvalRow]:
    """The inverse of `_write_csv`; an empty cell is a metric that was not evaluated."""
    with path.open(newline="", encoding="utf-8") as file:
        text = file.read()
    if not text.endswith("\n"):
        raise ValueError(f"{path.name} ends in the middle of a line")
    rows = []
    for cells in csv.DictReader(io.StringIO(text, newline="")):
        if None in cells or None in cells.values():
            raise ValueError(f"{path.name}: a line has too many or too few cells")
        metrics = {name: float(cell) for name, cell in cells.items() if "/" in name and cell}
        times = {name: float(cells[column]) for column, name in _TIMES.items()}
        rows.append(EvalRow(global_step=int(cells["global_step"]), metrics=metrics, **times))
    return rows
