"""RandAugment (Cubuk et al. 2020) as AlgoPerf has it.

Operations out of sixteen, each at its full magnitude; nearest-neighbour interpolation, and grey
where nothing is. The operations on levels are those of Pillow's ImageOps, by table.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
from PIL import Image, ImageEnhance

Operation = Callable[[Image.Image, Random], Image.Image]

GREY = (128, 128, 128)
REFERENCE = 224  # pixels of the side that TRANSLATION and CUTOUT are for; others are in proportion
SHEAR = 0.3
TRANSLATION = 100
ROTATION = 30  # degrees
ENHANCEMENT = 1.9  # 1 leaves an image as it is
POSTERIZE_BITS = 4
SOLARIZE_THRESHOLD = 256  # inverts the levels from here on: none
SOLARIZE_ADDITION, SOLARIZE_ADD_THRESHOLD = 110, 128
CUTOUT = 40  # pixels to either side of the middle

_LEVELS = np.arange(256)


def rand_augment(image: Image.Image, rng: Random, operations: int) -> Image.Image:
    """An RGB image after `operations` drawn with replacement, each equally likely."""
    for _ in range(operations):
        operation = OPERATIONS[rng.choice(_NAMES)]
        image = operation(image, rng)
    return image


def _sign(rng: Random) -> int:
    return -1 if rng.random() < 0.5 else 1


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    """Pixel (x, y) becomes that at (a x + b y + c, d x + e y + f)."""
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=GREY
    )


def _shear_x(image: Image.Image, rng: Random) -> Image.Image:
    return _affine(image, 1, _sign(rng) * SHEAR, 0, 0, 1, 0)


def _shear_y(image: Image.Image, rng: Random) -> Image.Image:
    return _affine(image, 1, 0, 0, _sign(rng) * SHEAR, 1, 0)


def _translate_x(image: Image.Image, rng: Random) -> Image.Image:
    return _affine(image, 1, 0, _sign(rng) * (TRANSLATION * image.width // REFERENCE), 0, 1, 0)


def _translate_y(image: Image.Image, rng: Random) -> Image.Image:
    return _affine(image, 1, 0, 0, 0, 1, _sign(rng) * (TRANSLATION * image.height // REFERENCE))


def _rotate(image: Image.Image, rng: Random) -> Image.Image:
    return image.rotate(_sign(rng) * ROTATION, Image.Resampling.NEAREST, fillcolor=GREY)


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    return lambda image, rng: kind(image).enhance(ENHANCEMENT)


def _mapped(levels: np.ndarray) -> Operation:
    """An operation that puts a level [256] in the place of each."""
    table = levels.clip(0, 255).astype(np.uint8)
    return lambda image, rng: Image.fromarray(table[np.asarray(image)])


def _auto_contrast(image: Image.Image, rng: Random) -> Image.Image:
    """Stretches the levels of each channel to 0..255."""
    pixels = np.asarray(image)
    low, high = pixels.min(axis=(0, 1)).astype(float), pixels.max(axis=(0, 1)).astype(float)
    scale = 255 / np.maximum(high - low, 1)
    stretched = (pixels * scale - low * scale).astype(np.uint8)
    return Image.fromarray(np.where(high > low, stretched, pixels))


def _equalize(image: Image.Image, rng: Random) -> Image.Image:
    """Makes the levels of each channel about equally frequent."""
    pixels = np.array(image)
    for channel in range(3):
        counts = np.bincount(pixels[..., channel].ravel(), minlength=256)
        step = (counts.sum() - counts[counts > 0][-1]) // 255
        if step:
            below = np.cumsum(counts) - counts
            table = ((step // 2 + below) // step).clip(0, 255).astype(np.uint8)
            pixels[..., channel] = table[pixels[..., channel]]
    return Image.fromarray(pixels)


def _cutout(image: Image.Image, rng: Random) -> Image.Image:
    """Greys a random square (DeVries and Taylor 2017), with AlgoPerf's treatment of the borders.

    A corner left of or above the image is moved to its border before the side is added, so that
    squares there keep their full size; the far borders belong to the square.
    """
    half = CUTOUT * image.width // REFERENCE
    x0, y0 = (int(max(0.0, rng.random() * side - half)) for side in image.size)
    x1, y1 = min(image.width, x0 + 2 * half), min(image.height, y0 + 2 * half)
    image = image.copy()
    image.paste(GREY, (x0, y0, x1 + 1, y1 + 1))
    return image


OPERATIONS: dict[str, Operation] = {
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
    "Rotate": _rotate,
    "Brightness": _enhanced(ImageEnhance.Brightness),
    "Color": _enhanced(ImageEnhance.Color),
    "Contrast": _enhanced(ImageEnhance.Contrast),
    "Sharpness": _enhanced(ImageEnhance.Sharpness),
    "Posterize": _mapped(_LEVELS & -(1 << 8 - POSTERIZE_BITS)),
    "Solarize": _mapped(np.where(_LEVELS < SOLARIZE_THRESHOLD, _LEVELS, 255 - _LEVELS)),
    "SolarizeAdd": _mapped(
        np.where(_LEVELS < SOLARIZE_ADD_THRESHOLD, _LEVELS + SOLARIZE_ADDITION, _LEVELS)
    ),
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
    "Invert": _mapped(255 - _LEVELS),
    "Cutout": _cutout,
}
_NAMES = list(OPERATIONS)
