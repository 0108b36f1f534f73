"""Runs trials one after another without Ray, each attempt in a fresh process.

Used by `chronograd run`. Whatever a submission does to its process, it cannot keep the driver from
recording the trial.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from harness.checkpoint.authentication import Place
from harness.checkpoint.store import Store
from harness.executors.dispatch import dispatch
from harness.sweep.driver import Driver
from harness.system import debug_log
from harness.system.exits import exit_if_forked
from harness.system.signals import deferred_interrupt
from harness.trial.attempt import Attempt, run_attempt, time_steps
from harness.trial.messages import Broken, Ended, Logged, OfTrial, Printed
from harness.trial.output import Output, forwarded
from scoring.records import Failure, TrialSpec

if TYPE_CHECKING:  # torch must not be imported before the process sets its threads
    from harness.spec import LoadWorkload

# What trials on a CPU import: each takes up to a second, once for all trials of this process. The
# first optimizer of torch.optim imports torch._dynamo.
_PRELOADED = [
    "torch._dynamo", "harness.submission.loading", "harness.trial.integrity", "harness.trial.loop",
    "workloads.arrays", "sklearn.datasets",
]  # fmt: skip
Message = OfTrial | Printed | Logged | Ended | Broken
TURN_SECONDS = 0.1  # maximum time between checks for signals and for a dead process
ENDING_SECONDS = 1.0  # for a process to end that has closed its connection


def start_importing() -> bool:
    """Starts the process that those of trials on a CPU are forked from, which imports torch.

    Called early, it imports while this process plans.

    Returns:
        Whether it could be started: the name of its socket may be too long.
    """
    forkserver.set_forkserver_preload(_PRELOADED)
    try:
        forkserver.ensure_running()
    except OSError:
        return False
    return True


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
            with _without_main():
                timed = pool.submit(time_steps, self._load_workload, spec)  # starts the process
            node_type, seconds = timed.result()
        return {node_type: seconds}

    def run(self, specs: Sequence[TrialSpec], driver: Driver) -> None:
        """Runs all trials; Ctrl-C stops the running one and is raised again."""
        waiting = list(specs)
        with deferred_interrupt() as raise_if_interrupted:
            while (spec := driver.next(waiting, wait=False)) is not None:
                arguments = (driver.checkpoints(spec), driver.deadline(spec), driver.log_file(spec))
                with closing(_Process(self._load_workload, spec, *arguments)) as process:
                    driver.started(spec, {"host": os.uname().nodename, "pid": process.pid})
                    if _follow(process, spec, driver, raise_if_interrupted):
                        waiting.append(spec)
                    else:
                        Store(driver.checkpoints(spec)).forget()
                raise_if_interrupted()


def _follow(
    process: _Process, spec: TrialSpec, driver: Driver, raise_if_interrupted: Callable[[], object]
) -> bool:
    """Passes an attempt's messages to the driver until it ends. Returns whether to try again."""
    output = Output()
    while (message := process.receive(raise_if_interrupted)) is not None:
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
        process.recorded()
    return driver.lost(spec, Failure.WORKER_LOST, process.ending(), "")


class _Process:
    """The process of one attempt.

    On a CPU, it is forked from a process that has imported torch and never trains. On a GPU, it
    imports torch itself, since a fork could not use the GPU.

    Args:
        load_workload: Returns a workload.
        spec: Trial.
        arguments: Checkpoints, deadline and file of the debug log, as for `_attempt`.

    Attributes:
        pid: The id of the process.
    """

    def __init__(self, load_workload: LoadWorkload, spec: TrialSpec, *arguments: Any) -> None:
        forked = spec.device == "cpu" and start_importing()
        context: Any = multiprocessing.get_context("forkserver" if forked else "spawn")
        self._connection, theirs = context.Pipe()
        environment = dict(os.environ)
        self._process = context.Process(
            target=_attempt,
            args=(theirs, environment, load_workload, spec, *arguments, debug_log.is_on()),
        )
        with _without_main():
            self._process.start()
        theirs.close()
        self.pid: int = self._process.pid

    def receive(self, raise_if_interrupted: Callable[[], object]) -> Message | None:
        """Waits for the next message; None if the process has died."""
        raise_if_interrupted()
        while not self._connection.poll(TURN_SECONDS):
            raise_if_interrupted()
            if self._process.exitcode is not None and not self._connection.poll(0):
                return None  # what it has started may keep the connection open
        try:
            message: Message = self._connection.recv()
        except Exception:  # noqa: BLE001 - it has ended, or the submission has written there
            return None
        return message

    def recorded(self) -> None:
        """Lets the process continue, which waits until its last message is recorded."""
        with suppress(OSError):  # it has died since
            self._connection.send(None)

    def ending(self) -> str:
        """Returns how the process ended."""
        self._process.join(ENDING_SECONDS)
        code = self._process.exitcode
        if code is None:
            return "the connection to its process was lost"
        if code < 0:
            names = {number.value: number.name for number in signal.Signals}
            return f"its process was killed by {names.get(-code, f'signal {-code}')}"
        return f"its process ended with exit code {code}"

    def close(self) -> None:
        """Kills the process and what it has started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._connection.close()


def _attempt(
    connection: Connection,
    environment: Mapping[str, str],
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
        environment: Environment variables of the driver.
        load_workload: Returns a workload.
        spec: Trial.
        checkpoints: Where the trial's checkpoints are.
        deadline: Second of the trial's clock after which it is stopped.
        log: File for the debug log; None to write none.
        verbose: Whether to send the debug log to the driver.
    """
    os.setsid()  # a Ctrl-C is for the driver
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_end_with_driver, daemon=True).start()
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


def _end_with_driver() -> None:
    """Ends this process when the driver has ended."""
    if (driver := multiprocessing.parent_process()) is not None:
        driver.join()
        os._exit(1)


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
