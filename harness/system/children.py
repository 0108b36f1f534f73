"""Processes in which the code of submissions runs: how they start, report, end, and are killed.

On a CPU, they are forked from a process that has imported torch and never trains. Where a GPU is
used, they import torch themselves, since a fork could not use the GPU.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

# What most trials on a CPU import: each takes up to a second, once for all children of this
# process. The first optimizer of torch.optim imports torch._dynamo.
_PRELOADED = [
    "torch._dynamo", "harness.submission.loading", "harness.trial.integrity", "harness.trial.loop",
    "workloads.arrays", "sklearn.datasets",
]  # fmt: skip
ENDING_SECONDS = 1.0  # for a process to end that has closed its connection
REST_SECONDS = 30.0  # for the rest of a message of which a part has come


def start_importing() -> bool:
    """Starts the process that others are forked from, which imports torch.

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


class Child:
    """A process that calls a function, with this process's environment and working directory.

    It has a session of its own, so that a Ctrl-C does not reach it, and ends with this process.

    Args:
        function: Function that can be pickled. Its first argument is a connection, to send messages
            to this process.
        arguments: Its other arguments.
        uses_gpu: Whether it uses a GPU.

    Attributes:
        pid: The id of the process.

    Raises:
        OSError: No process can be started.
    """

    def __init__(
        self, function: Callable[..., object], *arguments: Any, uses_gpu: bool = False
    ) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        _give_up_after(REST_SECONDS, self._connection)
        called = (Path.cwd(), dict(os.environ), function, theirs, *arguments)
        with theirs:
            if uses_gpu or not start_importing():
                self._process = _started("spawn", called)
            else:
                try:
                    self._process = _started("forkserver", called)
                except (OSError, EOFError):  # something has killed the process to fork from
                    self._process = _started("spawn", called)
        self.pid: int = self._process.pid

    def receive(self, seconds: float) -> Any:
        """Returns the next message.

        Args:
            seconds: How long to wait for it.

        Raises:
            TimeoutError: None has come.
            EOFError: The process has ended, or the connection to it is lost.
        """
        if not self._connection.poll(seconds):
            if self._process.exitcode is None:
                raise TimeoutError
            if not self._connection.poll(0):  # what it has started may keep the connection open
                raise EOFError
        try:
            return self._connection.recv()
        except Exception as error:  # the function may have written anything there
            raise EOFError from error

    def answer(self) -> None:
        """Sends None, for which the function may wait."""
        with suppress(OSError):  # it has died since
            self._connection.send(None)

    def ending(self) -> str:
        """Returns how the process ended."""
        self._process.join(ENDING_SECONDS)
        code = self._process.exitcode
        if not code:
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


def _give_up_after(seconds: float, connection: Connection) -> None:
    """Makes a read from a connection fail if nothing comes for some seconds."""
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        limit = struct.pack("ll", int(seconds), 0)
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)


def _started(method: str, called: tuple[Any, ...]) -> Any:
    """Returns a process that has been started with `method`."""
    process = multiprocessing.get_context(method).Process(target=_call, args=called)  # type: ignore[attr-defined]
    with without_main():
        process.start()
    return process


def _call(
    working_directory: Path,
    environment: Mapping[str, str],
    function: Callable[..., object],
    connection: Connection,
    *arguments: Any,
) -> None:
    """Calls a function in a child."""
    os.setsid()
    os.chdir(working_directory)
    os.environ.clear()
    os.environ.update(environment)
    parent = multiprocessing.parent_process()
    assert parent is not None
    _replace_files({connection.fileno(), parent.sentinel})
    threading.Thread(target=_end_with, args=[parent], daemon=True).start()
    function(connection, *arguments)


def _replace_files(kept: set[int]) -> None:
    """Replaces the files of the process that this one was forked from by /dev/null.

    A submission that writes into all open files would otherwise end that process.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - numbers
        if int(name) > 2 and int(name) not in kept:
            os.dup2(null, int(name))


def _end_with(parent: Any) -> None:
    """Ends this process when its parent has ended."""
    parent.join()
    os._exit(1)


@contextmanager
def without_main() -> Iterator[None]:
    """Context in which processes start without running the user's script a second time.

    A script that calls `chronograd.run` then needs no `if __name__ == "__main__"`.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
