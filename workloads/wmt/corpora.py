"""The parallel texts of wmt in their files: which they are, and reading them piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from harness.spec import DataError
from workloads.parts import Arrays, Part, read_part
from workloads.wmt.data import Lines, Text

_TRAINING = (
    "europarl-v7.de-en",
    "commoncrawl.de-en",
    "news-commentary-v12.de-en",
    "rapid2016.de-en",
)
_EVALUATION = {"validation": "newstest2013", "test": "newstest2014"}
PIECE_LINES = 200_000  # of the training text, in one part of the prepared data
BLOCK = 2**24  # bytes that are read at once to count lines
SOURCE = (
    "WMT17's German-English training texts (statmt.org/wmt17/translation-task.html), "
    f"{', '.join(f'{name}.{{de,en}}' for name in _TRAINING)}, or one train.{{de,en}}; "
    f"{' and '.join(f'{name}.{{de,en}}' for name in _EVALUATION.values())} as plain text; and "
    "AlgoPerf's wmt_sentencepiece_model where you have it (else one is trained on the texts)"
)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Two files of as many lines, each the translation of the other's."""

    german: Path
    english: Path

    @property
    def files(self) -> tuple[Path, Path]:
        """The source's and the target's."""
        return self.german, self.english


def training(data_dir: Path) -> list[Corpus]:
    """The training texts: train.de and train.en, or else those of WMT17.

    Raises:
        DataError: Some are missing.
    """
    single = _corpus(data_dir, "train")
    if any(file.is_file() for file in single.files):
        return [_checked(single)]
    return [_checked(_corpus(data_dir, name)) for name in _TRAINING]


def evaluation(data_dir: Path) -> dict[str, Corpus]:
    """The texts of the splits "validation" and "test".

    Raises:
        DataError: One is missing.
    """
    return {split: _checked(_corpus(data_dir, name)) for split, name in _EVALUATION.items()}


def pieces_part(data_dir: Path) -> Part:
    """Where each `PIECE_LINES` lines of the training texts are: `texts` reads this part."""
    found = training(data_dir)
    files = [file for corpus in found for file in corpus.files]
    return Part("pieces", f"pieces of {PIECE_LINES} lines", partial(_find_pieces, found), files)


def texts(data_dir: Path, folder: Path) -> list[Text]:
    """The training text in pieces, and the others.

    Raises:
        DataError: Files are missing, or the part "pieces" is not prepared in `folder`.
    """
    corpora = training(data_dir)
    pieces = read_part(folder, "pieces")["spans"].tolist()
    found = []
    for number, (corpus, first_line, *span) in enumerate(pieces):
        files = corpora[corpus].files
        read = partial(_read_piece, corpora[corpus], first_line, span)
        found.append(Text(f"train_{number:03}", read, files))
    for split, held_out in evaluation(data_dir).items():
        found.append(Text(split, partial(_read_whole, held_out), held_out.files))
    return found


def _corpus(data_dir: Path, name: str) -> Corpus:
    return Corpus(data_dir / f"{name}.de", data_dir / f"{name}.en")


def _checked(corpus: Corpus) -> Corpus:
    for file in corpus.files:
        if not file.is_file():
            raise DataError(f"{file}: no such file; put into {file.parent}: {SOURCE}")
        if not file.stat().st_size:
            raise DataError(f"{file}: is empty; fetch it again")
    return corpus


def _find_pieces(corpora: Sequence[Corpus]) -> Arrays:
    """The "spans" [pieces, 6]: corpus, first line (from 1), bytes from and to on either side."""
    spans = []
    for number, corpus in enumerate(corpora):
        (german, lines), (english, others) = (_line_starts(file) for file in corpus.files)
        if lines != others:
            raise _uneven(corpus, lines, others)
        bounds = zip(german[:-1], german[1:], english[:-1], english[1:], strict=True)
        for piece, span in enumerate(bounds):
            spans.append((number, piece * PIECE_LINES + 1, *span))
    return {"spans": np.array(spans, np.int64)}


def _line_starts(file: Path) -> tuple[list[int], int]:
    """The byte at which every piece starts, and the file's size; how many lines there are."""
    starts, lines, size, last = [0], 0, 0, b""
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
            of_piece = ends[-(lines + 1) % PIECE_LINES :: PIECE_LINES]  # a piece's last line's
            starts += (size + of_piece + 1).tolist()
            lines, size, last = lines + len(ends), size + len(block), block[-1:]
    if starts[-1] != size:
        starts.append(size)
    return starts, lines + (last != b"\n")


def _uneven(corpus: Corpus, lines: int, others: int) -> DataError:
    shorter, longer = corpus.files if lines < others else corpus.files[::-1]
    fewer = min(lines, others)
    return DataError(
        f"{longer}:{fewer + 1}: translates nothing, for {shorter} has {fewer:,} lines only; the "
        "files must have as many lines; fetch both again"
    )


def _read_piece(corpus: Corpus, first_line: int, span: Sequence[int]) -> Lines:
    """The lines of a piece on both sides; DataError where one is not UTF-8."""
    german = _read_lines(corpus.german, span[0], span[1], first_line)
    return german, _read_lines(corpus.english, span[2], span[3], first_line)


def _read_whole(corpus: Corpus) -> Lines:
    """All lines of a text to evaluate on; DataError where one is empty or has no counterpart."""
    sides = [_read_lines(file, 0, file.stat().st_size, 1) for file in corpus.files]
    if len(sides[0]) != len(sides[1]):
        raise _uneven(corpus, len(sides[0]), len(sides[1]))
    for file, side in zip(corpus.files, sides, strict=True):
        for number, line in enumerate(side, start=1):
            if not line.strip():
                raise DataError(f"{file}:{number}: is empty; fetch the file again")
    return sides[0], sides[1]


def _read_lines(file: Path, begin: int, end: int, first_line: int) -> list[str]:
    with file.open("rb") as stream:
        stream.seek(begin)
        content = stream.read(end - begin)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + content.count(b"\n", 0, error.start)
        raise DataError(f"{file}:{line}: is not UTF-8; fetch the file again") from None
    return text.removesuffix("\n").split("\n")  # not splitlines: lines hold other line ends
