"""Text that strangers wrote, for a terminal, a spreadsheet or Markdown, which act on some of it."""

from __future__ import annotations

import re
import unicodedata

_COMPUTED = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # what a formula begins with
_LINKED = re.compile(r"://|www\.|@|mailto:|xmpp:", re.IGNORECASE)
_MARKS = re.compile(r"([\\|<>*`~&\[\]]|(?<![^\W_])_|_(?![^\W_]))")  # within a word _ is not a mark


def one_line(text: str) -> str:
    r"""One line that shows what a terminal would act on or cannot show: \x1b, \n, \u202e, \udcff.

    So neither escape sequences nor line breaks of a name or message reach the terminal.
    """
    if text.isprintable():
        return text
    return "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in text)


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
