"""stdout and stderr that no text, closed pipe or full disk can make fail."""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from rich.console import Console

_SPELLINGS = str.maketrans(
    {"∞": "inf", "–": "-", "—": "-", "−": "-", "×": "x", "†": "+", "…": "...", "≤": "<=",
     "≥": ">=", "±": "+-", "·": ".", "•": "*", "█": "#"}
    | {bar: str(number) for number, bar in enumerate("▁▂▃▄▅▆▇", start=1)}
)  # fmt: skip


def make_console() -> Console:
    """The console of the commands: a log keeps its lines complete, and uncoloured.

    COLUMNS is the width of tables; without it a log is wide, and a terminal as wide as it is.
    """
    if sys.stdout is not None and sys.stdout.isatty():
        return Console()
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and int(columns) else 240
    return Console(width=width, soft_wrap=True, force_terminal=False)  # whatever FORCE_COLOR says


@contextmanager
def unfailing(console: Console) -> Iterator[None]:
    """Output of this process cannot fail meanwhile.

    The console has a stream to itself, so that it can still print once a submission, which runs in
    this process under `chronograd run`, has closed sys.stdout.
    """
    stdout, stderr = sys.stdout, sys.stderr
    console.file = Unfailing(stdout, "stdout")  # type: ignore[assignment]
    sys.stdout, sys.stderr = Unfailing(stdout, "stdout"), Unfailing(stderr, "stderr")
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = stdout, stderr
        console.file = None  # type: ignore[assignment]  # sys.stdout, whatever it is then


class Unfailing(io.TextIOBase):
    """A text stream that accepts everything.

    What the file beneath cannot encode is spelled out: "inf" for the infinity sign. When it cannot
    be written any more, one line on stderr says so, and the rest is dropped.

    Args:
        stream: The file beneath; None where the process was started without it.
        name: "stdout" or "stderr".
    """

    def __init__(self, stream: TextIO | None, name: str) -> None:
        self._stream, self._name = stream, name
        self._closed = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the file beneath."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def closed(self) -> bool:
        """Whether `close` was called; the file beneath stays open."""
        return self._closed

    def close(self) -> None:
        """Later writes raise ValueError, as those to any closed file."""
        self._closed = True

    def isatty(self) -> bool:
        """Whether the file beneath is a terminal."""
        with suppress(ValueError, OSError):
            return self._stream is not None and self._stream.isatty()
        return False

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Writes what the file takes."""
        if self._closed:
            raise ValueError("I/O operation on closed file")
        if self._stream is not None:
            try:
                try:
                    self._stream.write(text)
                except UnicodeError:
                    self._stream.write(spelled(text, self.encoding))
            except (OSError, ValueError) as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Hands on what is buffered."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._lose(error)

    def _lose(self, error: Exception) -> None:
        """Says so, and lets what is still buffered go nowhere."""
        lost, self._stream = self._stream, None
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, lost.fileno())  # type: ignore[union-attr]
            os.close(nowhere)
        if self._name != "stderr":
            why = getattr(error, "strerror", None) or error
            sys.stderr.write(
                f"chronograd: {self._name} cannot be written ({why}); continuing without it\n"
            )
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def spelled(text: str, encoding: str) -> str:
    """`text` with what `encoding` lacks spelled out."""
    return text.encode(encoding, "chronograd.spelled").decode(encoding)


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(map(_spelling, characters)), error.end


def _spelling(character: str) -> str:
    plain = character.translate(_SPELLINGS)
    if plain != character:
        return plain
    name = unicodedata.name(character, "")
    if name.startswith("GREEK"):
        return name.split()[-1].lower()
    return character.encode("ascii", "backslashreplace").decode()


codecs.register_error("chronograd.spelled", _spell)
