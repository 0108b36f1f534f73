"""An attempt that runs on the cluster, and what becomes of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.executors.process import HANG_TIMEOUT
from harness.system import timers
from scoring.records import TrialSpec

if TYPE_CHECKING:  # which imports ray
    from harness.executors.team import Team


class Outcome(enum.Enum):
    """What becomes of an attempt after a message."""

    RUNS = enum.auto()
    DONE = enum.auto()
    AGAIN = enum.auto()  # its process was lost


@dataclass(slots=True)
class Running:
    """An attempt under way: its processes, its trial, and when its last message came."""

    team: Team
    spec: TrialSpec
    deadline: float
    began: bool = False
    loaded: bool = False  # workload and submission are imported
    last_seen: float = 0.0

    def hangs(self, timeout: float) -> str:
        """Why an attempt is to be ended, "" where it is not."""
        silent = timers.monotonic() - self.last_seen if self.began else 0.0
        if not self.loaded:
            late = silent > max(HANG_TIMEOUT, timeout)
            return f"its imports did not end within {silent:.0f} s" if late else ""
        if silent <= timeout:
            return ""
        return f"no step and no evaluation for {timeout:g} s (--hang-timeout)"
