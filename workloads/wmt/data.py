"""Sentence pairs as tokens: prepared once, packed into rows for training, padded for evaluation."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from harness.spec import DataError
from workloads.parts import Arrays, Part, Rows
from workloads.vocabulary import Vocabulary, read_vocabulary, vocabulary_part

SIDES = ("inputs", "targets")
TRAINING_CHARACTERS = 10_000_000  # that the vocabulary is made from, as AlgoPerf's
COUNTS = ("pairs", "empty", "long")  # those read, and those left out, of a text
Lines = tuple[list[str], list[str]]  # source and target


@dataclass(frozen=True, slots=True)
class Text:
    """Parallel lines that become one part of the prepared data.

    Attributes:
        name: "validation", "test", or "train" and a number.
        read: Gives the lines, or raises DataError.
        files: The files that they are read from.
    """

    name: str
    read: Callable[[], Lines]
    files: Sequence[Path] = ()

    @property
    def trains(self) -> bool:
        """Whether it is a part of the training text."""
        return self.name.startswith("train")


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """What makes tokens of texts.

    Attributes:
        recipe: Names the code that makes the texts and their tokens, its version included.
        texts: All texts.
        vocabulary_file: A model to use instead of one made from the training texts.
        vocabulary_size: The largest number of tokens.
        max_length: Pairs with more tokens on a side, EOS counted, are left out.
        folder: The folder of the parts.
    """

    recipe: str
    texts: Sequence[Text]
    vocabulary_file: Path | None = None
    vocabulary_size: int
    max_length: int
    folder: Path

    def parts(self) -> list[Part]:
        """The vocabulary, then one part for each text."""
        files = {file for text in self.texts if text.trains for file in text.files}
        origin = sorted(files) if self.vocabulary_file is None else [self.vocabulary_file]
        recipe = f"{self.recipe}, {self.vocabulary_size} tokens, pairs up to {self.max_length}"
        given, size = self.vocabulary_file, self.vocabulary_size
        parts = [vocabulary_part(recipe, origin, given, self._first_lines, size)]
        for text in self.texts:
            sources = sorted({*text.files, *origin})
            parts.append(Part(text.name, recipe, partial(self._make_tokens, text), sources))
        return parts

    def vocabulary(self) -> Vocabulary:
        """The prepared vocabulary; raises DataError."""
        return read_vocabulary(self.folder)

    def names(self, split: str) -> list[str]:
        """The names of the parts of "train", "validation" or "test"."""
        return [text.name for text in self.texts if text.name.startswith(split)]

    def _first_lines(self) -> list[str]:
        """What a vocabulary is made from."""
        lines = (text.read() for text in self.texts if text.trains)
        pairs = (pair for sides in lines for pair in zip(*sides, strict=True))
        return list(first_lines(pairs))

    def _make_tokens(self, text: Text) -> Arrays:
        """Tokens of both sides, flat, how many each sentence has, and COUNTS."""
        sides = text.read()
        full = [i for i, pair in enumerate(zip(*sides, strict=True)) if all(map(str.strip, pair))]
        vocabulary = self.vocabulary()
        encoded = [_flat(vocabulary.encode([side[i] for i in full])) for side in sides]
        short = np.all([lengths <= self.max_length for _, lengths in encoded], axis=0)
        arrays = {"counts": np.array([len(sides[0]), len(sides[0]) - len(full), (~short).sum()])}
        for name, (tokens, lengths) in zip(SIDES, encoded, strict=True):
            arrays[name] = tokens[np.repeat(short, lengths)].astype(np.uint16)
            arrays[f"{name}_lengths"] = lengths[short].astype(np.uint16)
        return arrays


def first_lines(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Source and target lines in turn, until they have `TRAINING_CHARACTERS`."""
    characters = 0
    for line in chain.from_iterable(pairs):
        if characters >= TRAINING_CHARACTERS:
            return
        characters += len(line)
        yield line


