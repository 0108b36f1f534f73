"""Text to tokens and back, by a SentencePiece model (Kudo and Richardson 2018)."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from harness.spec import DataError
from scoring.files import read_bytes
from workloads.parts import Arrays, Part, read_part

_PART = "vocabulary"
UNKNOWN, EOS = 0, 2  # the unknown token is also padding, and CTC's blank


class Vocabulary:
    """A SentencePiece model.

    Args:
        content: The content of the model's file.
        origin: Where that is, for messages.

    Raises:
        DataError: It is not such a model, or one with other special tokens.
    """

    def __init__(self, content: bytes, origin: str) -> None:
        from sentencepiece import SentencePieceProcessor

        try:
            self._model = SentencePieceProcessor(model_proto=content)
        except RuntimeError:
            raise DataError(f"{origin}: is not a SentencePiece model; fetch it again") from None
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


def vocabulary_part(
    recipe: str,
    sources: Sequence[Path],
    given: Path | None,
    texts: Callable[[], list[str]],
    size: int,
) -> Part:
    """The part of the prepared data that holds a vocabulary.

    Args:
        recipe: Names the code that makes the texts, its version included.
        sources: The files that it is made from.
        given: The file of a model, which is then used.
        texts: Where there is none, gives the texts that one is trained on.
        size: The largest number of tokens.
    """

    def make() -> Arrays:
        content = train(texts(), size) if given is None else read_model(given, size)
        return {"model": np.frombuffer(content, np.uint8)}

    return Part(_PART, recipe, make, sources)


def read_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary of the prepared data in a folder; raises DataError."""
    content = read_part(folder, _PART)["model"].tobytes()
    return Vocabulary(content, str(folder / _PART))


def read_model(file: Path, size: int) -> bytes:
    """The content of a model's file; raises DataError where it has more than `size` tokens."""
    try:
        content = read_bytes(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from None
    found = len(Vocabulary(content, str(file)))
    if found > size:
        raise DataError(
            f"{file}: has {found:,} tokens, {size:,} at most were expected; remove it, and one is "
            "made from the training text"
        )
    return content


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
