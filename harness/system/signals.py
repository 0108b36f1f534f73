"""Ctrl-C and SIGTERM: never missed, and never in the middle of writing a record.

An exception raised by a signal handler is lost if Python is running a destructor or a library's
callback, or if a submission catches it. So signals are also stored, and polled.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_BOTH = (signal.SIGINT, signal.SIGTERM)


_received: list[int] = []  # signals since `sigterm_as_interrupt` was entered


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Makes SIGTERM and Ctrl-C raise KeyboardInterrupt; `interrupted` is true from then on."""

    def stop(number: int, frame: FrameType | None) -> None:
        _received.append(number)
        raise KeyboardInterrupt

    with _handled_by(stop):
        try:
            yield
        finally:
            _received.clear()


def interrupted() -> bool:
    """Whether a signal was received; a submission may also raise KeyboardInterrupt itself."""
    return bool(_received)


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], None]]:
    """Defers the first signal until it is polled; later ones raise KeyboardInterrupt at once.

    Yields:
        A function that raises KeyboardInterrupt if a signal was received.
    """
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) > 1:
            raise KeyboardInterrupt

    def raise_if_interrupted() -> None:
        if seen:
            raise KeyboardInterrupt

    with _handled_by(note):
        yield raise_if_interrupted


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Blocks signals while the block runs; raises the first one afterwards."""
    held: list[int] = []
    with _handled_by(lambda number, frame: held.append(number)):
        yield
    if held:
        signal.raise_signal(held[0])


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Sets a handler for both signals, in the main thread only: no other thread receives them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.signal(number, handler) for number in _BOTH]
    try:
        yield
    finally:
        for number, earlier in zip(_BOTH, before, strict=True):
            signal.signal(number, earlier)
