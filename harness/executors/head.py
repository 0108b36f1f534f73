"""Detects the loss of Ray's head, as Ray itself would end the driver without a useful message.

Does not import ray, so that the command line can handle HeadLostError without it.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from harness.sweep.interruption import HeadLostError
from harness.system import timers

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: run the same command later to continue
POLL_SECONDS = 2.0
LOST_SECONDS = 40.0  # without an answer; Ray ends the process after 60
GRACE_SECONDS = 10.0  # for the driver to end before the process exits


class Head:
    """Monitors Ray's head from another thread while a sweep runs.

    Args:
        address: Host and port of the head.
        left: Returns the number of trials of the sweep that are left.
    """

    def __init__(self, address: str, left: Callable[[], int]) -> None:
        self._address, self._left = address, left
        self._is_lost, self._over = threading.Event(), threading.Event()

    def answers(self) -> bool:
        """Whether the head accepts connections; otherwise, calls to Ray may block."""
        host, _, port = self._address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=POLL_SECONDS).close()
        except OSError:
            return False
        return True

    def raise_if_lost(self) -> None:
        """Raises HeadLostError if the head has not answered for LOST_SECONDS."""
        if self._is_lost.is_set():
            raise HeadLostError(self._message())

    @property
    def is_lost(self) -> bool:
        """Whether the head has not answered for LOST_SECONDS."""
        return self._is_lost.is_set()

    def __enter__(self) -> Head:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()

    def _watch(self) -> None:
        answered = timers.monotonic()
        while not self._over.wait(POLL_SECONDS):
            if self.answers():
                answered = timers.monotonic()
            elif timers.monotonic() - answered > LOST_SECONDS:
                self._is_lost.set()
                if not self._over.wait(GRACE_SECONDS):
                    exit_now(
                        self._message()
                    )  # the driver is blocked in Ray; the ledger is complete

    def _message(self) -> str:
        command = shlex.join(["chronograd", *sys.argv[1:]])
        return (
            f"Ray's head at {self._address} is gone. {self._left()} trials are left, and all "
            f"measurements are recorded. When a cluster is running again, resume with: {command}"
        )


def exit_now(message: str) -> None:
    """Exits at once, as Ray would wait for its head at a regular exit, and then abort."""
    with suppress(Exception):
        sys.stdout.flush()
    with suppress(Exception):
        sys.stderr.write(f"chronograd: {message}\n")
        sys.stderr.flush()
    os._exit(EXIT_CODE)
