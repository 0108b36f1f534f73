"""The plan of a results tree: its experiment.json, and the trials that it specifies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from scoring.plain import read_json, write_json
from scoring.records import ClockKind, Goal, RecordError, RunOptions, TrialSpec, Tuning
from scoring.rulesets import MOST_REPEATS, Ruleset, first_fault
from scoring.tree import EXPERIMENT_FILE, OPTIMIZERS, SEARCH_SPACE_FILE

MOST_PLANNED = 1_000_000  # trials of a leaderboard: more are a typing error, and would take forever
FIRST_STUDIES = 2  # before results decide how many more; with one, nothing shows the spread
_DROPOUT_RATES = ("dropout_rate", "aux_dropout_rate")
_OPTIONS = {field.name for field in fields(RunOptions)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Criteria:
    """What a trial of one workload is judged by."""

    goal: Goal
    budget_seconds: float  # of one trial


class PlannedSubmission(BaseModel):
    """A submission as planned.

    Attributes:
        path: The location of its code.
        hash: Content hash of its code.
        files: The digests of its files; empty in trees of early versions.
        accepted: Changes of files accepted later, as "FILE: SHA-256, now SHA-256".
        points: Its hyperparameters, `[study][trial]`; None under self-tuning.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    hash: str
    files: Mapping[str, str] = {}
    accepted: tuple[str, ...] = ()
    points: list[list[dict[str, Any]]] | None = None


class PlannedWorkload(BaseModel):
    """The rules of a workload as applied; seconds are those of external tuning."""

    model_config = ConfigDict(frozen=True)

    goal: Goal
    test_goal: Goal | None = None
    budget_seconds: float = Field(gt=0, allow_inf_nan=False)
    eval_period_seconds: float = math.nan
    eval_period_steps: int | None = None  # None unless the ruleset is by steps
    step_hint: int = 0
    baseline_step_seconds: float | None = None  # None if the budget is in official seconds
    folder: str | None = None  # of the code of a workload outside the library


