"""Text from submissions and other strangers, made safe to show and to write."""

from __future__ import annotations

import re
import unicodedata

MESSAGE_CHARACTERS = 1000
_COMPUTED = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # what a formula begins with
_LINKED = re.compile(r"://|www\.|@|mailto:|xmpp:", re.IGNORECASE)
_MARKS = re.compile(r"([\\|<>*`~&\[\]]|(?<![^\W_])_|_(?![^\W_]))")  # within a word _ is not a mark


def printable(text: str, kept: str = "\n\t") -> str:
    r"""Text that any terminal, file or page can hold: all else is escaped (\x1b, \u202e, \udcff).

    So no escape sequence of a name or a message reaches a terminal, and no lone surrogate, which
    `os.fsdecode` gives for a file name that is not UTF-8, an encoder.

    Args:
        text: Any text.
        kept: Characters that stay although they are not printable.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c in kept or _is_shown(c) else c.encode("unicode_escape").decode() for c in text
    )


def one_line(text: str) -> str:
    r"""As `printable`, with line breaks and tabs escaped as well (\n, \t)."""
    return printable(text, kept="")


def first_line(text: str) -> str:
    """The first line of `text` that is not blank, printable and of limited length."""
    line = next((line.strip() for line in text.split("\n") if line.strip()), "")
    line = printable(line.replace("\t", " "))
    return line if len(line) <= MESSAGE_CHARACTERS else line[: MESSAGE_CHARACTERS - 3] + "..."


def error_message(error: BaseException) -> str:
    """The class of an exception and the first line of its text."""
    kind, line = type(error).__name__, first_line(error_text(error))
    return first_line(f"{kind}: {line}" if line else kind)


def error_text(error: BaseException) -> str:
    """The text of an exception, also where its `__str__` raises."""
    try:
        return str(error)
    except BaseException as another:  # noqa: BLE001 - an exception of a submission may be anything
        return f"(its __str__ raised {type(another).__name__})"


def _is_shown(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"  # a kind of space


def spreadsheet_cell(text: str) -> str:
    """Text that a spreadsheet takes for text: an apostrophe before what it would compute."""
    text = one_line(text)
    return f"'{text}" if text.lstrip().startswith(_COMPUTED) else text


def markdown(text: str) -> str:
    """Text that Markdown shows as it is: no table bars, HTML, emphasis or links from a name.

    A word that renderers make a link of without any mark (URL, address, mention) is set as code.
    """
    words = one_line(text).split(" ")
    return " ".join(_code(w) if _LINKED.search(w) else _MARKS.sub(r"\\\1", w) for w in words)


def _code(text: str) -> str:
    """A code span, in a fence longer than any in it; in a table, bars still need their escape."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    blank = " " if "`" in (text[0], text[-1]) else ""
    return f"{fence}{blank}{text.replace('|', chr(92) + '|')}{blank}{fence}"
