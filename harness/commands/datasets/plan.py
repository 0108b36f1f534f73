"""What downloading a dataset means here and now: what is there, what is missing, what it needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from harness.commands.datasets.folder import DataFolder
from harness.commands.datasets.source import Dataset, File
from harness.spec import DataError


@dataclass(frozen=True)
class Step:
    """What has to be done for a file.

    Attributes:
        file: The file.
        done: Whether it is in place already.
        there: Bytes of it that are there already.
        url: Where it is downloaded from; None if it is given.
        given: The file that a person downloaded; None if it is downloaded here.
    """

    file: File
    done: bool
    there: int
    url: str | None
    given: Path | None

    @property
    def transfer_bytes(self) -> int:
        """Bytes that are still to be downloaded."""
        if self.done or self.given is not None:
            return 0
        return max(0, self.file.size - self.there)

    @property
    def unpack_bytes(self) -> int:
        """Bytes that unpacking will write."""
        return self.file.unpack.bytes if self.file.unpack and not self.done else 0


@dataclass(frozen=True)
class Plan:
    """What a download will do.

    Attributes:
        dataset: The dataset.
        folder: The data directory.
        steps: One for each file.
        free_bytes: Free disk space.
    """

    dataset: Dataset
    folder: DataFolder
    steps: list[Step]
    free_bytes: int

    @property
    def transfer_bytes(self) -> int:
        """Bytes that are still to be downloaded."""
        return sum(step.transfer_bytes for step in self.steps)

    @property
    def needed_bytes(self) -> int:
        """Disk space that is still needed: archives, what they unpack to, and preparing it."""
        unpacked = sum(step.unpack_bytes for step in self.steps)
        return self.transfer_bytes + unpacked + self.dataset.prepared_bytes

    @property
    def is_done(self) -> bool:
        """Whether all files are in place."""
        return all(step.done for step in self.steps)

    def check(self) -> None:
        """Raises DataError if files are missing that a person has to get, or space."""
        missing = [s.file.name for s in self.steps if not s.done and not s.url and not s.given]
        if missing:
            others = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise DataError(
                f"{', '.join(missing[:5])}{others}: not found in {self.folder.path}. "
                f"{self.dataset.obtain}; then pass --archives DIR with them, or --url URL"
            )
        if not self.is_done and self.needed_bytes > self.free_bytes:
            raise DataError(
                f"{self.folder.path}: {self.needed_bytes:,} bytes of disk space are needed, "
                f"{self.free_bytes:,} are free; choose another --data-dir, or free some"
            )


def make_plan(
    dataset: Dataset, data_dir: Path, archives: Path | None = None, urls: Iterable[str] = ()
) -> Plan:
    """What downloading a dataset means here and now.

    Args:
        dataset: The dataset.
        data_dir: The folder that the workload reads.
        archives: A folder with files that a person downloaded; `data_dir` is searched too.
        urls: Addresses of files, each with the file's name in it, also inside a mailed command.

    Raises:
        DataError: An address is of no file of the dataset.
    """
    folder = DataFolder(data_dir)
    given_urls = _by_name(dataset, urls)
    done = {file.name: folder.is_done(file) for file in dataset.files}
    steps = []
    for file in dataset.files:
        places = [place / file.name for place in (archives, data_dir) if place is not None]
        given = next((place for place in places if place.is_file()), None)
        is_archive = file.unpack is not None or file.only_for is not None
        if given is not None and not is_archive and given == folder.target(file):
            given = None
        url = given_urls.get(file.name, file.url)
        is_done = done[file.only_for or file.name]
        steps.append(Step(file, is_done, folder.downloaded(file), url, given))
    return Plan(dataset, folder, steps, folder.free_bytes())


def _by_name(dataset: Dataset, urls: Iterable[str]) -> dict[str, str]:
    """The addresses that a user passed, by the file whose name they contain."""
    found = {}
    for text in urls:
        addresses = re.findall(r"https?://[^\s\"'<>]+", text)
        names = [file.name for file in dataset.files if file.name in unquote(text)]
        if len(addresses) != 1 or len(names) != 1:
            known = ", ".join(file.name for file in dataset.files[:5])
            raise DataError(f"{text}: must be one address with one of these names in it: {known}")
        found[names[0]] = addresses[0]
    return found


def states(plan: Plan) -> Mapping[str, str]:
    """In words, what is there of each file, by its name."""
    found = {}
    for step in plan.steps:
        if step.done:
            state = "complete"
        elif step.given is not None:
            state = f"in {step.given.parent}, to be unpacked"
        elif step.there:
            state = f"{min(100, 100 * step.there // max(1, step.file.size))}%"
        else:
            state = "missing"
        found[step.file.name] = state
    return found
