"""The submission clock: seconds that are charged to a submission. Pausable, injectable.

On a GPU, work is queued ahead of the CPU, so a reading is exact only after the device has been
synchronised. The device is synchronised when the clock pauses and, between pauses, at bisection
points towards the limit: after half of the steps that should still fit. A loop of n steps is thus
synchronised O(log n) times, and a limit is overshot by at most one step, provided that no interval
between two synchronisations has steps twice as slow as the previous one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from harness.system import timers


class Clock(Protocol):
    """The clock that the trial loop uses."""

    seconds: float  # the submission clock, exact while paused
    cpu_seconds: float  # CPU time of the process over the same intervals
    work: float  # training work so far, in the units of `harness.trial.work`

    def now(self) -> float:
        """Returns seconds on an arbitrary scale that never pauses; measures what is not charged."""

    def resume(self) -> None:
        """Starts charging."""

    def pause(self) -> None:
        """Stops charging, after the device has finished its queued work; idempotent."""

    def add_work(self, work: float) -> None:
        """Adds training work that was done outside of steps."""

    def step(self, limit: float, work: float = 1.0) -> float:
        """Called after every step, with its training work; returns the seconds charged so far.

        They are exact if one more step could pass `limit`; otherwise the device is not waited for.
        """

    def resume_from(self, work: float, seconds: float, cpu_seconds: float) -> None:
        """Sets a clock that has not run yet to the readings of a checkpoint."""


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
        """Stops charging, after the device has finished its queued work; idempotent."""
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
        """Called after every step, with its training work; returns the seconds charged so far."""
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

    def resume_from(self, work: float, seconds: float, cpu_seconds: float) -> None:
        """Sets a clock that has not run yet to the readings of a checkpoint."""
        self.work, self.seconds, self.cpu_seconds = work, seconds, cpu_seconds
        self._seconds_at_sync = seconds


class LapClock(WallClock):
    """Measured seconds, with those of every step in `laps`. Synchronises at every step."""

    def __init__(self, synchronise: Callable[[], object] = lambda: None) -> None:
        super().__init__(synchronise)
        self.laps: list[float] = []
        self._lap_began = 0.0

    def resume(self) -> None:
        """Starts charging, and starts a lap."""
        super().resume()
        self._lap_began = self.now()

    def step(self, limit: float, work: float = 1.0) -> float:
        """Ends a lap and starts the next."""
        seconds = super().step(0.0, work)  # with a limit this low, every step synchronises
        now = self.now()
        self.laps.append(now - self._lap_began)
        self._lap_began = now
        return seconds


class StepClock:
    """Charges training work instead of time, which makes runs reproducible bit for bit.

    Args:
        step_seconds: Charge for one unit of work, that is, for an ordinary step.
    """

    def __init__(self, step_seconds: float) -> None:
        self.seconds = self.cpu_seconds = self.work = 0.0
        self._step_seconds = step_seconds

    def now(self) -> float:
        """Returns the submission time: what is not charged takes no time."""
        return self.seconds

    def resume(self) -> None:
        """Does nothing."""

    def pause(self) -> None:
        """Does nothing."""

    def add_work(self, work: float) -> None:
        """Charges training work."""
        self.work += work
        self.seconds = self.work * self._step_seconds

    def step(self, limit: float, work: float = 1.0) -> float:
        """Charges a step's training work; returns the seconds charged so far."""
        self.add_work(work)
        return self.seconds

    def resume_from(self, work: float, seconds: float, cpu_seconds: float) -> None:
        """Sets a clock that has not run yet to the readings of a checkpoint."""
        self.work, self.seconds = work, seconds


class CallClock(StepClock):
    """Charges one second per call of `update_params`, so that evaluations follow fixed calls."""

    def add_work(self, work: float) -> None:
        """Adds training work without charging it."""
        self.work += work

    def step(self, limit: float, work: float = 1.0) -> float:
        """Charges one second."""
        self.work += work
        self.seconds += 1.0
        return self.seconds
