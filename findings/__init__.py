"""Published findings about training algorithms, each reproduced by a module of this folder.

A module is a finding if it is a file of this folder. It defines `FINDING` and `run(quick)`, and
states what was chosen before looking at results; adding one changes no other file. `chronograd
reproduce` runs them. Whatever is trained is trained by the harness's trial loop, on workloads and
by submissions of this project: see `findings.frame.training`.

Imports: public entry points of `harness`, `scoring`, `workloads`, `submissions`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoring.names import known_names
from scoring.records import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Number = float | int | str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What a finding says.

    Attributes:
        claim: The claim, in one sentence.
        source: Who made it, where.
        chosen: What was chosen before looking at any result.
    """

    claim: str
    source: str
    chosen: str


@dataclass(frozen=True, slots=True)
class Check:
    """A part of the claim that was tested.

    Attributes:
        what: "A must be B: C", where C are the numbers that decide it.
        holds: Whether it does.
    """

    what: str
    holds: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What an experiment found.

    Attributes:
        figure: The figure.
        numbers: Numbers by name; lists of them, or mappings.
        checks: The checks, at least one. The finding is reproduced if all hold.
    """

    figure: Figure
    numbers: Mapping[str, Number | Sequence[Any] | Mapping[str, Any]]
    checks: Sequence[Check]

    @property
    def verdict(self) -> str:
        """Either "reproduced", or "not reproduced here: " and what does not hold."""
        failed = [check.what for check in self.checks if not check.holds]
        return f"not reproduced here: {'; '.join(failed)}" if failed else "reproduced"


def names() -> list[str]:
    """The names of all findings, in alphabetical order; imports none of them."""
    return sorted(file.stem for file in Path(__file__).parent.glob("[a-z]*.py"))


def check_name(name: str) -> None:
    """Raises UserError if there is no finding of that name."""
    if name not in names():
        raise UserError(f"no finding {name!r}. {known_names(name, names())}")


def load(name: str) -> tuple[Finding, Callable[[bool], Outcome]]:
    """The finding of a name and the function that runs its experiment.

    The function takes whether to run a quick version, of a few seconds.

    Raises:
        UserError: There is no finding of that name.
    """
    check_name(name)
    module = importlib.import_module(f"findings.{name}")
    return module.FINDING, module.run
