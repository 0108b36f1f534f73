"""The files of a submission: its code, its search space, and their hashes."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from harness.submission.source import imported, nodes_of
from scoring.files import is_hidden, load_json
from scoring.records import UserError
from scoring.tree import INFO_FILE, LEDGER_FILE, SEARCH_SPACE_FILE

FILE = "submission.py"
FRAMEWORK = "pytorch"  # the folder of submission.py in NAME/pytorch/, as in AlgoPerf's baselines
MAX_BYTES = 64 * 2**20  # of a submission's folder
IMPORTED = (".py", ".so", ".pyd", ".pyx", ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp")
_NO_INPUT = (  # output of runs and documentation
    "*.out", "*.err", "*.log", "*.log.*", "*log.txt", "stdout*", "stderr*", "events.out.tfevents.*",
    "*.pid", "*.lock", "*.tmp", "*.bak", "*.orig", "*.swp", "*~", "core", "core.*",
    "*.md", "*.rst", "*.html", "*.htm", "*.pdf", "*.tex", "*.bib", "*.png", "*.jpg", "*.jpeg",
    "*.gif", "*.svg", "*.ipynb", "*.sh", "*.sbatch", "README*", "LICENSE*", "NOTICE*", "CHANGELOG*",
)  # fmt: skip
_SHARED = "submissions/"
_SHARED_BY_ALL = {  # part of every library submission's hash, as recorded in results trees
    "__init__.py", "averaging.py", "cautious.py", "dotted.py", "draws.py", "kronecker.py",
    "recipe.py", "schedules.py",
}  # fmt: skip


class SubmissionError(UserError):
    """A submission cannot be found, or violates the contract; the message says where and how."""


def file_of(place: Path) -> Path:
    """Returns the file that defines the submission at `place`."""
    return place if place.suffix == ".py" else place / FILE


def name_of(place: Path) -> str:
    """Returns the name of the submission at `place`: folder or file, or NAME of NAME/pytorch."""
    return place.parent.name if place.name == FRAMEWORK else place.name.removesuffix(".py")


def search_space_of(place: Path, search_space: str = SEARCH_SPACE_FILE) -> Path:
    """Returns the search-space file of the submission at `place`; it need not exist.

    It is next to the code or, in AlgoPerf's layout NAME/pytorch/submission.py, one folder up.

    Args:
        place: Folder or file of the submission.
        search_space: Name or path of the search-space file.
    """
    folder = file_of(place).parent
    beside, above = folder / search_space, folder.parent / search_space
    in_layout = folder.name == FRAMEWORK and not beside.is_file() and above.is_file()
    return above if in_layout else beside


@dataclass(frozen=True, slots=True)
class RunsOn:
    """The workloads that a submission can train, and why it can train no others."""

    workloads: tuple[str, ...]
    reason: str

    def refusal(self, name: str, workload: str) -> str:
        """The message for a workload that it cannot train."""
        return (
            f"{name} cannot train {workload}: {self.reason}; it trains "
            f"{', '.join(self.workloads)} ({INFO_FILE})"
        )


def runs_on(place: Path) -> RunsOn | None:
    """Returns the "runs_on" of a submission's submission_info.json; None if it runs everywhere.

    It is `{"workloads": [names], "reason": "why it needs these"}`.

    Raises:
        SubmissionError: It has another form.
    """
    file = search_space_of(place, INFO_FILE)  # is found in the same places
    if not file.is_file():
        return None
    try:
        info = load_json(file)
    except ValueError:  # only a description, which others read
        return None
    if not isinstance(info, dict) or "runs_on" not in info:
        return None
    match info["runs_on"]:
        case {"workloads": [*names], "reason": str(reason)} if names and all(
            isinstance(name, str) for name in names
        ):
            return RunsOn(tuple(names), reason)
    raise SubmissionError(
        f'{file}: "runs_on" must be {{"workloads": [names], "reason": "why it needs these"}}'
    )


def library() -> Path:
    """Returns the folder of the submissions that come with chronograd."""
    found = importlib.util.find_spec("submissions")
    if found is None or not found.submodule_search_locations:
        raise SubmissionError("the package 'submissions' is not installed; reinstall chronograd")
    return Path(next(iter(found.submodule_search_locations)))


def available() -> list[str]:
    """Returns the submissions that come with chronograd, as "external_tuning/NAME"."""
    root = library()
    files = root.glob("*_tuning/*/submission.py")
    return sorted(str(file.parent.relative_to(root)) for file in files)


def files_of(folder: Path) -> list[Path]:
    """Returns a submission's files, in a fixed order.

    Hidden and compiled files and results trees are left out; symbolic links are followed.

    Raises:
        SubmissionError: A link is broken or leads to a folder that contains it, or the files are
            too large to be sent to every node.
    """
    found: list[Path] = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if _holds_code(Path(place, name))]
        found += [Path(place, name) for name in names if not is_hidden(name)]
        for link in (Path(place, name) for name in (*folders, *names) if not is_hidden(name)):
            if link.is_symlink():
                _check_link(link)
    found = sorted(path for path in found if path.is_file())
    size = sum(path.stat().st_size for path in found)
    if size > MAX_BYTES:
        raise SubmissionError(
            f"{folder}: every file in a submission's folder is sent to every node, and this one "
            f"has {size / 1e6:,.0f} MB; move the submission to its own folder"
        )
    return found


def _holds_code(folder: Path) -> bool:
    skipped = is_hidden(folder.name) or folder.name == "__pycache__"
    return not skipped and not (folder / LEDGER_FILE).is_file()


def _check_link(link: Path) -> None:
    """Raises SubmissionError if a symbolic link is broken or leads to a folder that contains it."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise SubmissionError(f"{link}: a broken symbolic link ({error}); remove it") from None
    if link.parent.resolve().is_relative_to(target):
        raise SubmissionError(f"{link}: a symbolic link to a folder that contains it; remove it")


