"""What a trial prints to stdout and stderr: recorded in a file, or sent to the driver."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from harness.trial.messages import Printed
from scoring.tree import LOG_BYTES


class Output:
    """Text that was printed and is not taken yet; what exceeds LOG_BYTES in all is dropped."""

    def __init__(self) -> None:
        self._parts: deque[str] = deque()  # its operations are atomic, so it needs no lock
        self._room = LOG_BYTES + 1  # one more, so that the log shows that it was cut

    def add(self, text: str) -> None:
        """Adds text."""
        if self._room > 0:
            self._parts.append(text[: self._room])
            self._room -= len(text)

    def take(self) -> str:
        """Removes and returns the text that was added since the last call."""
        return "".join([self._parts.popleft() for _ in range(len(self._parts))])


@contextmanager
def recorded(output: Output) -> Iterator[None]:
    """Context in which text written to `sys.stdout` and `sys.stderr` is also added to `output`."""

    def write(stream: TextIO | None, text: str) -> None:
        if stream is not None:
            stream.write(text)
        output.add(text)

    with _replaced(write):
        yield


@contextmanager
def forwarded(send: Callable[[Printed], object]) -> Iterator[None]:
    """Context in which text written to `sys.stdout` and `sys.stderr` is sent, and not printed.

    Forks of this process, which cannot send, print it.
    """
    stdout, owner = sys.stdout, os.getpid()

    def write(stream: TextIO | None, text: str) -> None:
        if os.getpid() == owner:
            send(Printed(text, "stdout" if stream is stdout else "stderr"))
        elif stream is not None:
            stream.write(text)

    with _replaced(write):
        yield


@contextmanager
def _replaced(write: Callable[[TextIO | None, str], object]) -> Iterator[None]:
    """Context in which `write` is called with what is written, and the stream that is replaced."""
    stdout, stderr = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Stream(stdout, write), _Stream(stderr, write)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = stdout, stderr


class _Stream:
    """A stream whose text goes to a function.

    Args:
        stream: The stream that it replaces; None if the process was started without it.
        write: Receives the replaced stream and the text.
    """

    def __init__(
        self, stream: TextIO | None, write: Callable[[TextIO | None, str], object]
    ) -> None:
        self._stream, self._write = stream, write

    def write(self, text: str) -> int:
        """Writes text."""
        self._write(self._stream, text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Writes several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flushes the stream."""
        if self._stream is not None:
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # protocols, such as pickling, must not find those of the stream
            raise AttributeError(name)
        return getattr(self._stream, name)
