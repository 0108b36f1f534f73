"""The data directory as downloads see it: what is there, what is partly there, and its lock."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.commands.datasets.source import File
from harness.spec import DataError
from scoring.files import load_json
from scoring.writing import write_text

DOWNLOADS = "downloads"  # the folder of archives, parts and records, in the data directory


class DataFolder:
    """A data directory.

    What is downloaded is written to `downloads/NAME.part` and renamed once it is complete and
    verified. `downloads/NAME.json` then says where it came from, its size and SHA-256, and which
    files were made of it.

    Attributes:
        path: The data directory.
        downloads: The folder `downloads` in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.downloads = path / DOWNLOADS

    def part(self, file: File) -> Path:
        """Where a file is written while it is downloaded."""
        return self.downloads / f"{file.name}.part"

    def target(self, file: File) -> Path:
        """Where a file is put once it is complete."""
        is_kept = file.unpack is None and file.only_for is None
        return self.path / file.to / file.name if is_kept else self.downloads / file.name

    def staging(self, file: File) -> Path:
        """Where an archive is unpacked before its files are put in place."""
        return self.downloads / f".unpacking_{file.name}"

    def record(self, file: File) -> dict[str, Any]:
        """What is recorded of a complete file; empty if nothing is."""
        try:
            found = load_json(self.downloads / f"{file.name}.json")
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write_record(self, file: File, **facts: Any) -> None:
        """Adds facts to the record of a file."""
        facts = {**self.record(file), **facts}
        write_text(self.downloads / f"{file.name}.json", json.dumps(facts, indent=2) + "\n")

    def is_done(self, file: File) -> bool:
        """Whether a file is in place, and unpacked if it is an archive."""
        record = self.record(file)
        if file.unpack is None:
            target = self.target(file)
            size = record.get("bytes", file.bytes)
            return bool(record) and target.is_file() and target.stat().st_size == size
        outputs = record.get("unpacked")
        return isinstance(outputs, list) and all(
            (self.path / str(output)).exists() for output in outputs
        )

    def downloaded(self, file: File) -> int:
        """How many bytes of a file are there already."""
        for path in (self.target(file), self.part(file)):
            if path.is_file():
                return path.stat().st_size
        return 0

    def free_bytes(self) -> int:
        """Free disk space; of the closest folder that exists, if this one does not yet."""
        place = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        return shutil.disk_usage(place).free

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other downloads out of the data directory.

        Raises:
            DataError: Another one is running.
        """
        self.downloads.mkdir(parents=True, exist_ok=True)
        with (self.downloads / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataError(
                    f"{self.path}: another download is running there; wait until it has ended"
                ) from None
            yield