class Experiment(BaseModel):
    """Everything that determines a results tree; experiment.json is its JSON, `options` inlined.

    Attributes:
        ruleset: The rules, as applied.
        tuning: Which of AlgoPerf's two tuning rulesets applies.
        studies: Number of studies per submission and workload; the largest with `counts`.
        trials: Number of trials per study under external tuning.
        submissions: The submissions, by name.
        workloads: The workloads, by name.
        options: How trials are run.
        counts: The number of studies so far, by submission and workload, of a sweep with `--studies
            auto`; None if each has `studies`.
        only: The study and trial of `chronograd run`.
        environment: The machine and software; empty in trees of early versions.
        search_space: The name of the search-space file in each submission's folder, or a path.
    """

    model_config = ConfigDict(frozen=True)

    ruleset: Ruleset
    tuning: Tuning
    studies: int = Field(ge=1, le=MOST_REPEATS)
    trials: int = Field(ge=1, le=MOST_REPEATS)
    submissions: Mapping[str, PlannedSubmission]
    workloads: Mapping[str, PlannedWorkload]
    options: RunOptions
    search_space: str = SEARCH_SPACE_FILE
    counts: Mapping[str, Mapping[str, int]] | None = None
    only: tuple[int, int] | None = None
    environment: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, data: dict[str, Any]) -> dict[str, Any]:
        if "options" in data:
            return data
        rest = {name: value for name, value in data.items() if name not in _OPTIONS}
        return rest | {"options": {n: value for n, value in data.items() if n in _OPTIONS}}

    @field_validator("options", mode="before")
    @classmethod
    def _names_seed_and_clock(cls, options: Any) -> Any:
        if isinstance(options, dict) and (missing := {"clock", "seed"} - options.keys()):
            raise ValueError(f"{', '.join(sorted(missing))}: missing")
        return options

    @model_serializer(mode="wrap")
    def _spread_options(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = dump(self)
        options: dict[str, Any] = data.pop("options")
        return data | options

    @classmethod
    def read(cls, out: Path) -> Self:
        """Reads OUT/experiment.json.

        Raises:
            RecordError: It is missing or damaged, or plans no trials or too many.
        """
        path = out / EXPERIMENT_FILE
        try:
            experiment = cls(**read_json(path))
        except ValidationError as error:
            raise RecordError(
                f"{path}: damaged ({first_fault(error)}); restore it or run the sweep again"
            ) from None
        sizes = (len(experiment.submissions), len(experiment.workloads))
        planned = math.prod((*sizes, experiment.studies, experiment.trials_per_study))
        if not planned:
            raise RecordError(
                f"{path}: plans no trials; name submissions and workloads in the sweep"
            )
        if planned > MOST_PLANNED:
            raise RecordError(
                f"{path}: plans {planned:,} trials, at most {MOST_PLANNED:,} are scored"
            )
        return experiment

    def at(self, out: Path) -> Self:
        """The plan with submissions' paths updated for a tree that was moved to `out`."""
        found = {
            name: planned.model_copy(update={"path": str(_found(planned.path, out.resolve()))})
            for name, planned in self.submissions.items()
        }
        return self.model_copy(update={"submissions": found})

    def write(self, out: Path) -> None:
        """Writes OUT/experiment.json; paths inside OUT are relative, so that OUT can be moved."""
        root = out.resolve()
        data = self.model_dump()
        for planned in data["submissions"].values():
            if Path(planned["path"]).is_relative_to(root):
                planned["path"] = Path(planned["path"]).relative_to(root).as_posix()
        write_json(out / EXPERIMENT_FILE, data)

    def planned(self, name: str, workload: str) -> int:
        """The number of studies of a submission on a workload, so far with `--studies auto`."""
        return self.studies if self.counts is None else self.counts[name][workload]

    @property
    def trials_per_study(self) -> int:
        """The number of trials per study; 1 under self-tuning."""
        return 1 if self.tuning is Tuning.SELF else self.trials

    @cached_property
    def criteria(self) -> dict[str, Criteria]:
        """The goal and budget of each workload's trials."""
        factor = self.ruleset.budget_factor(self.tuning)
        return {
            name: Criteria(goal=rules.goal, budget_seconds=factor * rules.budget_seconds)
            for name, rules in self.workloads.items()
        }

    def specs(self) -> Iterator[TrialSpec]:
        """All trials, study by study, so that a partial sweep compares all submissions."""
        for study in range(self.studies):
            for workload in self.workloads:
                for name in self.submissions:
                    if study >= self.planned(name, workload):
                        continue
                    for trial in range(1, self.trials + 1):
                        if self.only is None or self.only == (study, trial):
                            yield self.spec(name, workload, study, trial)

    def spec(self, name: str, workload: str, study: int, trial: int) -> TrialSpec:
        """One trial of the plan."""
        planned, rules = self.submissions[name], self.workloads[workload]
        point = None if planned.points is None else planned.points[study][trial - 1]
        rates = point or {} if self.ruleset.dropout_at_init else {}
        options = self._run_options
        if self.ruleset.by_steps:
            options = {**options, "max_steps": rules.step_hint}
        return TrialSpec(
            **options,
            submission=name,
            submission_path=planned.path,
            submission_hash=planned.hash,
            tuning=self.tuning,
            workload=workload,
            study=study,
            trial=trial,
            hyperparameters=point,
            goal=rules.goal,
            test_goal=rules.test_goal,
            budget_seconds=rules.budget_seconds * self.ruleset.budget_factor(self.tuning),
            max_allowed_runtime_sec=rules.budget_seconds,
            eval_period_seconds=rules.eval_period_seconds,
            eval_period_steps=rules.eval_period_steps,
            step_hint=rules.step_hint,
            step_seconds=self._step_seconds(rules),
            dropout={name: rate for name, rate in rates.items() if name in _DROPOUT_RATES},
        )

    @cached_property
    def _run_options(self) -> dict[str, Any]:
        return asdict(self.options)

    def _step_seconds(self, rules: PlannedWorkload) -> float:
        """Seconds charged per step: the baseline's, or the official budget over `step_hint`."""
        if self.options.clock is not ClockKind.STEPS:
            return 0.0
        return rules.baseline_step_seconds or rules.budget_seconds / rules.step_hint


def _found(planned: str, root: Path) -> Path:
    """The current location of a submission of the tree `root`."""
    place = root / planned  # an absolute path stays as it is
    own = root / OPTIMIZERS / place.name
    moved = not place.exists() and place.parent.name == OPTIMIZERS and own.exists()
    return own if moved else place  # early versions wrote absolute paths
