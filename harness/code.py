"""The files of a submission: its code, and where AlgoPerf's layouts have the rest."""

from __future__ import annotations

import os
from pathlib import Path

from harness import ledger
from scoring.records import UserError

FILE = "submission.py"
SEARCH_SPACE_FILE = "tuning_search_space.json"
FRAMEWORK = "pytorch"  # the folder of submission.py in NAME/pytorch/, as in AlgoPerf's baselines
MOST_BYTES = 64 * 2**20  # of a submission's folder


class SubmissionError(UserError):
    """A submission cannot be found or breaks the contract; the message says where and how."""


def file_of(place: Path) -> Path:
    """The file that defines the submission at a place."""
    return place if place.suffix == ".py" else place / FILE


def name_of(place: Path) -> str:
    """The name of the submission at a place: that of its folder or file, NAME in NAME/pytorch."""
    return place.parent.name if place.name == FRAMEWORK else place.name.removesuffix(".py")


def search_space_of(place: Path, search_space: str = SEARCH_SPACE_FILE) -> Path:
    """The search-space file of the submission at a place, which need not exist.

    It is beside the code or, in AlgoPerf's layout NAME/pytorch/submission.py, one folder up.

    Args:
        place: The submission.
        search_space: The name of the file, or its path.
    """
    folder = file_of(place).parent
    beside, above = folder / search_space, folder.parent / search_space
    in_layout = folder.name == FRAMEWORK and not beside.is_file() and above.is_file()
    return above if in_layout else beside


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
