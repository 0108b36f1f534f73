"""Reads boards.toml: the leaderboards of a site, and the results of each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from scoring import rulesets
from scoring.files import read_text
from scoring.records import UserError
from scoring.rulesets import first_fault
from scoring.toml import load_toml

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


class BoardPlan(BaseModel):
    """One board of a site; paths are relative to the file.

    Attributes:
        name: The permanent name in its address: boards/NAME/.
        title: The heading; "" for its name.
        results: Results trees and logs in AlgoPerf's layout.
        ruleset: As for `chronograd score`; a path ends in .toml.
        tuning: As for `chronograd score`.
        suite: As for `chronograd score`.
        method: As for `chronograd score`.
        intro: A Markdown file with an introduction.
        optional: Whether to leave the board out if its results are missing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str = ""
    results: tuple[Path, ...] = Field(min_length=1)
    ruleset: str | None = None
    tuning: Literal["external", "self"] | None = None
    suite: str | None = None
    method: Literal["rules", "official"] = "rules"
    intro: Path | None = None
    optional: bool = False

    @field_validator("name")
    @classmethod
    def _is_an_address(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} must be lower-case letters, digits and any of . - _")
        return name


class SitePlan(BaseModel):
    """A site.

    Attributes:
        title: The title of the first page.
        intro: A Markdown file with an introduction for the first page.
        boards: The boards in the order of the first page.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = "Leaderboards"
    intro: Path | None = None
    boards: tuple[BoardPlan, ...] = Field(min_length=1)

    @field_validator("boards")
    @classmethod
    def _names_differ(cls, boards: tuple[BoardPlan, ...]) -> tuple[BoardPlan, ...]:
        names = [board.name for board in boards]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two boards are called {name!r}")
        return boards


def read_plan(file: Path) -> SitePlan:
    """Reads boards.toml; paths in it are relative to its folder.

    Raises:
        UserError: It cannot be read, or a key is unknown, missing or of the wrong kind.
    """
    try:
        plan = SitePlan(**load_toml(file))
    except ValidationError as error:
        raise UserError(f"{file}: {first_fault(error, SitePlan)}") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise UserError(f"{file}: cannot be read as TOML ({error})") from None
    here = file.parent
    boards = tuple(_placed(board, here) for board in plan.boards)
    return plan.model_copy(update={"boards": boards, "intro": plan.intro and here / plan.intro})


def _placed(board: BoardPlan, here: Path) -> BoardPlan:
    ruleset = board.ruleset
    if ruleset is not None and ruleset.endswith(".toml"):
        ruleset = str(here / ruleset)
    return board.model_copy(
        update={
            "results": tuple(here / folder for folder in board.results),
            "ruleset": ruleset,
            "intro": board.intro and here / board.intro,
        }
    )


def rules_of(board: BoardPlan) -> rulesets.Ruleset | None:
    """The ruleset of a board; None for the one that its results trees applied."""
    return None if board.ruleset is None else rulesets.load(board.ruleset)


def text_of(file: Path | None) -> str:
    """The text of a Markdown file; "" if there is none.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return "" if file is None else read_text(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error}); give a Markdown file") from None
