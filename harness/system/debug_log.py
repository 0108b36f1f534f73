"""The debug log of `--verbose`: a line per decision, to stderr and to a file per worker.

Loggers are called `chronograd.PART`. Without `--verbose` they are silent.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import RotatingFileHandler
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
