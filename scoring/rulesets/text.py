"""Writes a ruleset as TOML."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from scoring.rulesets import Ruleset
from scoring.toml import toml_key, toml_value

_WIDTH = 98  # of a comment's line


def ruleset_text(ruleset: Ruleset, comment: str) -> str:
    """The TOML text of a ruleset: what differs from the defaults, below a comment."""
    given = ruleset.model_dump(exclude_defaults=True, exclude={"name"})
    tables = {key: value for key, value in given.items() if isinstance(value, Mapping)}
    lines = [f"# {line}".rstrip() for line in _wrapped(comment)]
    lines += [f"{key} = {toml_value(value)}" for key, value in given.items() if key not in tables]
    for key, table in tables.items():
        lines += ["", f"[{key}]"]
        lines += [f"{toml_key(name)} = {toml_value(value)}" for name, value in table.items()]
    return "\n".join(lines) + "\n"


def _wrapped(text: str) -> list[str]:
    return [line for part in text.splitlines() for line in textwrap.wrap(part, _WIDTH) or [""]]
