"""Process exits: submissions can neither trigger one unrecorded nor block one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from harness.system import timers

GRACE_SECONDS = 10.0  # for a regular exit of the process

_COMMAND = Path(__file__).resolve().parents[1] / "cli" / "__main__.py"

_exit_now = os._exit


class ExitError(BaseException):
    """A submission called os._exit, which would end the trial without a record."""


@contextmanager
def os_exit_raises() -> Iterator[None]:
    """Makes os._exit raise ExitError in this process; its forks exit as usual."""
    owner = os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != owner:
            _exit_now(status)
        raise ExitError(f"os._exit({status}) was called")

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = _exit_now


def in_fork(function: Callable[[], str]) -> str | None:
    """Calls a function in a fork of this process; returns its string, None if the fork died.

    The fork has one PyTorch thread, since those of this process do not exist there. It does not
    wait for threads or processes that the function started. If this process uses a GPU, which a
    fork cannot, the function is called here.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        working_directory = Path.cwd()
        try:
            return function()
        finally:
            timers.restore()
            os.chdir(working_directory)
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = multiprocessing.Pipe(duplex=False)
    with warnings.catch_warnings():  # Python 3.12 warns if there are other threads
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            if torch is not None:
                torch.set_num_threads(1)
            writing.send_bytes(function().encode(errors="replace"))
        finally:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            _exit_now(0)
    writing.close()
    try:
        with reading:
            return _answer_of(child, reading)
    except BaseException:  # KeyboardInterrupt
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        with suppress(ChildProcessError):  # it was waited for
            os.waitpid(child, 0)


def _answer_of(child: int, reading: Connection) -> str | None:
    """Returns what a fork sends; None if it ends before."""
    ended = False
    while not reading.poll(0.0 if ended else 0.05):  # a process that it started may keep it open
        if ended:
            return None
        ended = os.waitpid(child, os.WNOHANG) != (0, 0)
    with suppress(EOFError):
        return reading.recv_bytes().decode()
    return None


def exit_if_forked(owner: int) -> None:
    """Exits if this process is a fork of `owner`, which would record the trial a second time."""
    if os.getpid() != owner:
        _exit_now(1)


def exit_soon(code: int) -> None:
    """Exits within GRACE_SECONDS, even if threads or child processes are still running.

    Does nothing if this process is not the command line, but a program that calls it.
    """
    program = Path(getattr(sys.modules["__main__"], "__file__", None) or ".").resolve()
    if program.name != "chronograd" and program != _COMMAND:
        return
    timer = threading.Timer(GRACE_SECONDS, _end, [code])
    timer.daemon = True
    timer.start()


def _end(code: int) -> NoReturn:
    for child in multiprocessing.active_children():
        child.kill()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.write("chronograd: ended threads or processes that were still running\n")
        sys.stderr.flush()
    _exit_now(code)
