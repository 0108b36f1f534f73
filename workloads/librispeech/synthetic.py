"""Speech made here for the minis: short sentences of an invented language, letter by letter.

Each letter has its own sound: a vowel or a voiced consonant is the voice's pulses through two
formants, other consonants are noise in a band. Speakers differ in pitch, in the length of the vocal
tract and in speed, and recordings in loudness, in the colour of their noise and in its level. Some
letters sound much alike, and some words differ in these alone, so that the sentence helps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workloads.librispeech.data import Utterance
from workloads.librispeech.frontend import SAMPLE_RATE

_VOICED = {  # two formants in Hz
    "a": (750, 1250), "e": (480, 1900), "i": (300, 2400), "o": (480, 880), "u": (320, 700),
    "m": (250, 1000), "n": (260, 1500), "l": (360, 1150), "r": (420, 1500), "z": (280, 3800),
}  # fmt: skip
_NOISE = {  # the band in Hz
    "s": (4800, 6800), "f": (1800, 7200), "h": (700, 2200), "k": (1500, 2600), "t": (3000, 5200),
}  # fmt: skip
_VOWELS, _CONSONANTS = "aeiou", "mnlrzsfhkt"
_LETTER, _GAP = (0.06, 0.1), (0.05, 0.08)  # seconds, shortest and longest
_NOISE_LEVEL = (0.04, 0.5)  # of the voice's


class Language:
    """An invented language: nouns, adjectives and verbs, and the order that they come in."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        words: list[str] = []
        while len(words) < 48:
            letters = [rng.choice(list(_CONSONANTS)), rng.choice(list(_VOWELS))]
            letters += [rng.choice(list(_CONSONANTS))] if rng.random() < 0.6 else []
            word = "".join(letters)
            if word not in words:
                words.append(word)
        self._nouns, self._adjectives, self._verbs = words[:24], words[24:34], words[34:]

    def sentence(self, rng: np.random.Generator) -> str:
        """A verb and its subject, and perhaps an adjective or an object."""
        words = [_zipf(self._nouns, rng), _zipf(self._verbs, rng)]
        kind = rng.random()
        if kind < 0.4:
            words.insert(0, _zipf(self._adjectives, rng))
        elif kind < 0.7:
            words.append(_zipf(self._nouns, rng))
        return " ".join(words)


def texts(count: int, seed: int) -> list[str]:
    """So many sentences."""
    language, rng = Language(seed=0), np.random.default_rng(seed)
    return [language.sentence(rng) for _ in range(count)]


def utterances(count: int, max_samples: int, seed: int) -> list[Utterance]:
    """So many sentences, spoken in at most `max_samples`."""
    language, rng = Language(seed=0), np.random.default_rng(seed)
    spoken: list[Utterance] = []
    while len(spoken) < count:
        text = language.sentence(rng)
        audio = speak(text, rng)
        if len(audio) <= max_samples:
            spoken.append((audio, text))
    return spoken


def speak(text: str, rng: np.random.Generator) -> np.ndarray:
    """A sentence by some speaker in some room: samples [S], int16."""
    pitch, tract, speed = rng.uniform(90, 240), rng.uniform(0.85, 1.15), rng.uniform(0.85, 1.1)
    sounds = [_silence(rng)]
    for letter in text:
        if letter == " ":
            sounds.append(_silence(rng))
            continue
        size = int(SAMPLE_RATE * rng.uniform(*_LETTER) / speed)
        sounds.append(_letter(letter, size, pitch * rng.uniform(0.9, 1.1), tract, rng))
    sounds.append(_silence(rng))
    voice = np.concatenate(sounds)
    noise = rng.normal(size=len(voice))
    if rng.random() < 0.5:
        noise = _filtered(1.0, [1.0, -rng.uniform(0.5, 0.95)], noise)
    level = np.exp(rng.uniform(*np.log(_NOISE_LEVEL))) * voice.std() / noise.std()
    loud = 10 ** rng.uniform(2.7, 3.5) / voice.std()
    return np.asarray(np.clip((voice + level * noise) * loud, -32768, 32767), np.int16)


def _letter(
    letter: str, size: int, pitch: float, tract: float, rng: np.random.Generator
) -> np.ndarray:
    """The sound of a letter [size], fading in and out."""
    source = rng.normal(size=size)
    if letter in _VOICED:
        glide = pitch * np.linspace(1, rng.uniform(0.9, 1.1), size)
        pulses = np.diff(np.floor(np.cumsum(glide) / SAMPLE_RATE), prepend=0.0)
        source = 12 * pulses + 0.15 * source
        sound = sum(
            gain * _resonance(source, centre * tract * rng.uniform(0.94, 1.06), width)
            for centre, width, gain in zip(_VOICED[letter], (90, 130), (1.0, 0.7), strict=True)
        )
    else:
        low, high = _NOISE[letter]
        centre, width = (low + high) / 2 * tract, (high - low) * rng.uniform(0.8, 1.2)
        sound = 0.6 * _resonance(source, min(centre, 7400.0), width)
    sound = sound / np.sqrt(np.mean(np.square(sound))) * rng.uniform(0.6, 1.2)
    fade = np.minimum(np.linspace(0, 6, size), 1.0)
    return np.asarray(sound * fade * fade[::-1])


def _resonance(source: np.ndarray, centre: float, width: float) -> np.ndarray:
    """A second-order resonator at `centre` Hz, `width` Hz wide (Klatt 1980)."""
    radius = np.exp(-np.pi * width / SAMPLE_RATE)
    poles = [1.0, -2 * radius * np.cos(2 * np.pi * centre / SAMPLE_RATE), radius**2]
    return _filtered(sum(poles), poles, source)


def _filtered(gain: float, poles: Sequence[float], source: np.ndarray) -> np.ndarray:
    from scipy.signal import lfilter  # costs a second

    return np.asarray(lfilter([gain], poles, source))


def _silence(rng: np.random.Generator) -> np.ndarray:
    return np.zeros(int(SAMPLE_RATE * rng.uniform(*_GAP)))


def _zipf(words: Sequence[str], rng: np.random.Generator) -> str:
    """A word: the first ones are the most frequent, as in Zipf's law."""
    weights = 1 / (np.arange(len(words)) + 4)
    return str(rng.choice(words, p=weights / weights.sum()))
