"""Makes untrusted text, such as names and messages of submissions, safe to show and to write."""

from __future__ import annotations

import re
import unicodedata

MESSAGE_CHARACTERS = 1000
_COMPUTED = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # how a formula begins
_LINKED = re.compile(r"://|www\.|@|mailto:|xmpp:", re.IGNORECASE)
_MARKS = re.compile(r"([\\|<>*`~&\[\]]|(?<![^\W_])_|_(?![^\W_]))")  # within a word, _ is not markup


def printable(text: str, kept: str = "\n\t") -> str:
    r"""Escapes everything that a terminal, file or page may not show (\x1b, \u202e, \udcff).

    Thus no escape sequence in a name or a message reaches a terminal, and no lone surrogate, which
    `os.fsdecode` returns for a file name that is not UTF-8, reaches an encoder.

    Args:
        text: Any text.
        kept: Characters to keep although they are not printable.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c in kept or _is_shown(c) else c.encode("unicode_escape").decode() for c in text
    )


def one_line(text: str) -> str:
    r"""Like `printable`, but also escapes line breaks and tabs (\n, \t)."""
    return printable(text, kept="")


def first_line(text: str, most: int = MESSAGE_CHARACTERS) -> str:
    """The first line of `text` that is not blank, made printable and cut to `most` characters."""
    line = next((line.strip() for line in text.split("\n") if line.strip()), "")
    line = printable(line.replace("\t", " "))
    return line if len(line) <= most else line[: most - 3] + "..."


def error_message(error: BaseException, place: str = "") -> str:
    """The class of an exception and the first line of its text; at the end its place, if given."""
    kind = class_name(error)
    line = first_line(error_text(error, without_place=bool(place)))
    end = f", at {place}" if place else ""
    return first_line(f"{kind}: {line}" if line else kind, MESSAGE_CHARACTERS - len(end)) + end


def class_name(error: BaseException) -> str:
    """The name of an exception's class, even if its metaclass has a property `__name__`."""
    return str(type.__dict__["__name__"].__get__(type(error)))


def error_text(error: BaseException, *, without_place: bool = False) -> str:
    """The text of an exception, even if its `__str__` raises or returns a subclass of str.

    Args:
        error: An exception of any class.
        without_place: Whether to leave out the place that `str` adds to a syntax error.
    """
    try:
        is_syntax = without_place and issubclass(type(error), SyntaxError)
        return "".join([str(error.msg if is_syntax else error)])  # type: ignore[attr-defined]
    except BaseException as another:  # noqa: BLE001 - an exception of a submission may be anything
        return f"(its __str__ raised {class_name(another)})"


def _is_shown(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"  # a kind of space


def spreadsheet_cell(text: str) -> str:
    """Escapes text for a spreadsheet: an apostrophe precedes what would be a formula."""
    text = one_line(text)
    return f"'{text}" if text.lstrip().startswith(_COMPUTED) else text


def markdown(text: str) -> str:
    """Escapes text for Markdown: no table bars, HTML, emphasis or links from a name.

    A word that renderers turn into a link without markup (URL, address, mention) is set as code.
    """
    words = one_line(text).split(" ")
    return " ".join(_code(w) if _LINKED.search(w) else _MARKS.sub(r"\\\1", w) for w in words)


def _code(text: str) -> str:
    """A code span with a fence longer than any inside; bars are escaped, as tables need it."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    blank = " " if "`" in (text[0], text[-1]) else ""
    return f"{fence}{blank}{text.replace('|', chr(92) + '|')}{blank}{fence}"
