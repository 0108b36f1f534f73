"""The minis' data: scikit-learn's digits, distorted, coloured and cluttered, at 32x32 pixels."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from workloads import demo_data

RECIPE = "distorted digits 1"
SIZE = 32  # pixels of an image's side
ORIGINALS = {"train": 1077, "validation": 360, "test": 360}


def distorted_digits(split: str, count: int, seed: int, strength: float) -> dict[str, np.ndarray]:
    """Makes the images of a split from the digits that are that split's alone.

    A digit is turned, sheared, scaled, shifted and bent (after Simard et al. 2003), and drawn in a
    dark colour on paper that fades from one bright colour to another; up to two bars of random
    colours may cover parts of it, and there is noise on all of it.

    Args:
        split: "train", "validation" or "test".
        count: The number of images; each original is used equally often.
        seed: The seed of everything but the split.
        strength: How much of all this there is, from 0, the digits as they are, to 1.

    Returns:
        "pixels" [count, 32, 32, 3], uint8, and "labels" [count], int64.
    """
    digits, labels = demo_data.digits()
    order = np.random.default_rng(0).permutation(len(digits))
    ends = np.cumsum(list(ORIGINALS.values()))[:-1]
    mine = dict(zip(ORIGINALS, np.split(order, ends), strict=True))[split]
    chosen = np.resize(mine, count)
    rng = np.random.default_rng(seed)
    images = np.stack([_drawn(rng, digits[number].reshape(8, 8), strength) for number in chosen])
    return {"pixels": images, "labels": labels[chosen]}


def _drawn(rng: np.random.Generator, digit: np.ndarray, strength: float) -> np.ndarray:
    """One image [32, 32, 3] of a digit [8, 8] of pixels 0..16."""
    axis = (np.arange(SIZE) + 0.5) * 2 / SIZE - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    u, v = _distorted(rng, x, y, strength)
    ink = ndimage.map_coordinates(digit / 16, [3.5 + 4 * v, 3.5 + 4 * u], order=1)
    ink = np.clip(1.6 * ink - 0.2, 0, 1)
    colour, paper, fade = rng.uniform(0, 0.5 * strength, (3, 3))
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (x * np.cos(angle) + y * np.sin(angle) + 1.5) / 3
    image = 1 - paper - (fade - paper) * ramp[..., None]
    image = _over(image, ink, colour)
    for _ in range(rng.binomial(2, 0.5 * strength)):
        image = _over(image, _bar(rng, x, y), rng.uniform(0, 1, 3))
    image = image + strength * rng.normal(0, rng.uniform(0.02, 0.12), image.shape)
    return np.asarray(np.clip(np.rint(255 * image), 0, 255), np.uint8)


def _distorted(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where in the digit, from -1 to 1, the pixels of the image are taken from."""
    angle, shear, *shift = strength * rng.uniform(-1, 1, 4) * [0.3, 0.2, 0.15, 0.15]
    scale = np.exp(strength * rng.uniform(0, 0.3, 2))
    u = (x * np.cos(angle) + y * np.sin(angle) + shear * y) * scale[0] + shift[0]
    v = (y * np.cos(angle) - x * np.sin(angle)) * scale[1] + shift[1]
    bend, phase = strength * rng.uniform(0, 0.1, 2), rng.uniform(0, 2 * np.pi, 2)
    wave = rng.uniform(2, 4, 2)
    u, v = (
        u + bend[0] * np.sin(wave[0] * v + phase[0]),
        v + bend[1] * np.sin(wave[1] * u + phase[1]),
    )
    return u, v


def _bar(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """1 on a straight bar of some length and width, 0 beside it."""
    angle, width, length = rng.uniform([0, 0.03, 0.3], [np.pi, 0.15, 1.0])
    centre = rng.uniform(-0.7, 0.7, 2)
    along = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
    across = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
    return np.asarray((np.abs(across) < width) & (np.abs(along) < length), np.float64)


def _over(image: np.ndarray, cover: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """The image where a layer of one colour covers it, from 0 to 1."""
    return np.asarray(image + cover[..., None] * (colour - image))
