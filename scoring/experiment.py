"""What a results tree was planned to hold: its experiment.json, read by one reader."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scoring.records import Goal, RecordError, read_json
from scoring.rulesets import MOST_REPEATS, Ruleset, first_fault
from scoring.tree import EXPERIMENT_FILE

MOST_PLANNED = 1_000_000  # trials of a leaderboard: a larger number is a slip, and takes for ever


@dataclass(frozen=True, kw_only=True, slots=True)
class Criteria:
    """What a trial of one workload is judged by."""

    goal: Goal
    budget_seconds: float  # of one trial


class PlannedSubmission(BaseModel):
    """A submission as planned: its path and content hash."""

    model_config = ConfigDict(frozen=True)

    path: str
    hash: str


class PlannedWorkload(BaseModel):
    """The goal and budget of a workload; the budget is that of external tuning."""

    model_config = ConfigDict(frozen=True)

    goal: Goal
    budget_seconds: float = Field(gt=0, allow_inf_nan=False)


class Experiment(BaseModel):
    """What scoring needs to know of a results tree's plan.

    `harness.sweep.plan.Experiment` adds how trials are run.

    Attributes:
        ruleset: As applied.
        tuning: "external" or "self".
        clock: "wall", or "steps" where training work was charged and nothing was measured.
        seed: The one that all others come from.
        studies: How many of each submission and workload.
        trials: How many of each study under external tuning.
        submissions: By name.
        workloads: By name.
        environment: Where it ran; empty in trees of early versions.
        search_space: The name of the file in each submission's folder, or a path.
    """

    model_config = ConfigDict(frozen=True)

    ruleset: Ruleset
    tuning: Literal["external", "self"]
    clock: Literal["wall", "steps"]
    seed: int
    studies: int = Field(ge=1, le=MOST_REPEATS)
    trials: int = Field(ge=1, le=MOST_REPEATS)
    submissions: Mapping[str, PlannedSubmission]
    workloads: Mapping[str, PlannedWorkload]
    environment: dict[str, Any] = {}
    search_space: str = "tuning_search_space.json"

    @classmethod
    def read(cls, out: Path) -> Self:
        """Reads OUT/experiment.json.

        Raises:
            RecordError: It is missing or damaged, or plans nothing or too much.
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

    @property
    def trials_per_study(self) -> int:
        """How many trials a study has; 1 under self-tuning."""
        return 1 if self.tuning == "self" else self.trials

    @cached_property
    def judged(self) -> dict[str, Criteria]:
        """By workload, what its trials are judged by."""
        factor = self.ruleset.budget_factor(self.tuning)
        return {
            name: Criteria(goal=rules.goal, budget_seconds=factor * rules.budget_seconds)
            for name, rules in self.workloads.items()
        }
