"""Ctrl-C and SIGTERM: never missed, and never in the middle of a record.

An exception raised by a signal handler is lost where Python happens to run a destructor or a
library's callback, or where a submission catches it. So signals are noted too, and asked for.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_BOTH = (signal.SIGINT, signal.SIGTERM)


_received: list[int] = []  # signals since `sigterm_as_interrupt` began


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM and Ctrl-C raise KeyboardInterrupt; from then on `interrupted` is true."""

    def stop(number: int, frame: FrameType | None) -> None:
        _received.append(number)
        raise KeyboardInterrupt

    with _handled_by(stop):
        try:
            yield
        finally:
            _received.clear()


def interrupted() -> bool:
    """Whether a signal came: a KeyboardInterrupt may also be raised by a submission."""
    return bool(_received)


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], None]]:
    """Signals wait until they are asked for; from the second one on they are raised at once.

    Yields:
        Raises KeyboardInterrupt if a signal has come.
    """
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) > 1:
            raise KeyboardInterrupt

    def ask() -> None:
        if seen:
            raise KeyboardInterrupt

    with _handled_by(note):
        yield ask


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Signals wait until the block is done, and are then what they would have been."""
    held: list[int] = []
    with _handled_by(lambda number, frame: held.append(number)):
        yield
    if held:
        signal.raise_signal(held[0])


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Sets a handler for both; only the main thread may, and signals go to no other."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.signal(number, handler) for number in _BOTH]
    try:
        yield
    finally:
        for number, earlier in zip(_BOTH, before, strict=True):
            signal.signal(number, earlier)
