"""The three schedules of optax that PyTorch submissions use, if optax is not installed.

AlgoPerf's momentum and Nesterov baselines compute their learning rates with optax. As in optax, a
schedule maps a step to a float32 scalar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from harness.submission.standins.absent import Absent

Schedule = Callable[[int], np.float32]


def polynomial_schedule(
    init_value: float,
    end_value: float,
    power: float,
    transition_steps: int,
    transition_begin: int = 0,
) -> Schedule:
    """Returns (init - end) (1 - t)^power + end, where t rises from 0 to 1 over `transition_steps`.

    The schedule is constant before `transition_begin`, and everywhere if there are no steps.
    """

    def schedule(step: int) -> np.float32:
        if transition_steps <= 0:
            return np.float32(init_value)
        passed = min(max(step - transition_begin, 0), transition_steps)
        left = np.float32(1 - passed / transition_steps)
        return np.float32((init_value - end_value) * left**power + end_value)

    return schedule


def linear_schedule(
    init_value: float, end_value: float, transition_steps: int, transition_begin: int = 0
) -> Schedule:
    """Returns a schedule that is linear from `init_value` to `end_value`."""
    return polynomial_schedule(init_value, end_value, 1, transition_steps, transition_begin)


def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """Returns a schedule that joins several; each counts its steps from its boundary."""

    def schedule(step: int) -> np.float32:
        passed = sum(step >= boundary for boundary in boundaries)
        return schedules[passed](step - (boundaries[passed - 1] if passed else 0))

    return schedule


def __getattr__(name: str) -> Absent:
    """Every other attribute of optax can be accessed, but not called."""
    return Absent.attribute("optax", name)
