"""Writes a ruleset as TOML."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from scoring.rulesets import Ruleset

_WIDTH = 98  # of a comment's line


def ruleset_text(ruleset: Ruleset, comment: str) -> str:
    """The TOML text of a ruleset: what differs from the defaults, below a comment."""
    given = ruleset.model_dump(exclude_defaults=True, exclude={"name"})
    tables = {key: value for key, value in given.items() if isinstance(value, Mapping)}
    lines = [f"# {line}".rstrip() for line in _wrapped(comment)]
    lines += [f"{key} = {_value(value)}" for key, value in given.items() if key not in tables]
    for key, table in tables.items():
        lines += ["", f"[{key}]"]
        lines += [f"{_key(name)} = {_value(value)}" for name, value in table.items()]
    return "\n".join(lines) + "\n"


def _wrapped(text: str) -> list[str]:
    return [line for part in text.splitlines() for line in textwrap.wrap(part, _WIDTH) or [""]]


def _key(name: str) -> str:
    bare = name.replace("-", "").replace("_", "").isalnum() and name.isascii()
    return name if bare else json.dumps(name)


def _value(value: Any) -> str:
    """A value as TOML; strings, numbers and booleans are written as in JSON."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)
