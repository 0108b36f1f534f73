"""How a sweep stands, read from its plan and its ledger, by its driver and by anybody else.

Hours are those of trials, on the submission clock; times of day are seconds since the epoch.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence
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
)  # fmt: skip


@dataclass(slots=True)
class TrialState:
    """A trial as the ledger has it."""

    submission: str
    workload: str
    state: str = NOT_STARTED  # or UNDER_WAY: running or cut off; or a Status
    done: bool = False  # its driver will not run it again
    failure: str | None = None  # the class of a failed one
    message: str = ""  # what went wrong
    last_seen: float = 0.0  # time of day when its attempt began or was evaluated last
    row: EvalRow | None = None  # its latest evaluation
    seconds: float = 0.0  # of its attempt, on the submission clock


def read_status(out: Path) -> SweepStatus:
    """Reads OUT as it is now; its `refresh` reads what comes later.

    Raises:
        RecordError: It is no results tree.
        LedgerError: Its ledger cannot be read.
    """
    status = SweepStatus(out)
    status.refresh()
    status.add_folders()
    return status


class SweepStatus:
    """A sweep's trials, the hours they took, and how long the others may take.

    Args:
        out: The results tree.

    Attributes:
        experiment: The plan.
        trials: Every trial by name.
        alive: Whether a driver is at work.
        driver: The latest one; None where none has started.
        driver_since: Time of day when it started.
        hours_spent: By all attempts, the lost ones included.
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
        self._running: dict[str, TrialState] = {}  # attempts of the latest driver without an end
        self._slots = 0  # how many ran when the latest one began
        self._failed: dict[str, TrialState] = {}  # in order of their ends
        self._took: defaultdict[str, list[float]] = defaultdict(list)  # wall seconds by workload

    def refresh(self) -> None:
        """Reads what the ledger has got since the last time."""
        self.alive = ledger.is_held(self._out)  # first: what a driver wrote last is then read too
        for entry in self._ledger.new_events(kinds=_KINDS, latest=(Evaluated,)):
            match entry.event:
                case DriverStarted() as started:
                    self._begin(started)
                    self.driver_since = entry.time
                case TrialEvent() as event:
                    self._take(event, entry.time)

    def add_folders(self) -> None:
        """Adds the trials whose folder has an end that the ledger lacks: it may be damaged."""
        for spec in self.experiment.specs():
            trial, folder = self.trials[spec.key], trial_folder(self._out, spec)
            if trial.state == NOT_STARTED and (folder / TRIAL_FILE).is_file():
                with suppress(RecordError):
                    self._end(spec.key, trial, read_ending(folder)[1])

    def _begin(self, driver: DriverStarted) -> None:
        """A driver began: what ran is cut off, and what lost its machine runs again."""
        self.driver = driver
        self._running.clear()
        for trial in self._failed.values():
            trial.done = trial.failure != Failure.WORKER_LOST

    def _take(self, event: TrialEvent, time: float) -> None:
        name = event.trial
        if name not in self.trials:  # of an earlier plan: `chronograd run` twice into one tree
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
            case Pruned():  # before it began
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
        """Trials by state, in a fixed order; what has none is left out, but for the last."""
        states = Counter(trial.state for trial in self.trials.values())
        ordered = {str(name): states[name] for name in (UNDER_WAY, *Status) if states[name]}
        return ordered | {NOT_STARTED: states[NOT_STARTED]}

    @property
    def running(self) -> dict[str, TrialState]:
        """The trials that run at this moment: none where no driver is at work."""
        return dict(self._running) if self.alive else {}

    @property
    def failures(self) -> Sequence[str]:
        """A line for every failed trial."""
        return [f"{name} ({t.failure}): {t.message}" for name, t in self._failed.items()]

    @property
    def notices(self) -> Sequence[str]:
        """A line for every part of the ledger that is damaged, or was and is set aside."""
        lines = []
        if wrong := self._ledger.describe():
            lines.append(
                f"{LEDGER_FILE} is damaged ({wrong}): `chronograd resume` sets it aside "
                "and continues with its other events and the trials' folders"
            )
        for path in sorted(self._out.glob(DAMAGED_LEDGERS)):
            lines.append(
                f"{path.name} is a damaged ledger that was set aside: its valid events and the "
                "trials' folders are used"
            )
        return lines

    @property
    def hours_saved_at_most(self) -> float:
        """What pruned trials could still have used of their budgets; they might have used less."""
        stopped = (Status.PRUNED, Status.PREDICTED)
        pruned = [trial for trial in self.trials.values() if trial.state in stopped]
        return sum(max(0.0, self.budget(t.workload) - t.seconds) for t in pruned) / 3600

    def budget(self, workload: str) -> float:
        """Seconds of the submission clock that a trial has."""
        factor = self.experiment.ruleset.budget_factor(self.experiment.tuning)
        return self.experiment.workloads[workload].budget_seconds * factor

    def seconds_left(self) -> float | None:
        """Estimates wall seconds until all is done; None where nothing ended yet, or nothing runs.

        A trial is expected to take as long as those of its workload that took longer than it has
        run already, on the average, or else the rest of its budget. As many run at once as when
        the latest one began; waiting ones follow in the order of the plan.
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
        """Wall seconds that a trial still needs after `used`, `charged` of them on its clock."""
        longer = [seconds for seconds in self._took[workload] if seconds > used]
        if longer:
            return sum(longer) / len(longer) - used
        return max(0.0, self.budget(workload) - charged)

    def to_plain(self) -> dict[str, Any]:
        """For --json."""
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
