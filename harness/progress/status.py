"""Reads the status of a sweep from its plan and its ledger, in the driver or any other process.

Hours are trial hours on the submission clock; times are seconds since the epoch.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.sweep import ledger
from harness.sweep.events import (
    AttemptEnded,
    AttemptLost,
    AttemptResumed,
    AttemptStarted,
    DriverStarted,
    Evaluated,
    Pruned,
    StudiesChosen,
    TrialEvent,
)
from harness.system import timers
from scoring.escaping import first_line
from scoring.experiment import Experiment
from scoring.plain import to_plain
from scoring.records import EvalRow, Failure, RecordError, Status, TrialResult
from scoring.tree import DAMAGED_LEDGERS, LEDGER_FILE, TRIAL_FILE, read_ending, trial_folder

NOT_STARTED, UNDER_WAY = "not started", "under way"
_KINDS = (
    DriverStarted, AttemptStarted, AttemptResumed, AttemptLost, AttemptEnded, Pruned, Evaluated,
    StudiesChosen,
)  # fmt: skip


@dataclass(slots=True)
class TrialState:
    """The state of a trial according to the ledger."""

    submission: str
    workload: str
    state: str = NOT_STARTED  # or UNDER_WAY, if it has no end yet; or a Status
    done: bool = False  # whether its driver will not run it again
    failure: str | None = None  # the Failure of a failed trial
    message: str = ""  # the error of a failed trial
    last_seen: float = 0.0  # time of its latest start or evaluation
    row: EvalRow | None = None  # the latest evaluation
    seconds: float = 0.0  # of its latest attempt, on the submission clock


def group_failures(failed: Iterable[tuple[str, str | None, str]]) -> list[str]:
    """Returns one line per distinct failure, in the order of their first trials.

    Args:
        failed: Key, failure and message of each failed trial.
    """
    trials: defaultdict[tuple[str | None, str], list[str]] = defaultdict(list)
    for key, failure, message in failed:
        trials[failure, message].append(key)
    return [
        (f"x{len(keys)}: {keys[0]} and {len(keys) - 1} more" if keys[1:] else keys[0])
        + f" ({failure}): {message}"
        for (failure, message), keys in trials.items()
    ]


def read_status(out: Path) -> SweepStatus:
    """Reads the status of a results tree; its `refresh` reads later events.

    Raises:
        RecordError: `out` is not a results tree.
        LedgerError: The ledger cannot be read.
    """
    status = SweepStatus(out)
    status.refresh()
    status.add_folders()
    return status


class SweepStatus:
    """The trials of a sweep, the hours they took, and an estimate of the time left.

    Args:
        out: Results tree.

    Attributes:
        experiment: Plan.
        trials: All trials by key.
        alive: Whether a driver is running.
        driver: The latest driver; None if none has started.
        driver_since: Time at which it started.
        hours_spent: Hours of all attempts, including lost ones.
    """

    def __init__(self, out: Path) -> None:
        self.experiment = Experiment.read(out)
        self.trials = {
            spec.key: TrialState(spec.submission, spec.workload) for spec in self.experiment.specs()
        }
        self.alive = False
        self.driver: DriverStarted | None = None
        self.driver_since = 0.0
        self.hours_spent = 0.0
        self._out, self._ledger = out, ledger.Reader(out)
        self._running: dict[str, TrialState] = {}  # started by the latest driver, without an end
        self._slots = 0  # number of running trials when the latest one started
        self._failed: dict[str, TrialState] = {}  # in the order of their ends
        self._took: defaultdict[str, list[float]] = defaultdict(list)  # wall seconds by workload

    def refresh(self) -> None:
        """Reads the events since the last call."""
        self.alive = ledger.is_held(self._out)  # first, so that a driver's last events are read
        for entry in self._ledger.new_events(kinds=_KINDS, latest=(Evaluated,)):
            match entry.event:
                case DriverStarted() as started:
                    self._begin(started)
                    self.driver_since = entry.time
                case StudiesChosen(added=added):
                    self._add(added)
                case TrialEvent() as event:
                    self._take(event, entry.time)

    def add_folders(self) -> None:
        """Adds trials that have ended according to their folder only, as the ledger is damaged."""
        for spec in self.experiment.specs():
            trial, folder = self.trials[spec.key], trial_folder(self._out, spec)
            if trial.state == NOT_STARTED and (folder / TRIAL_FILE).is_file():
                with suppress(RecordError):
                    self._end(spec.key, trial, read_ending(folder)[1])

    def _begin(self, driver: DriverStarted) -> None:
        """Handles a new driver: earlier attempts have stopped, and lost trials will run again."""
        self.driver = driver
        self._running.clear()
        for trial in self._failed.values():
            trial.done = trial.failure != Failure.WORKER_LOST

    def _add(self, studies: Sequence[Sequence[Any]]) -> None:
        """Adds the trials of studies that `--studies auto` added after the plan was read."""
        for submission, workload, study in studies:
            for trial in range(1, self.experiment.trials_per_study + 1):
                key = f"{submission}/study_{study}/{workload}/trial_{trial}"
                self.trials.setdefault(key, TrialState(submission, workload))

    def _take(self, event: TrialEvent, time: float) -> None:
        name = event.trial
        if name not in self.trials:  # of an earlier plan, if `chronograd run` used the tree twice
            submission, _, workload, _ = name.rsplit("/", 3)
            self.trials[name] = TrialState(submission, workload)
        trial = self.trials[name]
        match event:
            case AttemptStarted():
                trial.state, trial.done, trial.failure = UNDER_WAY, False, None
                trial.last_seen, trial.row, trial.seconds = time, None, 0.0
                self._failed.pop(name, None)
                self._running[name] = trial
                self._slots = len(self._running)
            case Pruned():  # before it started
                trial.state, trial.done, trial.seconds = Status.PRUNED, True, 0.0
            case AttemptResumed(submission_seconds=seconds):
                trial.seconds = seconds
            case Evaluated(row=row):
                trial.last_seen, trial.row = time, row
                self._spend(trial, row.submission_seconds)
            case AttemptLost():
                self._running.pop(name, None)
            case AttemptEnded(result=result):
                self._running.pop(name, None)
                self._end(name, trial, result)

    def _end(self, name: str, trial: TrialState, result: TrialResult) -> None:
        trial.state = result.status
        trial.done = trial.state != Status.INTERRUPTED
        self._spend(trial, result.submission_seconds)
        if trial.state == Status.FAILED:
            trial.failure, trial.message = result.failure, first_line(result.message)
            self._failed[name] = trial
        elif trial.done:
            self._took[trial.workload].append(result.total_seconds)

    def _spend(self, trial: TrialState, seconds: float) -> None:
        self.hours_spent += (seconds - trial.seconds) / 3600
        trial.seconds = seconds

    @property
    def counts(self) -> dict[str, int]:
        """Number of trials by state, in a fixed order; always includes NOT_STARTED."""
        states = Counter(trial.state for trial in self.trials.values())
        ordered = {str(name): states[name] for name in (UNDER_WAY, *Status) if states[name]}
        return ordered | {NOT_STARTED: states[NOT_STARTED]}

    @property
    def running(self) -> dict[str, TrialState]:
        """The running trials; none if no driver is running."""
        return dict(self._running) if self.alive else {}

    @property
    def failures(self) -> Sequence[str]:
        """One line per failed trial."""
        return [f"{name} ({t.failure}): {t.message}" for name, t in self._failed.items()]

    @property
    def distinct_failures(self) -> Sequence[str]:
        """One line per distinct failure."""
        return group_failures((name, t.failure, t.message) for name, t in self._failed.items())

    @property
    def notices(self) -> Sequence[str]:
        """One line per damaged ledger, including those set aside."""
        lines = []
        if wrong := self._ledger.describe():
            lines.append(
                f"{LEDGER_FILE} is damaged ({wrong}): `chronograd resume` sets it aside "
                "and continues with the valid events and the trials' folders"
            )
        for path in sorted(self._out.glob(DAMAGED_LEDGERS)):
            lines.append(
                f"{path.name} is a damaged ledger that was set aside: its valid events and the "
                "trials' folders are used"
            )
        return lines

    @property
    def hours_saved_at_most(self) -> float:
        """The rest of the budgets of pruned trials, which they might not have used up."""
        stopped = (Status.PRUNED, Status.PREDICTED)
        pruned = [trial for trial in self.trials.values() if trial.state in stopped]
        return sum(max(0.0, self.budget(t.workload) - t.seconds) for t in pruned) / 3600

    def budget(self, workload: str) -> float:
        """Returns the budget of a trial on a workload, in seconds of the submission clock."""
        factor = self.experiment.ruleset.budget_factor(self.experiment.tuning)
        return self.experiment.workloads[workload].budget_seconds * factor

    def seconds_left(self) -> float | None:
        """Estimates the wall seconds until all trials are done.

        The expected duration of a trial is the mean over those trials of its workload that took
        longer than it has run so far; if there are none, it is the rest of the budget. The number
        of slots is the number of running trials when the latest one started; waiting trials follow
        in the order of the plan.

        Returns:
            None if no trial has ended yet, or none is running.
        """
        if not self.running or not self._took:
            return None
        now = timers.time()
        ends = [0.0] * (self._slots - len(self._running))
        for trial in self._running.values():
            used = 0.0 if trial.row is None else trial.row.total_seconds
            silent = max(0.0, now - trial.last_seen)
            ends.append(self._expected(trial.workload, used + silent, trial.seconds + silent))
        heapq.heapify(ends)
        fresh = {name: self._expected(name, 0.0, 0.0) for name in self.experiment.workloads}
        for name, trial in self.trials.items():
            if not trial.done and name not in self._running:
                heapq.heappush(ends, heapq.heappop(ends) + fresh[trial.workload])
        return max(ends)

    def _expected(self, workload: str, used: float, charged: float) -> float:
        """Returns the wall seconds a trial still needs after `used`, `charged` on its clock."""
        longer = [seconds for seconds in self._took[workload] if seconds > used]
        if longer:
            return sum(longer) / len(longer) - used
        return max(0.0, self.budget(workload) - charged)

    def to_plain(self) -> dict[str, Any]:
        """Returns the output of `chronograd status --json`."""
        return {
            "counts": self.counts,
            "hours_spent": self.hours_spent,
            "failures": list(self.failures),
            "notices": list(self.notices),
            "gpus_per_trial": self.experiment.options.gpus_per_trial,
            "hours_saved_at_most": self.hours_saved_at_most,
            "seconds_left": self.seconds_left(),
            "driver": {"alive": self.alive}
            | ({"host": driver.host, "pid": driver.pid} if (driver := self.driver) else {}),
            "running": [
                {"trial": name, "heard": trial.last_seen, "row": to_plain(trial.row)}
                for name, trial in self.running.items()
            ],
        }
