"""Utterances as samples and tokens: prepared once, memory-mapped, put together to batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from harness.spec import DataError
from workloads.parts import Arrays, Part
from workloads.vocabulary import Vocabulary, read_vocabulary, vocabulary_part

Utterance = tuple[np.ndarray, str]  # samples [S], int16 at 16 kHz, and what is said


@dataclass(frozen=True, slots=True)
class Recording:
    """Utterances that become one part of the prepared data.

    Attributes:
        name: Begins with the split: "train", "validation" or "test".
        read: Gives the utterances, or raises DataError.
        texts: Gives transcripts that a vocabulary can be made from.
        files: Gives those that they are read from.
    """

    name: str
    read: Callable[[], Sequence[Utterance]]
    texts: Callable[[], Sequence[str]]
    files: Callable[[], Sequence[Path]] = tuple


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """What makes samples and tokens of recordings.

    Attributes:
        recipe: Names the code that makes the utterances, its version included.
        recordings: All recordings.
        vocabulary_file: A model to use instead of one made from the transcripts.
        vocabulary_from: The beginning of the names of recordings that a vocabulary is made from.
        vocabulary_size: The largest number of tokens.
        max_samples: Longer utterances are left out.
        max_characters: Utterances with longer transcripts are left out.
        folder: The folder of the parts.
    """

    recipe: str
    recordings: Sequence[Recording]
    vocabulary_file: Path | None = None
    vocabulary_from: str
    vocabulary_size: int
    max_samples: int
    max_characters: int
    folder: Path

    def parts(self) -> list[Part]:
        """The vocabulary, then one part for each recording."""
        recipe = f"{self.recipe}, {self.vocabulary_size} tokens"
        origin = [self.vocabulary_file] if self.vocabulary_file else self._transcript_files()
        given, size = self.vocabulary_file, self.vocabulary_size
        parts = [vocabulary_part(recipe, origin, given, self._transcripts, size)]
        recipe += f", up to {self.max_samples} samples and {self.max_characters} characters"
        for recording in self.recordings:
            make = partial(self._make, recording)
            parts.append(Part(recording.name, recipe, make, [*recording.files(), *origin]))
        return parts

    def vocabulary(self) -> Vocabulary:
        """The prepared vocabulary; raises DataError."""
        return read_vocabulary(self.folder)

    def names(self, split: str) -> list[str]:
        """The names of the parts of "train", "validation" or "test"."""
        return [r.name for r in self.recordings if r.name.startswith(split)]

    def _transcribed(self) -> list[Recording]:
        """What a vocabulary is made from."""
        return [r for r in self.recordings if r.name.startswith(self.vocabulary_from)]

    def _transcript_files(self) -> list[Path]:
        return [f for r in self._transcribed() for f in r.files() if f.suffix == ".txt"]

    def _transcripts(self) -> list[str]:
        return [text for recording in self._transcribed() for text in recording.texts()]

    def _make(self, recording: Recording) -> Arrays:
        """Samples and tokens, flat, how many each utterance has, and how many were left out."""
        everything = recording.read()
        kept = [
            (audio, text)
            for audio, text in everything
            if len(audio) <= self.max_samples and len(text) <= self.max_characters
        ]
        tokens = self.vocabulary().encode([text for _, text in kept])
        none = np.zeros(0, np.int16)
        return {
            "audio": np.concatenate([none, *(audio for audio, _ in kept)]),
            "audio_lengths": np.array([len(audio) for audio, _ in kept], np.int32),
            "tokens": np.array([token for one in tokens for token in one], np.uint16),
            "tokens_lengths": np.array([len(one) for one in tokens], np.int32),
            "left_out": np.array(len(everything) - len(kept)),
        }


class Utterances:
    """Utterances of one or several parts; their samples stay on disk.

    Attributes:
        left_out: How many were too long.
        tokens_lengths: How many tokens [N] each has.

    Raises:
        DataError: There are none.
    """

    def __init__(self, parts: Sequence[Arrays], max_samples: int, name: str) -> None:
        self.left_out = sum(int(part["left_out"]) for part in parts)
        self._max_samples = max_samples
        self._audio = [part["audio"] for part in parts]
        lengths = [np.array(part["audio_lengths"], np.int64) for part in parts]
        self._part = np.repeat(np.arange(len(parts)), [len(of_part) for of_part in lengths])
        if not len(self._part):
            raise DataError(f"{name}: no utterance is left, {self.left_out:,} were too long")
        self._starts = np.concatenate([np.cumsum(of_part) - of_part for of_part in lengths])
        self._lengths = np.concatenate(lengths)
        self._tokens = np.concatenate([part["tokens"] for part in parts])
        self.tokens_lengths = np.concatenate([part["tokens_lengths"] for part in parts])
        self._tokens_ends = np.cumsum(self.tokens_lengths, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._lengths)

    def rows(self, chosen: np.ndarray, max_tokens: int) -> dict[str, np.ndarray]:
        """The utterances of these numbers, 0 after their ends.

        Returns:
            "audio" [B, S] and "tokens" [B, max_tokens], int16, and the lengths of both [B].
        """
        audio = np.zeros((len(chosen), self._max_samples), np.int16)
        tokens = np.zeros((len(chosen), max_tokens), np.int16)
        for row, number in enumerate(chosen):
            start, length = self._starts[number], self._lengths[number]
            audio[row, :length] = self._audio[self._part[number]][start : start + length]
            end, length = self._tokens_ends[number], self.tokens_lengths[number]
            tokens[row, :length] = self._tokens[end - length : end]
        return {
            "audio": audio,
            "audio_lengths": self._lengths[chosen],
            "tokens": tokens,
            "tokens_lengths": self.tokens_lengths[chosen],
        }
