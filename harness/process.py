"""What runs in the process of one attempt on a cluster: the trial, and its events to the driver.

Imports no torch: the process sets its threads and devices first.
"""

from __future__ import annotations

import os
import queue
import shutil
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.attempt import (
    Attempt,
    Event,
    LoadWorkload,
    prepare_process,
    run_attempt,
    time_steps,
)
from scoring.records import TrialSpec

BEAT_SECONDS = 5.0  # between signs of life


class TrialProcess:
    """The actor of one attempt. Ray gives it a process that nothing has run in before."""

    def __init__(self) -> None:
        self._control = Attempt()

    def run(
        self, load_workload: LoadWorkload, spec: TrialSpec, checkpoints: Path, deadline: float
    ) -> Iterator[Event]:
        """Streams the attempt's events, and a ("beat", steps) while there is nothing else to tell.

        Training runs in a thread of its own and goes on from an event once the driver has taken
        it: what happens to this process afterwards can lose no row. A process that the driver has
        given up is listened to no more, so it stops at its next event and saves no checkpoint.
        """
        prepare_process(spec)
        events: queue.Queue[Event] = queue.Queue()

        def send(kind: str, payload: Any) -> None:
            events.put((kind, payload))
            events.join()

        self._control = control = Attempt(send, checkpoints)
        control.deadline = deadline

        def train() -> None:
            try:
                events.put(("ended", run_attempt(load_workload, spec, control)))
            except BaseException:  # noqa: BLE001 - a thread's exception would vanish
                events.put(("broken", traceback.format_exc()))

        yield ("started", {"host": os.uname().nodename, "pid": os.getpid()})
        threading.Thread(target=train, daemon=True).start()
        kind, steps = "", -1
        while kind not in ("ended", "broken"):
            try:
                kind, payload = events.get(timeout=BEAT_SECONDS)
            except queue.Empty:
                if steps != control.steps:
                    steps = control.steps
                    yield ("beat", steps)
                continue
            yield (kind, payload)
            events.task_done()

    def set_deadline(self, deadline: float) -> None:
        """Past this second of its clock the trial matters no more."""
        self._control.deadline = deadline

    def forget(self, checkpoints: Path) -> None:
        """Removes the checkpoints of a trial whose end is on record."""
        shutil.rmtree(checkpoints, ignore_errors=True)

    def time_steps(self, load_workload: LoadWorkload, spec: TrialSpec) -> tuple[str, float]:
        """As `harness.attempt.time_steps`."""
        return time_steps(load_workload, spec)
