"""What a trial leaves behind, as plain data: the schema of everything that crosses to scoring.

Standard library only, so that any reader can use it. `scoring.tree` says where it lies on disk.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from scoring.files import load_json

SCHEMA = 1
TIMES = ("submission_seconds", "cpu_seconds", "eval_seconds", "logging_seconds", "total_seconds")
MESSAGE_CHARACTERS = 1000
_UNPRINTABLE = re.compile(  # control characters, separators, bidirectional controls, surrogates
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


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
    PRUNED = "pruned"  # it could not change the leaderboard any more
    PREDICTED = "predicted"  # it was given up, as its curve said that it would not matter
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
    TIMEOUT = "timeout"  # no step for longer than --hang-timeout


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
        """Whether `value` meets the target: `<=` or `>=`; NaN and infinities never."""
        reached = value <= self.target if self.direction == "min" else value >= self.target
        return reached and math.isfinite(value)

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
    clock: str = "wall"  # or "steps": each unit of training work is charged step_seconds
    step_seconds: float = 0.0
    until: str = "validation"  # stop at this goal: "validation", "test"; "budget" never stops early
    stop_diverged: bool = True
    batch_size: int | None = None  # None: the submission's, else the workload's
    data_dir: str | None = None
    device: str = "cpu"
    threads: int = 1  # of each process
    processes: int = 1  # that train together
    compile: bool = True  # where the workload asks for it
    dropout: dict[str, float] = field(default_factory=dict)  # rates that init_model_fn is given

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

    global_step: int  # calls of update_params
    submission_seconds: float  # the submission clock
    cpu_seconds: float  # CPU time of the process over the same stretches
    eval_seconds: float
    logging_seconds: float
    total_seconds: float  # wall time, everything included
    metrics: dict[str, float]  # "validation/loss" and so on
    work: float | None = None  # training work in batches of the workload's size; older: None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResult:
    """How a trial ended and what it measured."""

    status: Status
    rows: list[EvalRow] = field(default_factory=list)
    global_step: int = 0
    work: float | None = None
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
    proof: list[dict[str, Any]] = field(default_factory=list)  # why a pruned trial could stop
    integrity: dict[str, Any] = field(default_factory=dict)  # see docs/integrity.md


def printable(text: str) -> str:
    """`text` as any terminal, file or page can hold it: what is not printable is escaped.

    Newlines and tabs stay. A lone surrogate, as `os.fsdecode` gives for a file name that is not
    UTF-8, cannot be encoded; escape sequences would act on a terminal.
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def first_line(text: str) -> str:
    """The first line of `text` that is not blank, printable and of limited length."""
    line = next((line.strip() for line in text.split("\n") if line.strip()), "")
    line = printable(line.replace("\t", " "))
    return line if len(line) <= MESSAGE_CHARACTERS else line[: MESSAGE_CHARACTERS - 3] + "..."


def error_message(error: BaseException) -> str:
    """The class of an exception and the first line of its text."""
    kind, line = type(error).__name__, first_line(error_text(error))
    return first_line(f"{kind}: {line}" if line else kind)


def error_text(error: BaseException) -> str:
    """The text of an exception, also where its `__str__` raises."""
    try:
        return str(error)
    except BaseException as another:  # noqa: BLE001 - an exception of a submission may be anything
        return f"(its __str__ raised {type(another).__name__})"


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
    return Goal(**{**data, "metric": str(data["metric"]), "target": float(data["target"])})


def spec_from_plain(data: Mapping[str, Any]) -> TrialSpec:
    """The inverse of `to_plain` for a TrialSpec."""
    seconds = ("budget_seconds", "max_allowed_runtime_sec", "eval_period_seconds")
    floats = {key: float(data[key]) for key in seconds}
    goal = goal_from_plain(data["goal"])
    test_goal = None if data["test_goal"] is None else goal_from_plain(data["test_goal"])
    return TrialSpec(**{**data, "goal": goal, "test_goal": test_goal, **floats})


def result_from_plain(data: Mapping[str, Any], rows: list[EvalRow]) -> TrialResult:
    """The inverse of `to_plain` for a TrialResult, whose rows live in a file of their own."""
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
    """The training work of a row or a result; records from before it was counted have none."""
    work = data.get("work")
    return {"work": None if work is None else float(work)}


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Writes `data` with the schema number, as `write_text` does."""
    text = json.dumps({"schema": SCHEMA, **to_plain(data)}, indent=2, allow_nan=False)
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a file aside, synced, then renamed over `path`; lone surrogates are escaped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(aside).chmod(0o644)
    Path(aside).replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a file written by `write_json`; refuses damaged files and newer schemas by name."""
    try:
        data = load_json(path)
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file; is this a results directory?") from None
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: damaged: cannot be read as JSON ({error})") from None
    if not isinstance(data, dict):
        raise RecordError(f"{path}: holds a {type(data).__name__}, an object was expected")
    schema = data.pop("schema", None)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise RecordError(
            f"{path}: has schema {schema}, this chronograd reads up to {SCHEMA}; upgrade chronograd"
        )
    return data
