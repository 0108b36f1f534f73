"""Reads who made a submission: its submission_info.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoring.files import load_json
from scoring.reading.results import Submission
from scoring.tree import INFO_FILE

_URL = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,;)]")
_LINKS = ("paper", "code", "url", "paper_url", "code_url")  # the keys that may hold an address
_MOST = 2000  # characters of a text


@dataclass(frozen=True, slots=True)
class Info:
    """What authors state about their submission; "" if nothing.

    Attributes:
        title: The full title.
        authors: The names of the authors.
        paper: The publication that describes it.
        description: A short description.
        differs: What differs from the publication.
        links: Pairs of a label, such as "paper" or "code", and an address.
    """

    title: str = ""
    authors: str = ""
    paper: str = ""
    description: str = ""
    differs: str = ""
    links: tuple[tuple[str, str], ...] = ()


def read_info(source: Submission) -> Info:
    """Reads the file beside the submission's code or in its results; empty if there is none."""
    planned = source.facts.get("path", "")
    places = [Path(planned), Path(planned).parent] if Path(planned).is_absolute() else []
    for folder in (*places, source.folder):
        with suppress(OSError, ValueError):
            found = load_json(folder / INFO_FILE)
            if isinstance(found, dict):
                return _info(found)
    return Info()


def _info(data: Mapping[str, Any]) -> Info:
    texts = {
        name: _text(data.get(name, ""))
        for name in ("title", "authors", "paper", "description", "differs")
    }
    links: dict[str, str] = {}
    for key in _LINKS:
        for address in _URL.findall(_text(data.get(key, ""))):
            links.setdefault(address, key.removesuffix("_url").replace("url", "page"))
    return Info(**texts, links=tuple((label, address) for address, label in links.items()))


def _text(value: Any) -> str:
    """A text, or a list of them."""
    if isinstance(value, list):
        value = ", ".join(_text(item) for item in value)
    if isinstance(value, dict):
        value = str(value.get("name", ""))
    return str(value if value is not None else "")[:_MOST]
