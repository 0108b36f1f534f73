"""The submission clock: seconds that count against a submission. Pausable, injectable.

It runs from pause to pause. On a GPU, work is queued ahead of the CPU, so a reading is exact only
after the device was synchronised. That is done where the clock pauses and, between pauses, at
bisection points towards the limit: after half of the steps that should still fit. A loop of n steps
is thus synchronised O(log n) times, and no limit is overshot by more than one step as long as no
stretch of steps becomes twice as slow as the one before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from harness.system import timers


class Clock(Protocol):
    """What the trial loop needs of a clock."""

    seconds: float  # the submission clock, exact while paused
    cpu_seconds: float  # CPU time of the process over the same stretches
    work: float  # training work so far, in the units of `harness.trial.work`

    def now(self) -> float:
        """Seconds on an arbitrary scale that never pauses, for everything that is not charged."""

    def resume(self) -> None:
        """Starts charging."""

    def pause(self) -> None:
        """Stops charging, after the device has finished what it was given; idempotent."""

    def add_work(self, work: float) -> None:
        """Adds training work that was done outside of steps."""

    def step(self, limit: float, work: float = 1.0) -> float:
        """Called after every step, with its training work: the seconds charged so far.

        Exact where a further step could pass `limit`, else without waiting for the device.
        """

    def go_on_from(self, work: float, seconds: float, cpu_seconds: float) -> None:
        """Sets a clock that has not run to where a checkpoint was made."""


class WallClock:
    """Measured seconds.

    Args:
        synchronise: Waits until the device is idle; a no-op on a CPU.
        now: The wall clock, in seconds.
        cpu_now: The CPU clock of the process, in seconds.
    """

    def __init__(
        self,
        synchronise: Callable[[], object] = lambda: None,
        now: Callable[[], float] = timers.perf_counter,
        cpu_now: Callable[[], float] = timers.process_time,
    ) -> None:
        self.seconds = self.cpu_seconds = self.work = 0.0
        self.now = now
        self._cpu_now = cpu_now
        self._synchronise = synchronise
        self._running = False
        self._resumed_at = self._cpu_resumed_at = 0.0
        self._steps = self._steps_at_sync = self._next_sync = 0
        self._seconds_at_sync = 0.0

    def resume(self) -> None:
        """Starts charging."""
        self._synchronise()
        self._running = True
        self._cpu_resumed_at = self._cpu_now()
        self._resumed_at = self.now()

    def pause(self) -> None:
        """Stops charging, after the device has finished what it was given; idempotent."""
        if not self._running:
            return
        self._synchronise()
        self._running = False
        self.seconds += self.now() - self._resumed_at
        self.cpu_seconds += self._cpu_now() - self._cpu_resumed_at

    def add_work(self, work: float) -> None:
        """Adds training work that was done outside of steps."""
        self.work += work

    def step(self, limit: float, work: float = 1.0) -> float:
        """Called after every step, with its training work: the seconds charged so far."""
        self.work += work
        self._steps += 1
        if self._steps < self._next_sync:
            return self.seconds + self.now() - self._resumed_at
        self._synchronise()
        seconds = self.seconds + self.now() - self._resumed_at
        per_step = (seconds - self._seconds_at_sync) / (self._steps - self._steps_at_sync)
        left = (limit - seconds) / per_step if per_step > 0 else 1.0
        self._steps_at_sync, self._seconds_at_sync = self._steps, seconds
        self._next_sync = self._steps + max(1, int(min(left, 1e9) / 2))
        return seconds

    def go_on_from(self, work: float, seconds: float, cpu_seconds: float) -> None:
        """Sets a clock that has not run to where a checkpoint was made."""
        self.work, self.seconds, self.cpu_seconds = work, seconds, cpu_seconds
        self._seconds_at_sync = seconds


class LapClock(WallClock):
    """Measured seconds, every step on its own, in `laps`. Waits for the device at every step."""

    def __init__(self, synchronise: Callable[[], object] = lambda: None) -> None:
        super().__init__(synchronise)
        self.laps: list[float] = []
        self._lap_began = 0.0

    def resume(self) -> None:
        """Starts charging, and a lap."""
        super().resume()
        self._lap_began = self.now()

    def step(self, limit: float, work: float = 1.0) -> float:
        """Ends a lap and begins the next."""
        seconds = super().step(0.0, work)  # a limit that is near: synchronised every time
        now = self.now()
        self.laps.append(now - self._lap_began)
        self._lap_began = now
        return seconds


class StepClock:
    """Charges training work instead of time: runs are then reproducible bit for bit.

    Args:
        step_seconds: The charge for one unit of work, which is an ordinary step.
    """

    def __init__(self, step_seconds: float) -> None:
        self.seconds = self.cpu_seconds = self.work = 0.0
        self._step_seconds = step_seconds

    def now(self) -> float:
        """The submission clock itself: what is not charged takes no time at all."""
        return self.seconds

    def resume(self) -> None:
        """Nothing to start."""

    def pause(self) -> None:
        """Nothing to stop."""

    def add_work(self, work: float) -> None:
        """Charges training work."""
        self.work += work
        self.seconds = self.work * self._step_seconds

    def step(self, limit: float, work: float = 1.0) -> float:
        """Charges a step's training work; returns the seconds so far."""
        self.add_work(work)
        return self.seconds

    def go_on_from(self, work: float, seconds: float, cpu_seconds: float) -> None:
        """Sets a clock that has not run to where a checkpoint was made."""
        self.work, self.seconds = work, seconds
