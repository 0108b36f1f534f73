"""Whether Ray's head is still there. Ray ends a driver that has lost it, without a useful word.

Imports no ray, so that the command line can tell this end from others.
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

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: the same command, later, continues
POLL_SECONDS = 2.0
LOST_SECONDS = 40.0  # without an answer; Ray ends the process after 60
GRACE_SECONDS = 10.0  # for the driver, before the process is ended without it


class Head:
    """Watches Ray's head from another thread while a sweep runs.

    Args:
        address: Of the head: host and port.
        left: How many trials of the sweep are left.
    """

    def __init__(self, address: str, left: Callable[[], int]) -> None:
        self._address, self._left = address, left
        self._is_lost, self._over = threading.Event(), threading.Event()

    def answers(self) -> bool:
        """Whether something listens at the head's address; without it, calls to Ray may block."""
        host, _, port = self._address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=POLL_SECONDS).close()
        except OSError:
            return False
        return True

    def raise_if_lost(self) -> None:
        """Raises HeadLostError where the head has not answered for too long."""
        if self._is_lost.is_set():
            raise HeadLostError(self._message())

    @property
    def is_lost(self) -> bool:
        """Whether it has not answered for too long."""
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
                    leave(self._message())  # the driver waits for Ray; the ledger has it all

    def _message(self) -> str:
        command = shlex.join(["chronograd", *sys.argv[1:]])
        return (
            f"Ray's head at {self._address} is gone. {self._left()} trials are left, and all that "
            f"was measured is recorded. When a cluster runs again, resume with: {command}"
        )


def leave(message: str) -> None:
    """Ends the process at once: at a regular end Ray would wait for its head, and then abort."""
    with suppress(Exception):
        sys.stdout.flush()
    with suppress(Exception):
        sys.stderr.write(f"chronograd: {message}\n")
        sys.stderr.flush()
    os._exit(EXIT_CODE)
