"""A language whose words follow Zipf's law, for the mini workload.

Sentences follow a small grammar: a subject, a verb, perhaps an object and a place. Nouns have one
of four classes, which their article, adjective and verb ending show; verbs prefer some objects, and
all words of a document lean to its topic. Within its part of speech the word of rank r is drawn
with a probability proportional to 1/r, so that a few words are most of a text and most words are
rare, as in natural languages: that is where Adam leaves gradient descent behind (Kunstner et al.
2024, "Heavy-tailed class imbalance and why Adam outperforms gradient descent on language models").
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import accumulate

import numpy as np

from workloads.parts import Part

RECIPE = "language 2"  # another one where the language changes
CLASSES, TOPICS = 4, 16
END, PERIOD, COMMA, AND, THAT = range(5)  # END comes before every document
_FUNCTION_WORDS = 64  # those above, articles, verb endings and prepositions
_WORDS = {"noun": 2000, "verb": 992, "adjective": 704, "adverb": 336}  # multiples of TOPICS
VOCABULARY = _FUNCTION_WORDS + sum(_WORDS.values())  # 4096
_ARTICLES, _ENDINGS, _PREPOSITIONS = 8, 24, 40  # the first of each
_SENTENCES = (6, 14)  # of a document
_ON_TOPIC = 0.5  # the chance that a word is one of the document's topic
_PREFERRED = 0.5  # the chance that a verb has one of the objects it prefers


class Language:
    """Draws documents from a seed; the language itself is always the same."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._first = {}  # word of each part of speech
        first = _FUNCTION_WORDS
        for part, count in _WORDS.items():
            self._first[part] = first
            first += count
        self._weights = {
            part: list(accumulate(1 / rank for rank in range(1, count + 1)))
            for part, count in _WORDS.items()
        }

    def tokens(self, count: int) -> np.ndarray:
        """The first `count` tokens of a text, uint16 [count]."""
        found: list[int] = []
        while len(found) < count:
            found += self._document()
        return np.array(found[:count], np.uint16)

    def _document(self) -> Iterator[int]:
        topic = self._random.randrange(TOPICS)
        yield END
        for _ in range(self._random.randint(*_SENTENCES)):
            yield from self._clause(topic)
            if self._random.random() < 0.2:
                yield from (COMMA, self._random.choice((AND, THAT)))
                yield from self._clause(topic)
            yield PERIOD

    def _clause(self, topic: int) -> Iterator[int]:
        subject = self._draw("noun", topic)
        verb = self._draw("verb", topic)
        yield from self._noun_phrase(subject, topic)
        yield from (verb, _ENDINGS + 2 * _class(subject) + self._random.randrange(2))
        if verb % 3:
            yield from self._noun_phrase(self._object(verb, topic), topic)
        if self._random.random() < 0.3:
            yield self._draw("adverb", topic)
        if self._random.random() < 0.3:
            yield _PREPOSITIONS + (verb + self._random.randrange(2)) % 24
            yield from self._noun_phrase(self._draw("noun", topic), topic)

    def _noun_phrase(self, noun: int, topic: int) -> Iterator[int]:
        yield _ARTICLES + 4 * self._random.randrange(2) + _class(noun)
        if self._random.random() < 0.35:
            adjective = self._draw("adjective", topic)
            yield adjective - adjective % CLASSES + _class(noun)  # agrees with it
        yield noun

    def _object(self, verb: int, topic: int) -> int:
        """One of eight objects that the verb prefers, or any."""
        if self._random.random() < _PREFERRED:
            place = 37 * verb + 11 * self._random.randrange(8)
            return self._first["noun"] + place % _WORDS["noun"]
        return self._draw("noun", topic)

    def _draw(self, part: str, topic: int) -> int:
        """A word of a part of speech by Zipf's law; of a topic are the words of one remainder."""
        weights = self._weights[part]
        (rank,) = self._random.choices(range(len(weights)), cum_weights=weights)
        if self._random.random() < _ON_TOPIC:
            rank = rank - rank % TOPICS + topic
        return self._first[part] + rank


def parts(counts: Mapping[str, int]) -> list[Part]:
    """A text "tokens" of so many tokens for each split, each from its own seed."""
    return [
        Part(split, f"{RECIPE}, {count}", partial(_text, seed, count))
        for seed, (split, count) in enumerate(counts.items(), start=1)
    ]


def _text(seed: int, count: int) -> dict[str, np.ndarray]:
    return {"tokens": Language(seed).tokens(count)}


def _class(noun: int) -> int:
    return noun * 7 // 3 % CLASSES