def _flat(encoded: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """All lines' tokens, flat, and how many each has, both int32."""
    lengths = np.fromiter(map(len, encoded), np.int32, len(encoded))
    return np.fromiter(chain.from_iterable(encoded), np.int32, lengths.sum()), lengths


class Pairs:
    """Sentence pairs of one or several parts; only their lengths are in memory.

    Attributes:
        counts: How many pairs the texts have, and how many were left out and why, by COUNTS.
        lengths: Tokens of every pair's source and target [N, 2].

    Raises:
        DataError: There are none.
    """

    def __init__(self, parts: Sequence[Arrays], name: str) -> None:
        totals = np.sum([part["counts"] for part in parts], axis=0).tolist()
        self.counts: dict[str, int] = dict(zip(COUNTS, totals, strict=True))
        lengths = [
            np.concatenate([part[f"{side}_lengths"] for part in parts]).astype(np.int32)
            for side in SIDES
        ]
        self.lengths = np.stack(lengths, axis=1)
        if not len(self.lengths):
            raise DataError(f"{name}: no sentence pair is left of {self.counts}")
        self._starts = np.cumsum(self.lengths, axis=0, dtype=np.int64) - self.lengths
        self._tokens = [Rows([part[side] for part in parts]) for side in SIDES]

    def __len__(self) -> int:
        return len(self.lengths)

    def padded(self, chosen: np.ndarray) -> dict[str, np.ndarray]:
        """One pair a row, as long as the longest: inputs [B, S], targets and weights [B, T]."""
        widths = self.lengths[chosen].max(axis=0)
        rows = self._rows(chosen, np.ones(len(chosen), np.int64), widths.tolist())
        return {name: rows[name] for name in (*SIDES, "weights")}

    def packed(self, chosen: np.ndarray, per_row: np.ndarray, width: int) -> dict[str, np.ndarray]:
        """Several pairs a row, all arrays [B, width].

        Args:
            chosen: The pairs, row after row.
            per_row: How many of them each row has [B]; they must fit.
            width: The width of a row, in tokens.

        Returns:
            inputs, targets, weights (1 where there is a target) and, for either side, *_position,
            every token's place in its sentence, and *_segmentation, the number of its sentence in
            the row, from 1; all 0 where there is no token.
        """
        return self._rows(chosen, per_row, [width, width])

    def _rows(
        self, chosen: np.ndarray, per_row: np.ndarray, widths: Sequence[int]
    ) -> dict[str, np.ndarray]:
        row = np.repeat(np.arange(len(per_row)), per_row)  # of every pair
        first = (np.cumsum(per_row) - per_row)[row]  # pair of its row
        batch = {}
        for side, (name, width) in enumerate(zip(SIDES, widths, strict=True)):
            lengths = self.lengths[chosen, side]
            starts = np.cumsum(lengths) - lengths
            pair = np.repeat(np.arange(len(chosen)), lengths)  # of every token
            position = np.arange(len(pair)) - starts[pair]
            place = (row * width + starts - starts[first])[pair] + position
            tokens = self._tokens[side].take(self._starts[chosen, side][pair] + position)
            number = (np.arange(len(chosen)) - first + 1)[pair]
            for key, values in (("", tokens), ("_position", position), ("_segmentation", number)):
                array = np.zeros(len(per_row) * width, np.int64)
                array[place] = values
                batch[name + key] = array.reshape(-1, width)
        batch["weights"] = (batch["targets"] > 0).astype(np.float32)
        return batch


def fill_rows(lengths: np.ndarray, width: int) -> np.ndarray:
    """How many pairs go into each row: a new row starts where the next pair does not fit.

    As in AlgoPerf, packing restarts after every `width` pairs, even where the next one would fit.

    Args:
        lengths: Tokens of every pair's source and target [N, 2], at most `width`.
        width: The width of a row, in tokens, on either side.
    """
    ends = np.zeros((len(lengths) + 1, 2), np.int64)
    np.cumsum(lengths, axis=0, out=ends[1:])
    beyond = [np.searchsorted(side, side + width, "right") - 1 for side in ends.T]
    group_end = (np.arange(len(ends)) // width + 1) * width
    after = np.minimum(np.minimum(*beyond), group_end)  # where a row ends that starts at each pair
    starts = [0]
    while starts[-1] < len(lengths):
        starts.append(int(after[starts[-1]]))
    return np.diff(starts)


def row_batches(
    lengths: np.ndarray, width: int, size: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless batches of `size` rows: the pairs in them, and how many each row has.

    Every epoch goes through all pairs in another random order. Rows are filled with groups of
    `width` pairs (see `fill_rows`). Pairs and rows that are left at the end of an epoch are used in
    the next one, so that none is dropped.
    """
    waiting = np.zeros(0, np.int64)  # pairs that do not make up a group yet
    chosen, per_row = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for epoch in itertools.count():
        order = np.random.default_rng([seed, epoch]).permutation(len(lengths))
        order = np.concatenate([waiting, order])
        grouped, waiting = np.split(order, [len(order) // width * width])
        chosen = np.concatenate([chosen, grouped])
        per_row = np.concatenate([per_row, fill_rows(lengths[grouped], width)])
        ends = np.concatenate([[0], np.cumsum(per_row)])
        full = len(per_row) // size * size
        for row in range(0, full, size):
            yield chosen[ends[row] : ends[row + size]], per_row[row : row + size]
        chosen, per_row = chosen[ends[full] :], per_row[full:]
