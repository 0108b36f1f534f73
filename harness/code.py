"""The files of a submission."""

from __future__ import annotations

import os
from pathlib import Path

from harness import ledger
from scoring.records import UserError

MOST_BYTES = 64 * 2**20  # of a submission's folder


class SubmissionError(UserError):
    """A submission cannot be found or breaks the contract; the message says where and how."""


def files_of(folder: Path) -> list[Path]:
    """A submission's files, in a fixed order: none that is hidden or compiled, no results tree.

    Raises:
        SubmissionError: They are too large for code that every node is sent.
    """
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if _holds_code(Path(place, name))]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    found = sorted(path for path in found if path.is_file())
    size = sum(path.stat().st_size for path in found)
    if size > MOST_BYTES:
        raise SubmissionError(
            f"{folder}: all that is in a submission's folder is sent to every node, and this one "
            f"has {size / 1e6:,.0f} MB; give the submission a folder of its own"
        )
    return found


def _holds_code(folder: Path) -> bool:
    hidden = folder.name.startswith(".") or folder.name == "__pycache__"
    return not hidden and not (folder / ledger.FILE).is_file()
