"""Runs trials one after another in this process, without Ray: used by `chronograd run`."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from harness.checkpoint.authentication import Place
from harness.checkpoint.store import Store
from harness.executors.dispatch import dispatch
from harness.sweep.driver import Driver
from harness.system import debug_log
from harness.system.signals import sigterm_as_interrupt
from harness.trial.attempt import Attempt, run_attempt, time_steps
from harness.trial.control import ControlError
from harness.trial.messages import OfTrial, Printed
from harness.trial.output import Output, recorded
from scoring.records import Status, TrialResult, TrialSpec

if TYPE_CHECKING:  # torch must not be imported before the process sets its threads
    from harness.spec import LoadWorkload


@contextmanager
def _without_main() -> Iterator[None]:
    """Context in which processes start without running the user's script a second time.

    A script that calls `chronograd.run` then needs no `if __name__ == "__main__"`.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class LocalExecutor:
    """An executor with one slot.

    Args:
        load_workload: Returns the workload of a name, data directory and device.
    """

    def __init__(self, load_workload: LoadWorkload) -> None:
        self._load_workload = load_workload

    def time_baseline(self, spec: TrialSpec) -> dict[str, float]:
        """Returns the median step time of `spec` in seconds, in a fresh process, by node type."""
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            with _without_main():
                timed = pool.submit(time_steps, self._load_workload, spec)  # starts the process
            node_type, seconds = timed.result()
        return {node_type: seconds}

    def run(self, specs: Sequence[TrialSpec], driver: Driver) -> None:
        """Runs all trials; Ctrl-C stops the running one and is raised again."""
        waiting = list(specs)
        with sigterm_as_interrupt():
            while (spec := driver.next(waiting, wait=False)) is not None:
                checkpoints, log = driver.checkpoints(spec), driver.log_file(spec)
                driver.started(spec, {"host": os.uname().nodename, "pid": os.getpid()})
                with debug_log.written_to(log):
                    result = self._attempt(spec, driver, checkpoints)
                driver.ended(spec, result)
                if result.status is Status.INTERRUPTED:
                    raise KeyboardInterrupt
                Store(checkpoints).forget()

    def _attempt(self, spec: TrialSpec, driver: Driver, checkpoints: Place) -> TrialResult:
        output = Output()

        def send(*messages: OfTrial) -> None:
            if text := output.take():
                dispatch(driver, spec, Printed(text))
            for message in messages:
                dispatch(driver, spec, message)

        control = Attempt(send, checkpoints)
        control.deadline = driver.deadline(spec)
        try:
            with recorded(output):
                return run_attempt(self._load_workload, spec, control)
        except ControlError as error:
            raise error.__cause__ or error from None
        finally:
            send()
