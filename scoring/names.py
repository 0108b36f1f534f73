"""Names and nouns in messages: suggestions for a mistyped name, and plurals."""

from __future__ import annotations

from collections.abc import Collection
from difflib import SequenceMatcher

_FEW = 6  # up to this many names are all listed; of more, the nearest
_NEAREST = 3
_LIKELY = 0.6  # similarity from which a name was probably meant


def known_names(name: str, known: Collection[str], listing: str = "") -> str:
    """Lists the known names for the end of an error message about an unknown one.

    Args:
        name: The unknown name.
        known: All known names.
        listing: What lists all of them, such as "`chronograd submissions`"; "" for nothing.

    Returns:
        "There are: a, b" for a few names; for more the three nearest, and where to find the rest.
    """
    if not known:
        return "There are none"
    likely, *others = nearest(name, known)
    similar = _similarity(name, likely) >= _LIKELY
    hint = f"Did you mean {likely!r}? " if similar else ""
    if len(known) <= _FEW:
        return f"{hint}There are: {', '.join(known)}"
    where = f"; {listing} lists all {len(known)}" if listing else f"; there are {len(known)}"
    shown = others if similar else [likely, *others]
    return f"{hint}{'Also near' if similar else 'The nearest'}: {', '.join(shown)}{where}"


def counted(count: int, noun: str) -> str:
    """A number with its noun: "1 trial", "1,000 trials"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def nearest(name: str, known: Collection[str]) -> list[str]:
    """The three names most similar to `name`, the most similar first."""
    order = {other: (_similarity(name, other), "/" not in other, other) for other in known}
    return sorted(order, key=order.__getitem__, reverse=True)[:_NEAREST]


def _similarity(name: str, other: str) -> float:
    """From 0 to 1; for "self_tuning/adamw" the better of the complete name and "adamw"."""
    return max(
        SequenceMatcher(None, name.lower(), part.lower()).ratio()
        for part in {other, other.rsplit("/", 1)[-1]}
    )
