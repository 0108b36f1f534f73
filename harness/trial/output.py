"""Records what a trial prints to stdout and stderr; it is still printed."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

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
    stdout, stderr = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Recorded(stdout, output), _Recorded(stderr, output)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = stdout, stderr


class _Recorded:
    """A stream, whose text is recorded after it was written.

    Args:
        stream: The stream; None if the process was started without it.
        output: Receives the text.
    """

    def __init__(self, stream: TextIO | None, output: Output) -> None:
        self._stream, self._output = stream, output

    def write(self, text: str) -> int:
        """Writes and records text."""
        if self._stream is not None:
            self._stream.write(text)
        self._output.add(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Writes and records several texts."""
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
