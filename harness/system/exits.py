"""Ends of this process that a submission may bring about, or prevent."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

GRACE_SECONDS = 10.0  # for what runs at the end of a process

_COMMAND = Path(__file__).resolve().parents[1] / "cli" / "__main__.py"

_exit_now = os._exit


class ExitError(BaseException):
    """A submission called os._exit, which would leave no record."""


@contextmanager
def recorded() -> Iterator[None]:
    """Meanwhile os._exit raises ExitError in this process; forks of it end as ever."""
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


def end_fork(owner: int) -> None:
    """Ends this process where it is a fork of `owner`: it would record the trial a second time."""
    if os.getpid() != owner:
        _exit_now(1)


def end_soon(code: int) -> None:
    """Ends this process before long, whatever threads and child processes are left in it.

    Does nothing where the command is only a part of a program.
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
        sys.stderr.write("chronograd: ended threads or processes that were left running\n")
        sys.stderr.flush()
    _exit_now(code)
