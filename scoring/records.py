"""The records of a trial as plain data: the schema of everything that scoring reads.

Standard library only, so that any reader can use it. `scoring.tree` says where it is on disk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class UserError(Exception):
    """An error that the user can fix; its one-line message says what, where and how."""


class RecordError(UserError):
    """A record that cannot be read; the message names the file and says what to do."""


class Tuning(StrEnum):
    """AlgoPerf's two tuning rulesets."""

    EXTERNAL = "external"  # hyperparameter points are drawn from a search space
    SELF = "self"  # a submission tunes itself, on the clock


class ClockKind(StrEnum):
    """What the submission clock counts."""

    WALL = "wall"  # measured seconds
    STEPS = "steps"  # a fixed charge for each unit of training work, which repeats bit for bit


class Until(StrEnum):
    """The goal that ends a trial."""

    VALIDATION = "validation"
    TEST = "test"
    BUDGET = "budget"  # no goal: the trial uses its complete budget


class Order(StrEnum):
    """Which of the waiting trials starts next."""

    COST = "cost"  # likely winners first, study by study: pruning saves the most hours
    LATENCY = "latency"  # the longest first: the sweep ends soonest


class Decide(StrEnum):
    """What `--studies auto` decides."""

    TOP = "top"  # which submission is the fastest
    ALL = "all"  # which of each two is faster


class Pruning(StrEnum):
    """Which trials of a sweep stop early."""

    EXACT = "exact"  # those that provably cannot change the leaderboard
    PREDICT = "predict"  # also those that, by earlier results, probably do not
    OFF = "off"


class Status(StrEnum):
    """How a trial ended."""

    REACHED = "reached"
    OUT_OF_TIME = "out_of_time"
    STEP_LIMIT = "step_limit"
    TRAINING_COMPLETE = "training_complete"  # the submission ended itself, goal not met
    DIVERGED = "diverged"  # non-finite parameters: a result, not a fault
    PRUNED = "pruned"  # it could no longer change the leaderboard
    PREDICTED = "predicted"  # stopped early, as its curve predicted that it would not matter
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
    """A metric, its direction and its target: the only place that decides whether it is met."""

    metric: str
    direction: str  # "min" or "max"
    target: float

    def __post_init__(self) -> None:
        if self.direction not in ("min", "max"):
            raise ValueError(f"Goal.direction must be 'min' or 'max', got {self.direction!r}")

    def met_by(self, value: float) -> bool:
        """Whether `value` meets the target (`<=` or `>=`); NaN and infinities never do."""
        reached = value <= self.target if self.direction == "min" else value >= self.target
        return reached and math.isfinite(value)

    def distance(self, value: float) -> float:
        """The distance of a value from the target in the metric's unit: 0 if it meets the target.

        Infinite for NaN and infinities.
        """
        if not math.isfinite(value):
            return math.inf
        gap = value - self.target if self.direction == "min" else self.target - value
        return max(gap, 0.0)

    def better(self, a: float, b: float) -> bool:
        """Whether `a` is strictly better than `b`; NaN is worse than everything."""
        if math.isnan(a) or math.isnan(b):
            return math.isnan(b) and not math.isnan(a)
        return a < b if self.direction == "min" else a > b

    @property
    def condition(self) -> str:
        """What a value must satisfy to meet the target, such as "<= 0.5"."""
        return f"{'<=' if self.direction == 'min' else '>='} {self.target:g}"

    def __str__(self) -> str:
        return f"{self.metric} {self.condition}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How the trials of a run are run: chosen by its user, the same for every trial."""

    seed: int = 0  # of all random number generators
    clock: ClockKind = ClockKind.WALL
    until: Until = Until.VALIDATION
    stop_diverged: bool = True  # end a trial whose parameters remain non-finite
    keep_checkpoint: bool = False  # keep the last weights even if the goal was not reached
    compile: bool = True  # on GPUs, if the workload asks for it
    max_steps: int | None = None
    batch_size: int | None = None  # None: the submission's, else the workload's
    data_dir: str | None = None
    cpus_per_trial: int = 1  # CPUs, and torch threads, of each process
    gpus_per_trial: int = 0  # one process per GPU
    processes_per_trial: int = 1  # without GPUs

    def __post_init__(self) -> None:
        object.__setattr__(self, "clock", ClockKind(self.clock))  # accepts names too
        object.__setattr__(self, "until", Until(self.until))
        if self.gpus_per_trial and self.processes_per_trial > 1:
            raise UserError(
                "--processes-per-trial is for trials without GPUs; with --gpus-per-trial each GPU "
                "has a process"
            )

    @property
    def device(self) -> str:
        """Where trials run: "cuda" or "cpu"."""
        return "cuda" if self.gpus_per_trial else "cpu"

    @property
    def processes(self) -> int:
        """How many processes train a trial together."""
        return self.gpus_per_trial or self.processes_per_trial


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialSpec(RunOptions):
    """Everything that determines a trial: equal specs give equal rows on the step clock."""

    submission: str
    submission_path: str
    submission_hash: str
    tuning: Tuning
    workload: str
    study: int  # from 0
    trial: int  # from 1
    hyperparameters: dict[str, Any] | None  # None under self-tuning
    goal: Goal
    test_goal: Goal | None
    budget_seconds: float  # of this trial; under self-tuning a multiple of the external budget
    max_allowed_runtime_sec: float  # the external budget: what submissions see, as in AlgoPerf
    eval_period_seconds: float
    step_hint: int
    step_seconds: float = 0.0  # charged by the step clock per unit of training work
    eval_period_steps: int | None = None  # evaluations at multiples of it; None: by seconds
    dropout: dict[str, float] = field(default_factory=dict)  # rates passed to init_model_fn

    @property
    def key(self) -> str:
        """Identifies the trial within a results tree: in its ledger, checkpoints, messages."""
        return f"{self.submission}/study_{self.study}/{self.workload}/trial_{self.trial}"

    @property
    def goal_column(self) -> str:
        """The column of eval_measurements.csv with the metric of the goal."""
        return f"validation/{self.goal.metric}"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalRow:
    """One evaluation. All times are seconds accumulated since the trial began."""

    global_step: int  # calls of update_params
    submission_seconds: float  # the submission clock
    cpu_seconds: float  # CPU time of the process while the submission clock ran
    eval_seconds: float
    logging_seconds: float
    total_seconds: float  # wall time, everything included
    metrics: dict[str, float]  # "validation/loss" and so on
    work: float | None = None  # in batches of the workload's size; None in older records


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
    traceback: str = ""  # its last lines
    environment: dict[str, Any] = field(default_factory=dict)
    attempts: int = 1
    proof: list[dict[str, Any]] = field(default_factory=list)  # why a pruned trial could stop
    integrity: dict[str, Any] = field(default_factory=dict)  # see docs/integrity.md

    @property
    def will_run_again(self) -> bool:
        """Whether the trial was cut off: by Ctrl-C, or with its machine."""
        lost = self.status is Status.FAILED and self.failure is Failure.WORKER_LOST
        return lost or self.status is Status.INTERRUPTED

    @property
    def has_ended(self) -> bool:
        """Whether the trial ended by itself: it was neither pruned nor cut off."""
        return self.status is not Status.PRUNED and not self.will_run_again
