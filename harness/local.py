"""Runs trials one after another in this process, with no Ray at all: what `chronograd run` does."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from harness.attempt import Attempt, LoadWorkload, run_attempt, time_steps
from harness.driver import Driver
from harness.storage import storage
from scoring.records import Status, TrialSpec


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
        """Runs every trial; Ctrl-C ends the one under way and is raised on."""
        waiting = list(specs)
        while (spec := driver.next(waiting, wait=False)) is not None:
            driver.started(spec, {"host": os.uname().nodename, "pid": os.getpid()})
            checkpoints = driver.checkpoints(spec)
            control = Attempt(partial(driver.take, spec), checkpoints)
            control.deadline = driver.deadline(spec)
            result = run_attempt(self._load_workload, spec, control)
            driver.ended(spec, result)
            if result.status is Status.INTERRUPTED:
                raise KeyboardInterrupt
            storage(checkpoints).clear()
