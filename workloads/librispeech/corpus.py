"""LibriSpeech in its files: SUBSET/SPEAKER/CHAPTER holds FLAC and one transcript file."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from harness.spec import DataError
from scoring.files import entries, read_bytes
from workloads.librispeech.data import Utterance
from workloads.librispeech.frontend import FRAME, SAMPLE_RATE

MOST_SAMPLES = 3600 * SAMPLE_RATE  # of an utterance; the longest official one has 35 s

SUBSETS = {
    "train": ("train-clean-100", "train-clean-360", "train-other-500"),
    "validation": ("dev-clean", "dev-other"),
    "test": ("test-clean",),
}
SPEAKERS = 20  # in a part of the prepared data: some two thousand utterances of a training subset
SOURCE = (
    "the folder LibriSpeech of openslr.org/12 with "
    f"{', '.join(name for names in SUBSETS.values() for name in names)}; AlgoPerf's "
    "spm_model.vocab beside it where you have it (else one is trained on the transcripts)"
)


def recordings(data_dir: Path) -> dict[str, list[Path]]:
    """The speakers' folders that each part of the prepared data is made from, by its name.

    Raises:
        DataError: A subset is missing.
    """
    found = {}
    for split, subsets in SUBSETS.items():
        for subset in subsets:
            speakers = _folders(data_dir / "LibriSpeech" / subset)
            for number, start in enumerate(range(0, len(speakers), SPEAKERS)):
                found[f"{split}_{subset}_{number:02}"] = speakers[start : start + SPEAKERS]
    return found


def files(speakers: Sequence[Path]) -> list[Path]:
    """All files of some speakers."""
    return [f for speaker in speakers for c in _folders(speaker) for f in entries(c)]


def transcripts(speakers: Sequence[Path]) -> list[str]:
    """What some speakers say, in order of name; raises DataError."""
    return [text for speaker in speakers for c in _folders(speaker) for text in _spoken(c).values()]


def utterances(speakers: Sequence[Path]) -> list[Utterance]:
    """What some speakers say and how, in order of name; raises DataError."""
    spoken: dict[Path, str] = {}
    for speaker in speakers:
        for chapter in _folders(speaker):
            spoken |= _spoken(chapter)
    with ThreadPoolExecutor() as pool:
        return list(zip(pool.map(_read, spoken), spoken.values(), strict=True))


def faults(speakers: Sequence[Path]) -> list[str]:
    """What is wrong with the files of some speakers, a line each."""
    found: list[str] = []
    for speaker in speakers:
        for chapter in _folders(speaker):
            try:
                spoken = _spoken(chapter)
            except DataError as error:
                found.append(str(error))
                continue
            with ThreadPoolExecutor() as pool:
                found += [fault for fault in pool.map(_fault, spoken) if fault]
    return found


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, in order of name; raises DataError where there are none."""
    inside = [f for f in entries(folder) if f.is_dir()] if folder.is_dir() else []
    if not inside:
        state = "holds no folders" if folder.is_dir() else "no such folder"
        raise DataError(f"{folder}: {state}; --data-dir must hold {SOURCE}")
    return inside


def _spoken(chapter: Path) -> dict[Path, str]:
    """What is said in every FLAC file of a chapter.

    Raises:
        DataError: A line is damaged, or files and lines are not of the same utterances.
    """
    file = chapter / f"{chapter.parent.name}-{chapter.name}.trans.txt"
    if not file.is_file():
        raise DataError(f"{file}: no such file; unpack the archive again")
    try:
        content = read_bytes(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error}); unpack the archive again") from None
    lines: dict[Path, str] = {}
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1):
        try:
            name, _, text = line.decode("utf-8").partition(" ")
        except UnicodeDecodeError:
            raise DataError(f"{file}:{number}: is not UTF-8; unpack the archive again") from None
        if not text.strip():
            raise DataError(f"{file}:{number}: has no transcript; unpack the archive again")
        audio = chapter / f"{name}.flac"
        if audio in lines:
            raise DataError(f"{file}:{number}: {name} is there twice; unpack the archive again")
        lines[audio] = text.strip()
    there = set(entries(chapter, "*.flac"))
    for audio in sorted(lines.keys() - there):
        raise DataError(f"{audio}: no such file, but {file} has its transcript; unpack it again")
    for audio in sorted(there - lines.keys()):
        raise DataError(f"{audio}: has no transcript in {file}; unpack the archive again")
    return dict(sorted(lines.items()))


def _fault(file: Path) -> str | None:
    try:
        _read(file)
    except DataError as error:
        return str(error)
    return None


def _read(file: Path) -> np.ndarray:
    """The samples [S] of a FLAC file, int16; raises DataError."""
    import soundfile

    try:
        with soundfile.SoundFile(file) as opened:
            if opened.frames > MOST_SAMPLES:
                raise DataError(
                    f"{file}: has {opened.frames:,} samples by its header, at most "
                    f"{MOST_SAMPLES:,} are read; unpack the archive again"
                )
            rate, audio = opened.samplerate, opened.read(dtype="int16", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise DataError(f"{file}: is damaged ({error}); unpack the archive again") from None
    if (rate, audio.shape[1]) != (SAMPLE_RATE, 1):
        raise DataError(
            f"{file}: has {audio.shape[1]} channels at {rate} Hz, not one at {SAMPLE_RATE}; "
            "unpack the archive again"
        )
    if len(audio) < FRAME:
        raise DataError(f"{file}: has {len(audio)} samples, fewer than a frame ({FRAME})")
    return np.asarray(audio[:, 0])
