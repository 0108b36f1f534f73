"""Sentences in two invented languages that translate each other, for the mini workload.

The source is built like German: gender, number and case show in articles and adjectives, the verb
comes second in a main clause and last in a subordinate one, its prefix splits off to the end and
changes its meaning, nouns join to compounds, and time comes before manner before place. The target
is built like English: subject, verb, object, then place, manner and time; verbs agree in number and
some have a past of their own; adjectives do not bend.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import NamedTuple, TypeVar

SHORTEST, LONGEST = 4, 16  # words of a sentence, on either side
_ARTICLES = {  # by case; definite and indefinite; by gender, the last one for the plural
    "subject": (("tar", "ta", "tas", "tan"), ("un", "una", "uns", "mel")),
    "object": (("tam", "ta", "tas", "tem"), ("unam", "una", "uns", "mel")),
}
_ENDINGS = {"subject": ("er", "e", "es", "en"), "object": ("em", "e", "es", "en")}
_PLURALS = ("ar", "in", "os")  # by gender
_PREFIXES = ("", "ab", "vor", "ein")
_TENSES = ("present", "present", "past", "perfect")

T = TypeVar("T")


class Noun(NamedTuple):
    """A noun: in the source, its gender there, in the target."""

    source: str
    gender: int
    target: str


class Verb(NamedTuple):
    """A verb: prefix and stem in the source; the target's present and past."""

    prefix: str
    stem: str
    target: str
    past: str


class Phrase(NamedTuple):
    """A phrase in both languages."""

    source: str
    target: str
    plural: bool = False


_NOTHING = Phrase("", "")


class Clause(NamedTuple):
    """A clause: in the source with its verb in second place and at the end; in the target."""

    main: str
    subordinate: str
    target: str


class Language:
    """A pair of languages; the seed decides on their words."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        words = _new_words(self._rng, "bdfgklmnrstwz", ("n", "r", "l", "s"))
        others = _new_words(self._rng, "bcdfghjlmprtvy", ("ck", "nd", "p", "th"))
        phrases = zip(words, others, strict=False)
        self._nouns = [Noun(next(words), i % 3, next(others)) for i in range(60)]
        self._adjectives = [Phrase(*next(phrases)) for _ in range(20)]
        self._times = [Phrase(*next(phrases)) for _ in range(10)]
        self._manners = [Phrase(next(words), next(others) + "ly") for _ in range(10)]
        self._prepositions = [Phrase(*next(phrases)) for _ in range(6)]
        self._saying = [_verb("", next(words), others, i) for i in range(8)]
        stems = [next(words) for _ in range(16)]
        pairs = [(prefix, stem) for stem in stems for prefix in self._rng.sample(_PREFIXES, 2)]
        self._verbs = [_verb(*pair, others, i) for i, pair in enumerate(pairs)]

    def pairs(self, count: int, seed: int) -> tuple[list[str], list[str]]:
        """So many sentences and their translations."""
        self._rng.seed(seed)
        sources: list[str] = []
        targets: list[str] = []
        while len(sources) < count:
            source, target = self._sentence()
            sizes = len(source.split()), len(target.split())
            if min(sizes) >= SHORTEST and max(sizes) <= LONGEST:
                sources.append(source)
                targets.append(target)
        return sources, targets

    def _sentence(self) -> tuple[str, str]:
        clause = self._clause()
        source, target = clause.main, clause.target
        if self._chance(0.3):
            subject = self._noun_phrase("subject")
            verb = self._one_of(self._saying)
            said = verb.stem + ("en" if subject.plural else "t")
            source = f"{subject.source} {said} , dat {clause.subordinate}"
            says = verb.target + ("" if subject.plural else "s")
            target = f"{subject.target} {says} that {clause.target}"
        return f"{source} .", f"{target} ."

    def _clause(self) -> Clause:
        subject, thing = self._noun_phrase("subject"), self._noun_phrase("object")
        time, manner, place = _NOTHING, _NOTHING, _NOTHING
        if self._chance(0.4):
            time = self._one_of(self._times)
        if self._chance(0.3):
            manner = self._one_of(self._manners)
        if self._chance(0.3):
            where, noun = self._one_of(self._prepositions), self._noun_phrase("object")
            place = Phrase(f"{where.source} {noun.source}", f"{where.target} {noun.target}")
        verb, tense = self._one_of(self._verbs), self._rng.choice(_TENSES)
        negated = self._chance(0.15)
        finite, closing, last = _source_verb(verb, tense, plural=subject.plural)
        no = "nit" if negated else ""
        first, second = subject.source, time.source
        if time.source and self._chance(0.5):
            first, second = second, first
        middle = (manner.source, place.source, thing.source, no)
        verb_group = _target_verb(verb, tense, plural=subject.plural, negated=negated)
        return Clause(
            _join(first, finite, second, *middle, closing),
            _join(subject.source, time.source, *middle, last),
            _join(
                subject.target, verb_group, thing.target, place.target, manner.target, time.target
            ),
        )

    def _noun_phrase(self, case: str) -> Phrase:
        plural, definite = self._chance(0.35), self._chance(0.6)
        noun = self._one_of(self._nouns)
        source, target = noun.source, noun.target
        if self._chance(0.2):
            modifier = self._one_of(self._nouns)
            source, target = modifier.source + source, f"{modifier.target} {target}"
        form = 3 if plural else noun.gender
        if plural:
            source, target = source + _PLURALS[noun.gender], target + "s"
        if self._chance(0.4):
            adjective = self._one_of(self._adjectives)
            source = f"{adjective.source}{_ENDINGS[case][form]} {source}"
            target = f"{adjective.target} {target}"
        article = "the" if definite else "some" if plural else "a"
        return Phrase(
            f"{_ARTICLES[case][not definite][form]} {source}", f"{article} {target}", plural
        )

    def _one_of(self, words: Sequence[T]) -> T:
        """A word: the first ones are the most frequent, as in Zipf's law."""
        return self._rng.choices(words, cum_weights=_frequencies(len(words)))[0]

    def _chance(self, probability: float) -> bool:
        return self._rng.random() < probability


