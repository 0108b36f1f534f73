"""Downloads a dataset: transfers, unpacks and puts in place what a plan says is missing."""

from __future__ import annotations

import filecmp
import hashlib
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.commands.datasets.classes import Folders, ground_truth
from harness.commands.datasets.plan import Plan, Step
from harness.commands.datasets.source import File
from harness.commands.datasets.transfer import StoppedError, Transfers, fetch, make_client
from harness.commands.datasets.unpack import unpack
from harness.spec import DataError

_MOST_NAMED = 100  # files that a record lists; of more, their folders
_BLOCK = 2**20


class Watcher(Protocol):
    """What is notified of the progress of a download, from several threads."""

    def transferred(self, file: File, done: int) -> None:
        """So many bytes of a file are there."""

    def unpacking(self, file: File) -> None:
        """An archive is being unpacked."""

    def finished(self, file: File) -> None:
        """A file is in place."""


def download(plan: Plan, jobs: int, watcher: Watcher, *, keep_archives: bool = False) -> list[str]:
    """Does what is left of a plan; another call after an interruption resumes.

    Args:
        plan: What has to be done.
        jobs: How many files are downloaded and unpacked at a time.
        watcher: Is notified of progress.
        keep_archives: Whether downloaded archives stay after they are unpacked.

    Returns:
        What went wrong, a line per file.

    Raises:
        DataError: Another download is running in this data directory.
    """
    with plan.folder.locked(), make_client() as client:
        work = _Work(plan, Transfers(client), watcher, keep_archives)
        faults = work.run([s for s in plan.steps if s.file.only_for], jobs)
        if not faults:
            faults = work.run([s for s in plan.steps if not s.file.only_for], jobs)
    return faults


@dataclass
class _Work:
    plan: Plan
    shared: Transfers
    watcher: Watcher
    keep_archives: bool
    classes: dict[str, Folders] = field(default_factory=dict)
    placing: threading.Lock = field(default_factory=threading.Lock)

    def run(self, steps: list[Step], jobs: int) -> list[str]:
        """Does some steps at a time; returns what went wrong."""
        faults = []
        with ThreadPoolExecutor(jobs, thread_name_prefix="download") as pool:
            futures = [pool.submit(self._do, step) for step in steps if not step.done]
            try:
                for future in as_completed(futures):
                    if fault := future.result():
                        faults.append(fault)
            except BaseException:
                self.shared.stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return sorted(faults)

    def _do(self, step: Step) -> str:
        """Does a step; returns what went wrong."""
        try:
            archive = self._get(step)
            if step.file.unpack is not None:
                self.watcher.unpacking(step.file)
                self._unpack(step, archive)
            self.watcher.finished(step.file)
        except DataError as error:
            return str(error)
        except OSError as error:
            return f"{step.file.name}: {error.strerror or error} ({error.filename or 'disk'})"
        except StoppedError:
            return f"{step.file.name}: interrupted"
        return ""

    def _get(self, step: Step) -> Path:
        """The file, given or downloaded, complete and verified."""
        file, folder = step.file, self.plan.folder
        target = folder.target(file)
        if step.given is not None:
            _check_given(step.given, file)
            folder.write_record(file, given=str(step.given), bytes=step.given.stat().st_size)
            if file.unpack is None and file.only_for is None:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(step.given, target)
            return step.given
        if target.is_file():  # complete, but not recorded as such by this version
            _check_given(target, file)
            folder.write_record(file, bytes=target.stat().st_size)
            return target
        assert step.url is not None
        paths = (folder.part(file), target)
        record = fetch(
            self.shared, file, step.url, paths, lambda done: self.watcher.transferred(file, done)
        )
        folder.write_record(file, **record)
        return target

    def _unpack(self, step: Step, archive: Path) -> None:
        """Unpacks an archive aside, and then puts its files in place."""
        file, folder = step.file, self.plan.folder
        assert file.unpack is not None
        staging = folder.staging(file)
        shutil.rmtree(staging, ignore_errors=True)
        try:
            classes = self._classes(file.unpack.classes_from)
            unpack(archive, file.unpack, staging, classes, self._tick)
            outputs = _outputs(staging)
            with self.placing:
                _settle(staging, folder.path)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        folder.write_record(file, unpacked=outputs)
        if step.given is None and not self.keep_archives:
            archive.unlink()

    def _tick(self) -> None:
        if self.shared.stopped.is_set():
            raise StoppedError

    def _classes(self, name: str | None) -> Folders | None:
        """The folders of images that the file of this name gives."""
        if name is None:
            return None
        with self.placing:
            if name not in self.classes:
                step = next(step for step in self.plan.steps if step.file.name == name)
                path = step.given or self.plan.folder.target(step.file)
                self.classes[name] = ground_truth(path)
            return self.classes[name]


def _check_given(path: Path, file: File) -> None:
    """Raises DataError if a file that a person downloaded is incomplete or another one."""
    size = path.stat().st_size
    if file.bytes is not None and size != file.bytes:
        raise DataError(
            f"{path}: has {size:,} bytes, {file.bytes:,} were expected; remove it, or download it "
            "again"
        )
    for kind, wanted in (("sha256", file.sha256), ("md5", None if file.sha256 else file.md5)):
        if wanted is not None:
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, kind).hexdigest()
            if found != wanted:
                raise DataError(
                    f"{path}: has the {kind} {found}, not {wanted}; remove it, or download it again"
                )


def _outputs(staging: Path) -> list[str]:
    """What an archive became, relative to the data directory: its files, or their folders."""
    files = [path.relative_to(staging) for path in staging.rglob("*") if path.is_file()]
    if len(files) > _MOST_NAMED:
        files = list({path.parent for path in files})
    return sorted(path.as_posix() for path in files)


def _settle(source: Path, target: Path) -> None:
    """Moves all files of a folder into another one; overwrites nothing.

    Raises:
        DataError: Another file of that name is there.
    """
    for path in sorted(source.iterdir()):
        place = target / path.name
        if not place.exists() and not place.is_symlink():
            path.rename(place)
        elif path.is_dir() and place.is_dir() and not place.is_symlink():
            _settle(path, place)
        elif path.is_dir() or not place.is_file() or not filecmp.cmp(path, place, shallow=False):
            raise DataError(f"{place}: is there already and differs; move it away and try again")
