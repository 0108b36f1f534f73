"""Runs trials one after another in this process, with no Ray at all: what `chronograd run` does."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from harness.checkpoint.authentication import Place
from harness.checkpoint.store import Store
from harness.executors.taking import take
from harness.sweep.driver import Driver
from harness.system.signals import sigterm_as_interrupt
from harness.trial.attempt import Attempt, run_attempt, time_steps
from harness.trial.control import ControlError
from scoring.records import Status, TrialResult, TrialSpec

if TYPE_CHECKING:  # torch is imported only once the process is set up for it
    from harness.spec import LoadWorkload


class ThisProcess:
    """An executor with one slot.

    Args:
        load_workload: Gives the workload of a name, data directory and device.
    """

    def __init__(self, load_workload: LoadWorkload) -> None:
        self._load_workload = load_workload

    def time_baseline(self, spec: TrialSpec) -> dict[str, float]:
        """Median seconds of a step of `spec`, in a fresh process, by node type."""
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            node_type, seconds = pool.submit(time_steps, self._load_workload, spec).result()
        return {node_type: seconds}

    def run(self, specs: Sequence[TrialSpec], driver: Driver) -> None:
        """Runs every trial; Ctrl-C ends the one under way and is raised again."""
        waiting = list(specs)
        with sigterm_as_interrupt():
            while (spec := driver.next(waiting, wait=False)) is not None:
                checkpoints = driver.checkpoints(spec)
                driver.started(spec, {"host": os.uname().nodename, "pid": os.getpid()})
                result = self._attempt(spec, driver, checkpoints)
                driver.ended(spec, result)
                if result.status is Status.INTERRUPTED:
                    raise KeyboardInterrupt
                Store(checkpoints).forget()

    def _attempt(self, spec: TrialSpec, driver: Driver, checkpoints: Place) -> TrialResult:
        control = Attempt(partial(take, driver, spec), checkpoints)
        control.deadline = driver.deadline(spec)
        try:
            return run_attempt(self._load_workload, spec, control)
        except ControlError as error:
            raise error.__cause__ or error from None
