"""Rulesets: how many studies and trials, which goals and budgets, and how a score is made.

A ruleset is a TOML file in this folder, or a user's own given by its path. Where it says nothing of
a workload, the workload's own attributes hold.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scoring.records import UserError


class RulesetError(UserError):
    """A ruleset is unknown or malformed; the message names the file and the key."""


class WorkloadRules(BaseModel):
    """What a ruleset fixes of one workload; what is left out is the workload's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    validation_target: float | None = None
    test_target: float | None = None
    budget_seconds: float | None = Field(default=None, gt=0)
    eval_period_seconds: float | None = Field(default=None, gt=0)
    step_hint: int | None = Field(default=None, gt=0)


class Ruleset(BaseModel):
    """The rules of one benchmark.

    Attributes:
        name: Its name, as given to --ruleset.
        studies: Repetitions; a workload's time is the median over them.
        trials: Trials a study under external tuning; the fastest counts. Self-tuning has one.
        self_tuning_budget_factor: The budget of a self-tuning trial over that of an external one.
        r_max: Where the performance profile ends, as a multiple of the fastest time.
        baseline: The submission whose step is the unit of budgets given in baseline steps.
        max_budget_seconds: Caps a budget that was given in baseline steps, on any machine.
        workloads: What differs from the workloads' own attributes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    studies: int = Field(gt=0)
    trials: int = Field(gt=0)
    self_tuning_budget_factor: float = Field(ge=1)
    r_max: float = Field(gt=1)
    baseline: str = "external_tuning/nadamw"
    max_budget_seconds: float | None = Field(default=None, gt=0)
    workloads: dict[str, WorkloadRules] = {}


def names() -> list[str]:
    """The rulesets that come with chronograd."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.toml"))


def load(name: str) -> Ruleset:
    """Reads a ruleset by its name or by the path of a TOML file.

    Raises:
        RulesetError: There is no such ruleset, or the file is malformed.
    """
    path = Path(name) if name.endswith(".toml") else Path(__file__).parent / f"{name}.toml"
    if not path.is_file():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise RulesetError(
            f"no ruleset {name!r}.{hint} There are: {', '.join(names())}; or give a .toml file"
        )
    try:
        return Ruleset(**{"name": path.stem, **tomllib.loads(path.read_text(encoding="utf-8"))})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RulesetError(f"{path}: not valid TOML ({error})") from None
    except ValidationError as error:
        raise RulesetError(f"{path}: {first_fault(error)}") from None


def first_fault(error: ValidationError) -> str:
    """The first thing that pydantic found wrong, in one line: the key, and what about it."""
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