def digests(place: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file that can affect a submission, by its path in the folder.

    These are code and everything that code may read, but not output of runs and documentation, such
    as slurm-1.out, logs, web pages, plots and README.md. A submission of the library also has the
    code that the library shares, as `submissions/recipe.py`.
    """
    return {label: hashlib.sha256(file.read_bytes()).hexdigest() for label, file in _hashed(place)}


def mentions(place: Path, word: str) -> bool:
    """Whether any file that decides what a submission does has this word in it."""
    found = re.compile(rf"\b{re.escape(word)}\b".encode())
    return any(found.search(file.read_bytes()) for _, file in _hashed(place))


def content_hash(place: Path) -> str:
    """Returns the SHA-256 over the names and bytes of all files of `digests`."""
    return _hash(_hashed(place))


def earlier_hash(place: Path) -> str:
    """Returns the `content_hash` of results trees that record no `digests`: over all files."""
    return _hash(_labelled(place))


def is_imported(label: str) -> bool:
    """Returns whether a file of `digests` is code, which matters even if it is added later."""
    return label.endswith(IMPORTED)


def _hash(files: list[tuple[str, Path]]) -> str:
    digest = hashlib.sha256()
    for label, path in files:
        content = path.read_bytes()
        digest.update(f"{label.removeprefix(_SHARED)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _hashed(place: Path) -> list[tuple[str, Path]]:
    return [
        (label, path)
        for label, path in _labelled(place)
        if is_imported(label) or not any(fnmatchcase(path.name, rule) for rule in _NO_INPUT)
    ]


def _labelled(place: Path) -> list[tuple[str, Path]]:
    """Returns label and path of every file, in a fixed order."""
    folder = file_of(place).parent
    found = [(str(path.relative_to(folder)), path) for path in files_of(folder)]
    if folder.is_relative_to(library()):
        found += [(_SHARED + path.name, path) for path in _shared(path for _, path in found)]
    return found


def _shared(files: Iterable[Path]) -> list[Path]:
    """Returns the library's shared modules that these files depend on, in a fixed order.

    Those of _SHARED_BY_ALL always belong to them; a later one only where it is imported, so that
    adding it changes the hash of no other submission.
    """
    modules = {f"submissions.{path.stem}": path for path in sorted(library().glob("*.py"))}
    needed = {path for path in modules.values() if path.name in _SHARED_BY_ALL}
    waiting = [*files, *needed]
    while waiting:
        names = (name for node in nodes_of(waiting.pop()) for name in imported(node))
        for name in names:
            path = modules.get(".".join(name.split(".")[:2]))
            if path is not None and path not in needed:
                needed.add(path)
                waiting.append(path)
    return sorted(needed)
