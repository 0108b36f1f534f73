"""Writes a sweep's evaluations to experiment trackers, from the driver: `--track NAME`.

Each tracker runs in a separate thread behind a bounded queue and cannot affect the sweep: an error
switches it off, and calls that do not fit in the queue are dropped, each with a single warning.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.progress.trackers import TRACKERS, Tracker
from harness.sweep.callback import CallbackList, SweepCallback
from scoring.escaping import error_message
from scoring.experiment import Experiment
from scoring.records import EvalRow, TrialResult, TrialSpec, UserError

MAX_QUEUED = 10_000  # calls: days of evaluations
CLOSE_SECONDS = 60.0  # for a tracker to finish when the sweep is over
PACKAGES = {  # by tracker: modules and their names on PyPI
    "tensorboard": {"tensorboard": "tensorboard"},
    "mlflow": {"mlflow": "mlflow-skinny", "sqlalchemy": "sqlalchemy", "alembic": "alembic"},
    "wandb": {"wandb": "wandb"},
}


def require(names: Sequence[str]) -> None:
    """Raises UserError if a package of a tracker is missing, with the command to install it."""
    for name in names:
        found = {module: find_spec(module) for module in PACKAGES[name]}
        # a plain folder with that name, as wandb creates one, has no origin
        missing = [m for m, spec in found.items() if spec is None or spec.origin is None]
        if missing:
            command = f"pip install {' '.join(PACKAGES[name].values())}"
            raise UserError(f"--track {name}: {', '.join(missing)} is not installed; {command}")


@contextmanager
def tracking(
    callback: SweepCallback,
    names: Sequence[str] | None,
    out: Path,
    warn: Callable[[str], None],
    patience: float = 0.0,
) -> Iterator[SweepCallback]:
    """Adds trackers to a callback; closes them at the end.

    Args:
        callback: Callback that is called first.
        names: Names in TRACKERS.
        out: Results tree.
        warn: Receives warnings of one line each; called by other threads.
        patience: Seconds to wait for a tracker at every event before it is switched off. Use it if
            trials run on this machine: their clock is paused during events, so that no tracker
            competes with a timed step.
    """
    trackers = [
        BackgroundTracker(name, partial(TRACKERS[name], out), warn, patience)
        for name in dict.fromkeys(names or [])
    ]
    try:
        yield CallbackList([callback, *trackers])
    finally:
        for tracker in trackers:
            tracker.close()


class BackgroundTracker:
    """A callback that runs a tracker in a separate thread.

    Args:
        name: Name of the tracker, for warnings.
        make: Creates the tracker, in its thread, when the first trial starts.
        warn: Receives warnings.
        patience: As in `tracking`.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Tracker],
        warn: Callable[[str], None],
        patience: float = 0.0,
    ) -> None:
        self._name, self._make, self._warn, self._patience = name, make, warn, patience
        self._queue: queue.Queue[tuple[str, tuple[Any, ...], threading.Event]]
        self._queue = queue.Queue(MAX_QUEUED)
        self._started: set[str] = set()  # trials
        self._off = self._dropped = False
        threading.Thread(target=self._work, name=f"track {name}", daemon=True).start()

    def on_sweep_start(self, experiment: Experiment, out: Path, left: Sequence[TrialSpec]) -> None:
        """Writes nothing."""

    def on_trial_start(self, spec: TrialSpec) -> None:
        """Queues the start of an attempt."""
        self._started.add(spec.key)
        self._enqueue(self._patience, "begin", spec)

    def on_evaluation(self, spec: TrialSpec, row: EvalRow) -> None:
        """Queues an evaluation."""
        self._enqueue(self._patience, "write", spec, row)

    def on_trial_end(self, spec: TrialSpec, result: TrialResult) -> None:
        """Queues the end of a trial, unless it was pruned before it started."""
        if spec.key in self._started:
            self._enqueue(self._patience, "end", spec, result)

    def on_message(self, spec: TrialSpec | None, message: str) -> None:
        """Writes nothing."""

    def close(self) -> None:
        """Waits for the remaining calls, up to CLOSE_SECONDS."""
        self._enqueue(CLOSE_SECONDS, "close")

    def _enqueue(self, patience: float, method: str, *arguments: Any) -> None:
        """Queues a call; if `patience` is positive, waits for it or switches the tracker off."""
        if self._off:
            return
        done = threading.Event()
        try:
            self._queue.put((method, arguments, done), timeout=patience or None, block=patience > 0)
        except queue.Full:
            if not self._dropped:
                self._dropped = True
                self._warn_of("hangs or is too slow; some evaluations are dropped")
            return
        if patience and not done.wait(patience):
            self._switch_off(f"took longer than {patience:g} s")

    def _work(self) -> None:
        """Calls the tracker until it is closed; after a failure, only empties the queue."""
        tracker: Tracker | None = None
        method = ""
        while method != "close":
            method, arguments, done = self._queue.get()
            try:
                if not self._off and (tracker or method != "close"):
                    tracker = tracker or self._make()
                    getattr(tracker, method)(*arguments)
            except BaseException as error:  # noqa: BLE001 - a tracker may raise anything
                self._switch_off(f"failed ({error_message(error)})")
            finally:
                done.set()

    def _switch_off(self, why: str) -> None:
        if not self._off:
            self._off = True
            self._warn_of(f"{why} and is switched off")

    def _warn_of(self, what: str) -> None:
        self._warn(f"warning: --track {self._name} {what}")
