"""Rulesets: the numbers of studies and trials, goals and budgets, and how to score.

A ruleset is a TOML file in this folder, or a user's own given by its path. What it does not specify
for a workload is taken from the workload's attributes; logs of other harnesses have none, so
scoring them needs a ruleset that specifies everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from scoring.names import known_names
from scoring.records import Goal, UserError
from scoring.rulesets.fixed_step import FixedStepRules
from scoring.toml import load_toml

MOST_REPEATS = 1000  # studies, or trials per study: more are a typing error, and fill the memory


class RulesetError(UserError):
    """A ruleset that is unknown or malformed; the message names the file and the key."""


class WorkloadRules(BaseModel):
    """The rules of one workload; what is left out is taken from the workload."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    metric: str | None = None
    direction: Literal["min", "max"] | None = None
    validation_target: float | None = None
    test_target: float | None = None
    budget_seconds: float | None = Field(default=None, gt=0)
    eval_period_seconds: float | None = Field(default=None, gt=0)
    budget_steps: int | None = Field(default=None, gt=0)
    eval_period_steps: int | None = Field(default=None, gt=0)
    step_hint: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _metric_and_direction_belong_together(self) -> Self:
        if (self.metric is None) != (self.direction is None):
            raise ValueError(
                "a metric needs its direction (min or max), and a direction its metric"
            )
        return self

    @model_validator(mode="after")
    def _budget_is_in_one_unit(self) -> Self:
        in_seconds = {self.budget_seconds, self.eval_period_seconds} != {None}
        in_steps = (self.budget_steps is not None, self.eval_period_steps is not None)
        if any(in_steps) and (in_seconds or not all(in_steps)):
            raise ValueError(
                "budget_steps and eval_period_steps belong together, without budget_seconds and "
                "eval_period_seconds"
            )
        return self


