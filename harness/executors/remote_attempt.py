"""An attempt that runs on the cluster, as its driver sees it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.executors.process import HANG_TIMEOUT
from harness.system import timers
from harness.trial.messages import Loaded, Message, Printed
from scoring.records import TrialSpec

if TYPE_CHECKING:  # which imports ray
    from harness.executors.team import Team


class AttemptState(enum.Enum):
    """The state of an attempt after a message."""

    RUNNING = enum.auto()
    DONE = enum.auto()
    RETRY = enum.auto()  # its process was lost, the trial waits again


@dataclass(slots=True)
class RemoteAttempt:
    """A running attempt: its processes, its trial, and the time of its last sign of life."""

    team: Team
    spec: TrialSpec
    deadline: float
    started: bool = False
    loaded: bool = False  # whether workload and submission are imported
    last_seen: float = 0.0

    def received(self, message: Message) -> None:
        """Notes a message; one that only holds printed text may come from a trial that hangs."""
        self.loaded = self.loaded or isinstance(message, Loaded)
        if not isinstance(message, Printed):
            self.last_seen = timers.monotonic()

    def hangs(self, timeout: float) -> str:
        """Returns why an attempt must be stopped as hanging; "" if it must not."""
        silent = timers.monotonic() - self.last_seen if self.started else 0.0
        if not self.loaded:
            late = silent > max(HANG_TIMEOUT, timeout)
            return f"its imports did not finish within {silent:.0f} s" if late else ""
        if silent <= timeout:
            return ""
        return f"no step and no evaluation for {timeout:g} s (--hang-timeout)"
