"""What is done to an image before the model sees it, as torchvision and AlgoPerf define it.

Images are Pillow's, RGB; results are arrays [size, size, 3] of pixels 0..255.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from random import Random

import numpy as np
from PIL import Image

from workloads.imagenet.randaugment import rand_augment

Transform = Callable[[Image.Image, Random], np.ndarray]
RATIO = (3 / 4, 4 / 3)  # of width to height, of a random crop
ATTEMPTS = 10  # at a random crop that is within the image


def training(
    size: int, *, area: tuple[float, float] = (0.08, 1.0), flip: bool = True, operations: int = 0
) -> Transform:
    """A random crop, resized, perhaps flipped, then RandAugment.

    Args:
        size: The side that crops are resized to.
        area: The least and the largest part of the image that a crop covers.
        flip: Whether half of the images are mirrored.
        operations: The number of RandAugment's operations that follow.
    """
    return partial(_training, size=size, area=area, flip=flip, operations=operations)


def _training(
    image: Image.Image,
    rng: Random,
    size: int,
    area: tuple[float, float],
    flip: bool,
    operations: int,
) -> np.ndarray:
    image = image.crop(random_box(image.width, image.height, area, rng))
    image = image.resize((size, size), Image.Resampling.BILINEAR)
    if flip and rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(rand_augment(image, rng, operations))


def random_box(
    width: int, height: int, area: tuple[float, float], rng: Random
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of torchvision's RandomResizedCrop (Szegedy et al. 2015).

    A part of the area, uniform within `area`, at an aspect ratio whose logarithm is uniform; after
    ten attempts that do not fit, the largest central box of a permitted ratio.
    """
    for _ in range(ATTEMPTS):
        pixels = width * height * rng.uniform(*area)
        ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = rng.randrange(width - w + 1), rng.randrange(height - h + 1)
            return left, top, left + w, top + h
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def evaluation(size: int, resized: int) -> Transform:
    """The central square of `size` pixels of the image, its short side made `resized` pixels."""
    return partial(_evaluation, size=size, resized=resized)


def _evaluation(image: Image.Image, rng: Random, size: int, resized: int) -> np.ndarray:
    short = min(image.size)
    shape = (int(resized * image.width / short), int(resized * image.height / short))
    image = image.resize(shape, Image.Resampling.BILINEAR)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def unchanged(image: Image.Image, rng: Random) -> np.ndarray:
    """The image as it is."""
    return np.asarray(image)


def imagenet_v2(size: int, resized: int) -> Transform:
    """The central square of `size / resized` of the short side, bicubically made `size` pixels.

    As TensorFlow does it, which AlgoPerf reads ImageNet-v2 with: the result is float32, neither
    rounded nor clipped to 0..255.
    """
    return partial(_imagenet_v2, size=size, resized=resized)


def _imagenet_v2(image: Image.Image, rng: Random, size: int, resized: int) -> np.ndarray:
    side = int(np.float32(size / resized) * np.float32(min(image.size)))
    left, top = (image.width - side + 1) // 2, (image.height - side + 1) // 2
    pixels = np.asarray(image.crop((left, top, left + side, top + side)), np.float32)
    weights = bicubic_weights(side, size)
    rows = np.tensordot(weights, pixels, axes=(1, 0))
    return np.ascontiguousarray(np.tensordot(rows, weights, axes=(1, 1)).swapaxes(1, 2))


def bicubic_weights(before: int, after: int) -> np.ndarray:
    """The weights [after, before] of pixels in TensorFlow's bicubic resize, without antialiasing.

    Keys' cubic (1981) with a = -0.5 at half-pixel centres; of pixels beyond the edge the weight is
    0, and the others' are scaled to add up to 1. TensorFlow also rounds distances to 1/1024.
    """
    centres = (np.arange(after) + 0.5) * before / after - 0.5
    first = np.floor(centres).astype(int) - 1
    weights = np.zeros((after, before), np.float32)
    for tap in range(4):
        pixel = first + tap
        inside = (pixel >= 0) & (pixel < before)
        d = np.abs(centres - pixel)
        near, far = (1.5 * d - 2.5) * d * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
        weights[inside.nonzero()[0], pixel[inside]] = np.where(d <= 1, near, far)[inside]
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
