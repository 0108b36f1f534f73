"""The submission clock, on a device that works asynchronously to the CPU."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.trial.clock import LapClock, StepClock, WallClock


class AsyncDevice:
    """Work is queued at once and done later, one piece after the other, as on a GPU."""

    def __init__(self):
        self.cpu, self.done_at, self.synchronised = 0.0, 0.0, 0

    def launch(self, seconds):
        self.cpu += 1e-5
        self.done_at = max(self.done_at, self.cpu) + seconds

    def synchronise(self):
        self.synchronised += 1
        self.cpu = max(self.cpu, self.done_at)

    def now(self):
        return self.cpu

    def clock(self):
        return WallClock(self.synchronise, now=self.now, cpu_now=self.now)


def test_clock_charges_from_pause_to_pause():
    device = AsyncDevice()
    clock = device.clock()
    clock.resume()
    device.launch(2.0)
    clock.pause()
    assert clock.seconds == pytest.approx(2.0, abs=1e-3)
    device.launch(5.0)  # an evaluation: waited for before charging resumes
    clock.resume()
    device.launch(1.0)
    clock.pause()
    clock.pause()
    assert clock.seconds == pytest.approx(3.0, abs=1e-3)


@given(
    step_seconds=st.floats(1e-3, 1.0),
    budget=st.floats(0.5, 200.0),
    jitter=st.lists(st.floats(0.8, 1.2), min_size=1, max_size=7),
)
def test_no_budget_is_overshot_by_more_than_a_step(step_seconds, budget, jitter):
    device = AsyncDevice()
    clock = device.clock()
    clock.resume()
    steps = 0
    while True:
        device.launch(step_seconds * jitter[steps % len(jitter)])
        steps += 1
        if clock.step(budget) >= budget:
            break
    clock.pause()
    assert budget <= clock.seconds <= budget + 1.2 * step_seconds + steps * 1e-5


def test_the_device_is_not_synchronised_at_every_step():
    device = AsyncDevice()
    clock = device.clock()
    clock.resume()
    steps = 0
    while clock.step(1000.0) < 1000.0:
        device.launch(0.01)
        steps += 1
    assert steps >= 99_000
    assert device.synchronised < 3 * math.log2(steps)


def test_step_clock_charges_every_step_the_same_and_nothing_else():
    clock = StepClock(0.25)
    clock.resume()
    assert [clock.step(1e9) for _ in range(4)] == [0.25, 0.5, 0.75, 1.0]
    clock.pause()
    assert (clock.seconds, clock.cpu_seconds, clock.now()) == (1.0, 0.0, 1.0)


def test_laps_add_up_to_the_clock():
    clock = LapClock()
    clock.resume()
    for _ in range(5):
        time.sleep(0.001)
        clock.step(math.inf)
    clock.pause()
    assert len(clock.laps) == 5
    assert sum(clock.laps) == pytest.approx(clock.seconds, abs=1e-3)


def test_cpu_seconds_count_work_and_not_waiting():
    clock = WallClock()
    clock.resume()
    time.sleep(0.05)
    clock.pause()
    assert clock.cpu_seconds < clock.seconds
