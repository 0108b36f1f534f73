"""stdout and stderr that do not fail on unencodable text, closed pipes or full disks."""

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
    """Creates the console of the commands; in a log, lines are neither wrapped nor coloured.

    Tables in a log are as wide as COLUMNS, by default 240 columns.
    """
    if sys.stdout is not None and sys.stdout.isatty():
        return Console()
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and int(columns) else 240
    return Console(width=width, soft_wrap=True, force_terminal=False)  # ignores FORCE_COLOR


@contextmanager
def uncut(console: Console) -> Iterator[None]:
    """Context in which a log has lines of any length, so that no path in a tree is cut."""
    width = console.width
    if not console.is_terminal:
        console.width = 10_000
    try:
        yield
    finally:
        if not console.is_terminal:
            console.width = width


@contextmanager
def unfailing(console: Console) -> Iterator[None]:
    """Context in which output of this process cannot fail.

    The console has its own stream, so that it can still print after a submission, which runs in
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
        console.file = None  # type: ignore[assignment]  # the current sys.stdout


class Unfailing(io.TextIOBase):
    """A text stream whose writes never fail.

    Characters that the underlying stream cannot encode are spelled out, for example the infinity
    sign as "inf". If it can no longer be written, one line on stderr says so, and all further
    output is dropped.

    Args:
        stream: The underlying stream; None if the process was started without it.
        name: "stdout" or "stderr".
    """

    def __init__(self, stream: TextIO | None, name: str) -> None:
        self._stream, self._name = stream, name
        self._closed = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Returns the encoding of the underlying stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def closed(self) -> bool:
        """Returns whether `close` was called; the underlying stream stays open."""
        return self._closed

    def close(self) -> None:
        """Closes this stream: later writes raise ValueError, as for any closed file."""
        self._closed = True

    def isatty(self) -> bool:
        """Returns whether the underlying stream is a terminal."""
        with suppress(ValueError, OSError):
            return self._stream is not None and self._stream.isatty()
        return False

    def writable(self) -> bool:
        """Returns True."""
        return True

    def write(self, text: str) -> int:
        """Writes text, spelling out what cannot be encoded."""
        if self._closed:
            raise ValueError("I/O operation on closed file")
        if self._stream is not None:
            try:
                try:
                    self._stream.write(text)
                except UnicodeError:
                    self._stream.write(spell_out(text, self.encoding))
            except (OSError, ValueError) as error:
                self._drop_output(error)
        return len(text)

    def flush(self) -> None:
        """Flushes the underlying stream."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._drop_output(error)

    def _drop_output(self, error: Exception) -> None:
        """Reports on stderr that the stream is lost, and discards what is still buffered."""
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


def spell_out(text: str, encoding: str) -> str:
    """Returns `text` with the characters that `encoding` lacks spelled out."""
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
