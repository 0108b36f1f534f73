"""Parts of plain arrays on disk, checksummed, memory-mapped when read.

A part is a folder of .npy files and a part.json, written aside and renamed, so that it is complete
or not there: preparation that was interrupted continues with the parts that are missing. An array
whose name ends with .bin is written as it is in memory, for formats that others read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.spec import DataError, Progress

Arrays = Mapping[str, np.ndarray]
_PART = "part.json"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a prepared dataset.

    Attributes:
        name: The name of its folder.
        recipe: Name and version of the code that makes it; where it changes, so does the part.
        make: Makes the arrays, or raises DataError.
        sources: The files it is made from; where one changes, the part is made again.
    """

    name: str
    recipe: str
    make: Callable[[], Arrays]
    sources: Sequence[Path] = ()

    def origin(self) -> dict[str, object]:
        """What part.json says that it was made from."""
        stats = {str(path): path.stat() for path in self.sources}
        sizes = {path: [stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()}
        return {"recipe": self.recipe, "sources": sizes}


def prepare_parts(folder: Path, parts: Sequence[Part], progress: Progress) -> None:
    """Makes those of `parts` that are not in `folder` yet."""
    for number, part in enumerate(parts):
        progress(number, len(parts), part.name)
        if not is_prepared(folder, part):
            _write(folder, part)
    progress(len(parts), len(parts), "")


def is_prepared(folder: Path, part: Part) -> bool:
    """Whether a part is there, by the same recipe and from the same files."""
    try:
        written = json.loads((folder / part.name / _PART).read_text(encoding="utf-8"))
        return bool(written["origin"] == json.loads(json.dumps(part.origin())))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write(folder: Path, part: Part) -> None:
    """Makes a part aside, synced to the disk, and renames it into its place."""
    origin = part.origin()
    arrays = part.make()
    folder.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder, prefix=".writing_"))
    try:
        new = aside / "new"
        new.mkdir()
        for name, array in arrays.items():
            with _file(new, name).open("wb") as file:
                file.write(array.data) if name.endswith(".bin") else np.save(file, array)
                file.flush()
                os.fsync(file.fileno())
        sums = {name: _checksum(_file(new, name)) for name in arrays}
        text = json.dumps({"origin": origin, "sha256": sums}, indent=2) + "\n"
        (new / _PART).write_text(text, encoding="utf-8")
        place = folder / part.name
        if place.exists():
            place.rename(aside / "old")
        try:
            new.rename(place)
        except OSError:
            if not is_prepared(folder, part):  # another process was faster
                raise
    finally:
        shutil.rmtree(aside)


def read_part(folder: Path, name: str) -> dict[str, np.ndarray]:
    """The arrays of a part, memory-mapped.

    Raises:
        DataError: It is not there, or cannot be read.
    """
    place = folder / name
    try:
        names = json.loads((place / _PART).read_text(encoding="utf-8"))["sha256"]
        arrays = (key for key in names if not key.endswith(".bin"))
        return {key: np.load(_file(place, key), mmap_mode="r") for key in arrays}
    except FileNotFoundError:
        raise DataError(
            f"{place}: is not prepared; run `chronograd data prepare` for this workload"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{place}: is damaged ({error}); remove it and prepare it again") from None


def part_faults(folder: Path, parts: Sequence[Part]) -> list[str]:
    """What is wrong with prepared parts, a line each: not there, out of date, or damaged."""
    found = []
    for part in parts:
        place = folder / part.name
        if not is_prepared(folder, part):
            state = "is out of date" if place.exists() else "is not prepared"
            found.append(f"{place}: {state}; run `chronograd data prepare`")
            continue
        sums = json.loads((place / _PART).read_text(encoding="utf-8"))["sha256"]
        for name, expected in sums.items():
            file = _file(place, name)
            if not file.is_file() or _checksum(file) != expected:
                found.append(f"{file}: is damaged (checksum); remove {place} and prepare it again")
    return found


def _file(place: Path, name: str) -> Path:
    return place / (name if name.endswith(".bin") else f"{name}.npy")


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Rows:
    """Arrays of several parts as one long array, by its first axis."""

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self._arrays = arrays
        self._ends = np.cumsum([len(array) for array in arrays])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def take(self, indices: np.ndarray) -> np.ndarray:
        """The rows [len(indices), ...] of these numbers, in their order."""
        first = self._arrays[0]
        out = np.empty((len(indices), *first.shape[1:]), dtype=first.dtype)
        of_part = np.searchsorted(self._ends, indices, side="right")
        for part in np.unique(of_part):
            mine = of_part == part
            start = self._ends[part] - len(self._arrays[part])
            out[mine] = self._arrays[part][indices[mine] - start]
        return out
