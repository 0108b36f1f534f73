"""Runs trials one after another without Ray, each attempt in a fresh process.

Used by `chronograd run`. Whatever a submission does to its process, it cannot keep the driver from
recording the trial.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from harness.checkpoint.authentication import Place
from harness.checkpoint.store import Store
from harness.executors.dispatch import dispatch
from harness.sweep.driver import Driver
from harness.system import debug_log
from harness.system.children import Child, without_main
from harness.system.exits import exit_if_forked
from harness.system.signals import deferred_interrupt
from harness.trial.attempt import Attempt, run_attempt, time_steps
from harness.trial.messages import Broken, Ended, Logged, OfTrial, Printed
from harness.trial.output import Output, forwarded
from scoring.records import Failure, TrialSpec

if TYPE_CHECKING:  # torch must not be imported before the process sets its threads
    from harness.spec import LoadWorkload

Message = OfTrial | Printed | Logged | Ended | Broken
TURN_SECONDS = 0.1  # maximum time between checks for signals and for a dead process


class LocalExecutor:
    """An executor with one slot.

    Args:
        load_workload: Returns the workload of a name, data directory and device; importable.
    """

    def __init__(self, load_workload: LoadWorkload) -> None:
        self._load_workload = load_workload

    def time_baseline(self, spec: TrialSpec) -> dict[str, float]:
        """Returns the median step time of `spec` in seconds, in a fresh process, by node type."""
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            with without_main():
                timed = pool.submit(time_steps, self._load_workload, spec)  # starts the process
            node_type, seconds = timed.result()
        return {node_type: seconds}

    def run(self, specs: Sequence[TrialSpec], driver: Driver) -> None:
        """Runs all trials; Ctrl-C stops the running one and is raised again."""
        waiting = list(specs)
        with deferred_interrupt() as raise_if_interrupted:
            while (spec := driver.next(waiting, wait=False)) is not None:
                arguments = (driver.checkpoints(spec), driver.deadline(spec), driver.log_file(spec))
                process = Child(
                    _attempt, self._load_workload, spec, *arguments, debug_log.is_on(),
                    uses_gpu=spec.device != "cpu",
                )  # fmt: skip
                with closing(process):
                    driver.started(spec, {"host": os.uname().nodename, "pid": process.pid})
                    if _follow(process, spec, driver, raise_if_interrupted):
                        waiting.append(spec)
                    else:
                        Store(driver.checkpoints(spec)).forget()
                raise_if_interrupted()


def _follow(
    process: Child, spec: TrialSpec, driver: Driver, raise_if_interrupted: Callable[[], object]
) -> bool:
    """Passes an attempt's messages to the driver until it ends. Returns whether to try again."""
    output = Output()
    while True:
        raise_if_interrupted()
        try:
            message: Message = process.receive(TURN_SECONDS)
        except TimeoutError:
            continue
        except EOFError:
            return driver.lost(spec, Failure.WORKER_LOST, process.ending(), "")
        match message:
            case Printed(text=text, stream=stream):
                with suppress(OSError, ValueError):  # a closed pipe, or a narrow encoding
                    getattr(sys, stream).write(text)
                output.add(text)
                if kept := output.take():
                    driver.printed(spec, kept)
                continue
            case Logged(line=line):
                debug_log.write(line)
                continue
            case Ended(result=result):
                driver.ended(spec, result)
                return False
            case Broken(traceback=text):  # not the trial's fault, but would fail again
                driver.failed(spec, Failure.WORKER_LOST, text.strip().rpartition("\n")[2], text)
                return False
            case _:
                dispatch(driver, spec, message)
        process.answer()  # the process waits until its message is recorded


def _attempt(
    connection: Connection,
    load_workload: LoadWorkload,
    spec: TrialSpec,
    checkpoints: Place,
    deadline: float,
    log: Path | None,
    verbose: bool,
) -> None:
    """Runs an attempt in this process and sends its messages.

    Args:
        connection: Connection to the driver.
        load_workload: Returns a workload.
        spec: Trial.
        checkpoints: Where the trial's checkpoints are.
        deadline: Second of the trial's clock after which it is stopped.
        log: File for the debug log; None to write none.
        verbose: Whether to send the debug log to the driver.
    """
    owner, lock = os.getpid(), threading.Lock()  # threads of a submission may print

    def send(message: Message) -> None:
        exit_if_forked(owner)
        with lock:
            connection.send(message)

    def report(message: OfTrial) -> None:
        send(message)
        connection.recv()  # it is recorded

    control = Attempt(report, checkpoints)
    control.deadline = deadline
    with ExitStack() as stack:
        if verbose:
            stack.enter_context(debug_log.forwarded(lambda line: send(Logged(line))))
        stack.enter_context(debug_log.written_to(log))
        stack.enter_context(forwarded(send))
        try:
            last: Message = Ended(run_attempt(load_workload, spec, control))
        except BaseException:  # noqa: BLE001 - the driver records it
            last = Broken(traceback.format_exc())
    send(last)
