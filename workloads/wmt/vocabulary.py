"""Text to tokens and back, by a SentencePiece model (Kudo and Richardson 2018)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np

from harness.spec import DataError

EOS = 2  # 0 is the unknown token and padding, 1 the beginning of a sentence, which is not used
TRAINING_CHARACTERS = 10_000_000  # of the training text; the vocabulary is made from so many


class Vocabulary:
    """A SentencePiece model.

    Args:
        content: Of the model's file.
        origin: Where that lies, for messages.

    Raises:
        DataError: It is no such model, or one with other special tokens.
    """

    def __init__(self, content: bytes, origin: str) -> None:
        from sentencepiece import SentencePieceProcessor

        try:
            self._model = SentencePieceProcessor(model_proto=content)
        except RuntimeError:
            raise DataError(f"{origin}: is no SentencePiece model; fetch it anew") from None
        special = self._model.unk_id(), self._model.bos_id(), self._model.eos_id()
        if special != (0, 1, EOS):
            raise DataError(
                f"{origin}: its unknown token, BOS and EOS are {special}, not (0, 1, 2) as in "
                "AlgoPerf's; remove it, and one is made from the training text"
            )

    def __len__(self) -> int:
        return int(self._model.get_piece_size())

    def encode(self, lines: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """All lines' tokens, flat, and how many each has, both int32; every line ends in EOS."""
        encoded = self._model.encode(list(lines), add_eos=True, num_threads=1)
        lengths = np.fromiter(map(len, encoded), np.int32, len(encoded))
        tokens = np.fromiter(chain.from_iterable(encoded), np.int32, lengths.sum())
        return tokens, lengths

    def decode(self, sentences: Sequence[Sequence[int]]) -> list[str]:
        """The text of each; tokens past the vocabulary's end are unknown ones."""
        known = [[token if token < len(self) else 0 for token in tokens] for tokens in sentences]
        return [str(self._model.decode(tokens)) for tokens in known]


def train(pairs: Iterable[tuple[str, str]], size: int) -> bytes:
    """The content of a model of at most `size` tokens, both languages together.

    A unigram model of the first `TRAINING_CHARACTERS` characters, source and target lines in turn.
    One thread: with several, the model depends on how many.
    """
    from sentencepiece import SentencePieceTrainer

    lines = list(_first_lines(pairs))  # here, for the trainer wraps what reading may raise
    out = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=out,
        vocab_size=size,
        hard_vocab_limit=False,  # of few texts the largest vocabulary is smaller
        model_type="unigram",
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    return out.getvalue()


def _first_lines(pairs: Iterable[tuple[str, str]]) -> Iterable[str]:
    characters = 0
    for line in chain.from_iterable(pairs):
        if characters >= TRAINING_CHARACTERS:
            return
        characters += len(line)
        yield line
