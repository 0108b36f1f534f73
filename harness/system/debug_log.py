"""The debug log of `--verbose`: a line per decision, to stderr and to a file per worker.

Loggers are called `chronograd.PART`. Without `--verbose` they are silent.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from logging.handlers import QueueHandler, RotatingFileHandler
from pathlib import Path

FILE_BYTES = 2**20  # of a worker's file; the lines before are in a second file of this size
_ROOT = "chronograd"
_FORMAT = "%(asctime)s %(name)s: %(message)s"


def logger(part: str) -> logging.Logger:
    """Returns the logger of a part of chronograd, such as "driver"."""
    return logging.getLogger(f"{_ROOT}.{part}")


def is_on() -> bool:
    """Returns whether this process writes a debug log."""
    return logging.getLogger(_ROOT).isEnabledFor(logging.DEBUG)


def show() -> None:
    """Writes the debug log of this process to stderr."""
    _add(logging.StreamHandler(sys.stderr))


def write_to(file: Path) -> logging.Handler:
    """Writes the debug log of this process also to a file.

    Raises:
        OSError: The file cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(file, maxBytes=FILE_BYTES, backupCount=1, encoding="utf-8")
    _add(handler)
    return handler


@contextmanager
def written_to(file: Path | None) -> Iterator[None]:
    """Context in which the debug log is also written to a file, if it can be; None for no file."""
    handler = None
    if file is not None:
        with suppress(OSError):
            handler = write_to(file)
    with _removed(handler):
        yield


@contextmanager
def forwarded(send: Callable[[logging.LogRecord], object]) -> Iterator[None]:
    """Context in which the debug log is also sent to another process, which calls `write`."""
    handler = _Forward(send)
    _add(handler)
    with _removed(handler):
        yield


def write(record: logging.LogRecord) -> None:
    """Writes a line that another process has sent."""
    logging.getLogger(record.name).handle(record)


class _Forward(QueueHandler):
    """Passes lines, which can be pickled, to a function."""

    def __init__(self, send: Callable[[logging.LogRecord], object]) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self._send = send

    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage()  # its time and name are added where it is written

    def enqueue(self, record: logging.LogRecord) -> None:
        self._send(record)


@contextmanager
def _removed(handler: logging.Handler | None) -> Iterator[None]:
    """Context after which a handler is removed."""
    try:
        yield
    finally:
        if handler is not None:
            logging.getLogger(_ROOT).removeHandler(handler)
            handler.close()


def _add(handler: logging.Handler) -> None:
    root = logging.getLogger(_ROOT)
    handler.setFormatter(logging.Formatter(_FORMAT))
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    root.propagate = False  # handlers of other packages would print the lines again