class Ruleset(BaseModel):
    """The rules of one benchmark.

    Attributes:
        name: The name, as given to --ruleset.
        studies: Number of repetitions; a workload's time is the median over them.
        trials: Trials per study under external tuning; the fastest counts. Self-tuning has one.
        self_tuning_budget_factor: The budget of a self-tuning trial over that of an external one.
        r_max: The end of the performance profile, as a multiple of the fastest time.
        baseline: The submission whose step is the unit of budgets given in baseline steps.
        dropout_at_init: Whether the hyperparameters `dropout_rate` and `aux_dropout_rate` are
            passed to the model when it is created, as in AlgoPerf v0.5; else only submissions use
            them.
        max_budget_seconds: Upper bound of a budget given in baseline steps, on any machine.
        by_steps: Whether trials are limited by steps instead of time: they run on the step clock,
            are evaluated after every `eval_period_steps` steps, and all end at the same step,
            whether they have met the target or not. That step is `--max-steps`, or else the
            workload's budget in steps; it is also the step hint that submissions see.
        own_initialisation: Whether a submission may change the initial parameters in
            `init_optimizer_state`.
        provisional: Where targets come from that are provisional, shown with every leaderboard;
            "" if they are not.
        scored: The workloads that a score is the mean over; if empty, those that were planned.
        held_out: The workload of each held-out variant, which counts only if the variant does.
        suites: Named sets of workloads that can be scored in place of `scored`.
        official_speedup_ruleset: The ruleset whose budgets replace misses in the official form of
            the speedup; None for this one.
        fixed_step: The tests of a board that compares losses at a fixed step, with several runs
            per entry; None for one of times to target.
        workloads: The rules that differ from the workloads' attributes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    studies: int = Field(gt=0, le=MOST_REPEATS)
    trials: int = Field(gt=0, le=MOST_REPEATS)
    self_tuning_budget_factor: float = Field(ge=1)
    r_max: float = Field(gt=1)
    baseline: str = "external_tuning/nadamw"
    dropout_at_init: bool = False
    max_budget_seconds: float | None = Field(default=None, gt=0)
    by_steps: bool = False
    own_initialisation: bool = False
    provisional: str = ""
    scored: tuple[str, ...] = ()
    held_out: dict[str, str] = {}
    suites: dict[str, tuple[str, ...]] = {}
    official_speedup_ruleset: str | None = None
    fixed_step: FixedStepRules | None = None
    workloads: dict[str, WorkloadRules] = {}

    @model_validator(mode="after")
    def _held_out_variants_have_a_scored_workload(self) -> Self:
        for variant, workload in self.held_out.items():
            if workload not in self.scored or variant in self.scored:
                raise ValueError(
                    f"held_out.{variant} = {workload!r}: the workload must be in `scored`, "
                    "the variant must not"
                )
        return self

    @model_validator(mode="after")
    def _suites_hold_workloads(self) -> Self:
        for suite, workloads in self.suites.items():
            if not workloads:
                raise ValueError(f"suites.{suite} is empty: name its workloads")
        return self

    def suite(self, name: str) -> tuple[str, ...]:
        """The workloads of a suite; one named like the ruleset or its family is what it scores.

        The family of algoperf-0.6 is `algoperf`. Empty if there is no such suite.
        """
        own = (self.name, self.name.partition("-")[0])
        return self.suites.get(name, self.scored if name in own else ())

    def budget_factor(self, tuning: str) -> float:
        """The budget under `tuning` over that under external tuning."""
        return self.self_tuning_budget_factor if tuning == "self" else 1.0

    def goal(self, workload: str) -> Goal | None:
        """The goal on validation data; None if the ruleset leaves it to the workload."""
        rules = self.workloads.get(workload, WorkloadRules())
        if rules.metric is None or rules.direction is None or rules.validation_target is None:
            return None
        return Goal(metric=rules.metric, direction=rules.direction, target=rules.validation_target)

    def budget(self, workload: str, tuning: str) -> float | None:
        """Seconds of a trial under `tuning`; None if the ruleset leaves it to the workload."""
        seconds = self.workloads.get(workload, WorkloadRules()).budget_seconds
        return None if seconds is None else seconds * self.budget_factor(tuning)


def names() -> list[str]:
    """The rulesets that come with chronograd."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.toml"))


def load(name: str) -> Ruleset:
    """Reads a ruleset by its name or by the path of a TOML file.

    Raises:
        RulesetError: There is no such ruleset, or the file is malformed.
    """
    path = path_of(name)
    try:
        return Ruleset(**{"name": path.stem, **load_toml(path)})
    except ValidationError as error:
        raise RulesetError(f"{path}: {first_fault(error)}") from None
    except (ValueError, OverflowError, OSError) as error:
        raise RulesetError(f"{path}: cannot be read as TOML ({error})") from None


def path_of(name: str) -> Path:
    """The file of a ruleset given by its name or by the path of a TOML file.

    Raises:
        RulesetError: There is no such ruleset.
    """
    path = Path(name) if name.endswith(".toml") else Path(__file__).parent / f"{name}.toml"
    if not path.is_file():
        raise RulesetError(
            f"no ruleset {name!r}. {known_names(name, names(), '`chronograd rulesets`')}; "
            "or give the path of a .toml file"
        )
    return path


def first_fault(error: ValidationError, file: type[BaseModel] = Ruleset) -> str:
    """The first unknown key, or else the first error, in one line: the key and the message.

    Args:
        error: The errors in a file.
        file: The model of the file, which has the known keys.
    """
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    message = first["msg"].removeprefix("Value error, ")
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        *tables, unknown = first["loc"]
        for table in tables:
            file = next(
                _models(getattr(file.model_fields.get(str(table)), "annotation", None)), file
            )
        return f"{key}: unknown key. {known_names(str(unknown), file.model_fields)}"
    return f"{key}: {message}" if key else message


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a type holds, such as those of the values of a dict."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
