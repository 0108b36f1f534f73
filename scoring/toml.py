"""Reads TOML files that may have been written with bad intent, and writes values as TOML."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scoring.files import MOST_DEPTH, check_depth, read_text

# A dotted key of this many parts takes tomllib minutes, and gigabytes.
_TOO_MANY_PARTS = re.compile(
    r"""(?:\.[ \t]*(?:"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[\w-]+)[ \t]*)""" f"{{{MOST_DEPTH}}}"
)


def load_toml(path: Path) -> dict[str, Any]:
    """Reads a TOML file.

    Raises:
        OSError: It cannot be opened or read.
        ValueError: It is not TOML, or is nested deeper than `MOST_DEPTH`; the message is one line.
    """
    text = read_text(path)
    if _TOO_MANY_PARTS.search(text):
        raise ValueError(f"has a key of more than {MOST_DEPTH} parts")
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"is nested more than {MOST_DEPTH} deep") from None
    check_depth(data)
    return data


def toml_key(name: str) -> str:
    """A key as TOML, in quotes where it needs them."""
    bare = name.replace("-", "").replace("_", "").isalnum() and name.isascii()
    return name if bare else toml_value(name)


def toml_value(value: Any) -> str:
    """A string, number, boolean, list or mapping as TOML, on one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{toml_key(k)} = {toml_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # As JSON, but TOML has neither surrogate pairs nor a bare DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