@cache
def _frequencies(count: int) -> list[float]:
    """Cumulative weights of words, the most frequent first."""
    return list(accumulate(1 / (rank + 4) for rank in range(count)))


def _new_words(rng: random.Random, consonants: str, endings: Sequence[str]) -> Iterator[str]:
    """Words of one or two syllables, none of them twice."""
    taken = set()
    while True:
        syllables = rng.choices(consonants, k=rng.randint(1, 2))
        word = "".join(consonant + rng.choice("aeiou") for consonant in syllables)
        word += rng.choice(endings)
        if word not in taken:
            taken.add(word)
            yield word


def _verb(prefix: str, stem: str, words: Iterator[str], number: int) -> Verb:
    """A verb; every third one has an irregular past."""
    present = next(words)
    return Verb(prefix, stem, present, next(words) if number % 3 == 0 else present + "ed")


def _source_verb(verb: Verb, tense: str, *, plural: bool) -> tuple[str, str, str]:
    """What is in second place of a main clause and at its end, and at the end of another."""
    if tense == "perfect":
        has, participle = "haben" if plural else "hat", f"{verb.prefix}ge{verb.stem}t"
        return has, participle, f"{participle} {has}"
    endings = {"present": ("t", "en"), "past": ("te", "ten")}
    form = verb.stem + endings[tense][plural]
    return form, verb.prefix, verb.prefix + form


def _target_verb(verb: Verb, tense: str, *, plural: bool, negated: bool) -> str:
    no = "not" if negated else ""
    if tense == "perfect":
        return _join("have" if plural else "has", no, verb.past)
    if negated:
        do = "did" if tense == "past" else "do" if plural else "does"
        return f"{do} not {verb.target}"
    return verb.past if tense == "past" else verb.target + ("" if plural else "s")


def _join(*words: str) -> str:
    return " ".join(word for word in words if word)
