"""Text to tokens and back, by a SentencePiece model (Kudo and Richardson 2018)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.spec import DataError
from scoring.files import read_bytes

UNKNOWN, EOS = 0, 2  # the unknown token is also padding, and CTC's blank


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
        special = self._model.unk_id(), self._model.eos_id()
        if special != (UNKNOWN, EOS):
            raise DataError(
                f"{origin}: its unknown token and EOS are {special}, not {(UNKNOWN, EOS)} as in "
                "AlgoPerf's; remove it, and one is made from the training text"
            )

    def __len__(self) -> int:
        return int(self._model.get_piece_size())

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each, EOS at the end."""
        return list(self._model.encode(list(texts), add_eos=True, num_threads=1))

    def decode(self, sentences: Sequence[Sequence[int]]) -> list[str]:
        """The text of each; tokens past the vocabulary's end are unknown ones."""
        known = [[token if token < len(self) else UNKNOWN for token in one] for one in sentences]
        return [str(self._model.decode(tokens)) for tokens in known]


def read_model(file: Path) -> bytes:
    """The content of a model's file; raises DataError."""
    try:
        return read_bytes(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from None


def train(texts: Iterable[str], size: int) -> bytes:
    """The content of a unigram model of at most `size` tokens.

    One thread: with several, the model depends on how many.
    """
    from sentencepiece import SentencePieceTrainer

    out = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=out,
        vocab_size=size,
        hard_vocab_limit=False,  # of few texts the largest vocabulary is smaller
        model_type="unigram",
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    return out.getvalue()
