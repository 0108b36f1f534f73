"""Writes a sweep's evaluations to experiment trackers, from the driver: `--track NAME`.

Each works in a thread of its own, behind a bounded queue, and can harm nothing: what it raises
switches it off, and while it hangs, what the queue cannot hold is dropped; both with one warning.
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

MOST_WAITING = 10_000  # events: days of evaluations
LAST_SECONDS = 60.0  # that a tracker has for the rest when the sweep is over
PACKAGES = {  # of each: modules, and what pip calls them
    "tensorboard": {"tensorboard": "tensorboard"},
    "mlflow": {"mlflow": "mlflow-skinny", "sqlalchemy": "sqlalchemy", "alembic": "alembic"},
    "wandb": {"wandb": "wandb"},
}


def require(names: Sequence[str]) -> None:
    """Raises UserError where the package of a tracker is missing, with the command that helps."""
    for name in names:
        found = {module: find_spec(module) for module in PACKAGES[name]}
        # a mere folder of that name, as wandb makes, has no origin
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
    """`callback`, joined by the trackers of these names, which are closed in the end.

    Args:
        callback: Whose calls come first.
        names: Of TRACKERS.
        out: The results tree.
        warn: Receives warnings, each a line; called by another thread.
        patience: Seconds to wait for a tracker at every event, after which it is switched off.
            Where trials run in this very process their clocks stand still meanwhile, and no
            tracker works beside a timed step.
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
    """A callback that hands on to a tracker in a thread of its own.

    Args:
        name: Of the tracker, for warnings.
        make: Makes it, in that thread, when the first trial begins.
        warn: Receives warnings.
        patience: As `tracking` has it.
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
        self._queue = queue.Queue(MOST_WAITING)
        self._begun: set[str] = set()  # trials
        self._off = self._dropped = False
        threading.Thread(target=self._work, name=f"track {name}", daemon=True).start()

    def on_sweep_start(self, experiment: Experiment, out: Path, left: Sequence[TrialSpec]) -> None:
        """Nothing to write yet."""

    def on_trial_start(self, spec: TrialSpec) -> None:
        """An attempt begins."""
        self._begun.add(spec.key)
        self._hand_on(self._patience, "begin", spec)

    def on_evaluation(self, spec: TrialSpec, row: EvalRow) -> None:
        """One evaluation."""
        self._hand_on(self._patience, "write", spec, row)

    def on_trial_end(self, spec: TrialSpec, result: TrialResult) -> None:
        """A trial's end, unless it was pruned before it began."""
        if spec.key in self._begun:
            self._hand_on(self._patience, "end", spec, result)

    def on_message(self, spec: TrialSpec | None, message: str) -> None:
        """Nothing to write."""

    def close(self) -> None:
        """Waits for the rest, but not for ever."""
        self._hand_on(LAST_SECONDS, "close")

    def _hand_on(self, patience: float, method: str, *arguments: Any) -> None:
        """Queues a call; with patience, waits for it, and switches off what takes longer."""
        if self._off:
            return
        done = threading.Event()
        try:
            self._queue.put((method, arguments, done), timeout=patience or None, block=patience > 0)
        except queue.Full:
            if not self._dropped:
                self._dropped = True
                self._say("hangs or is too slow; what it cannot take is left out")
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
            except BaseException as error:  # noqa: BLE001 - whatever a tracker raises
                self._switch_off(f"failed ({error_message(error)})")
            finally:
                done.set()

    def _switch_off(self, why: str) -> None:
        if not self._off:
            self._off = True
            self._say(f"{why} and is switched off")

    def _say(self, what: str) -> None:
        self._warn(f"warning: --track {self._name} {what}")
