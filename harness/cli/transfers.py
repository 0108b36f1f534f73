"""Shows the progress of a download: bars on a terminal, a line per file in a log."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.cli.options import console, say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from harness.commands.datasets.download import Watcher
    from harness.commands.datasets.plan import Plan
    from harness.commands.datasets.source import File


class _Bars:
    """One bar for all files, and one for each that is downloaded or unpacked."""

    def __init__(self, bars: Progress, plan: Plan) -> None:
        self._bars, self._lock = bars, threading.Lock()
        self._done = {step.file.name: step.there for step in plan.steps if not step.done}
        total = plan.transfer_bytes + sum(self._done.values())
        self._all = bars.add_task("all files", total=total, completed=sum(self._done.values()))
        self._tasks: dict[str, TaskID] = {}

    def transferred(self, file: File, done: int) -> None:
        """Moves the bars of a file and of all."""
        with self._lock:
            self._done[file.name] = done
            self._bars.update(self._task(file), completed=done)
            self._bars.update(self._all, completed=sum(self._done.values()))

    def unpacking(self, file: File) -> None:
        """Says that an archive is unpacked."""
        with self._lock:
            self._bars.update(self._task(file), description=f"unpacking {file.name}", total=None)

    def finished(self, file: File) -> None:
        """Removes the bar of a file and prints a line."""
        with self._lock:
            task = self._tasks.pop(file.name, None)
            if task is not None:
                self._bars.remove_task(task)
        say(f"{file.name}: complete")

    def _task(self, file: File) -> TaskID:
        if file.name not in self._tasks:
            self._tasks[file.name] = self._bars.add_task(file.name, total=file.size)
        return self._tasks[file.name]


@contextmanager
def transferring(plan: Plan) -> Iterator[Watcher]:
    """Shows progress, speed and the time left while files are downloaded."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    speed = (TransferSpeedColumn(), TimeRemainingColumn())
    off = not console.is_terminal
    with Progress(*columns, *speed, console=console, transient=True, disable=off) as bars:
        yield _Bars(bars, plan)
