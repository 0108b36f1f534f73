"""Names that were mistyped: which ones were probably meant."""

from __future__ import annotations

from collections.abc import Collection
from difflib import SequenceMatcher

_FEW = 6  # so many names are all listed; of more, the nearest
_NEAREST = 3
_LIKELY = 0.6  # similarity from which a name was probably meant


def known_names(name: str, known: Collection[str], listing: str = "") -> str:
    """What there is in place of a name that there is not, to end an error message.

    Args:
        name: What was given.
        known: All names that there are.
        listing: Where all of them are listed, as "`chronograd submissions`"; "" for nowhere.

    Returns:
        "There are: a, b" for a few; of more the three nearest, and where the rest is listed.
    """
    if not known:
        return "There are none"
    likely, *others = nearest(name, known)
    similar = _similarity(name, likely) >= _LIKELY
    hint = f"Did you mean {likely!r}? " if similar else ""
    if len(known) <= _FEW:
        return f"{hint}There are: {', '.join(known)}"
    where = f"; {listing} lists all {len(known)}" if listing else f", of {len(known)}"
    shown = others if similar else [likely, *others]
    return f"{hint}{'Also near' if similar else 'The nearest'}: {', '.join(shown)}{where}"


def nearest(name: str, known: Collection[str]) -> list[str]:
    """The three names most similar to `name`, the most similar first."""
    order = {other: (_similarity(name, other), "/" not in other, other) for other in known}
    return sorted(order, key=order.__getitem__, reverse=True)[:_NEAREST]


def _similarity(name: str, other: str) -> float:
    """From 0 to 1; of "self_tuning/adamw" the better of the complete name and "adamw"."""
    return max(
        SequenceMatcher(None, name.lower(), part.lower()).ratio()
        for part in {other, other.rsplit("/", 1)[-1]}
    )
