"""cifar_mini's data: coloured shapes on textured paper."""

from __future__ import annotations

import numpy as np

RECIPE = "shapes 2"
SHAPES = (
    "disc", "square", "triangle", "ring", "cross", "star", "crescent", "frame", "bars", "arrow",
)  # fmt: skip


def shapes(count: int, size: int, seed: int) -> dict[str, np.ndarray]:
    """Makes images of one shape each: its kind is the label, all else is random.

    A shape of some size, place and angle in a random colour, on paper of another one with stripes;
    a spot of a third colour may cover a part of it, and there is noise on all of it.

    Args:
        count: The number of images.
        size: The side of an image.
        seed: The seed of all that is random.

    Returns:
        "images" [count, 3, size, size], uint8, and "labels" [count], int64.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(SHAPES), size=count)
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    images = np.stack([_drawn(rng, label, x, y) for label in labels])
    return {"images": images, "labels": labels}


def _drawn(rng: np.random.Generator, label: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """One image [3, size, size]."""
    scale, angle = rng.uniform(0.65, 0.9), rng.uniform(-0.35, 0.35)
    dx, dy = rng.uniform(-0.2, 0.2, 2)
    u = ((x - dx) * np.cos(angle) + (y - dy) * np.sin(angle)) / scale
    v = ((y - dy) * np.cos(angle) - (x - dx) * np.sin(angle)) / scale
    paper, colour, spot = rng.uniform(0, 1, (3, 3, 1, 1))
    paper, colour = 0.3 + 0.7 * paper, 0.7 * colour
    direction, period = rng.uniform(0, np.pi), rng.uniform(0.3, 1.0)
    wave = np.sin(2 * np.pi * (x * np.cos(direction) + y * np.sin(direction)) / period)
    image = paper + rng.uniform(0, 0.12) * wave
    image = image + (colour - image) * _inside(SHAPES[label], u, v)
    if rng.random() < 0.5:
        a, b = rng.uniform(-0.8, 0.8, 2)
        image = np.where(np.hypot(x - a, y - b) < rng.uniform(0.1, 0.3), spot, image)
    image = image + rng.normal(0, rng.uniform(0.02, 0.09), image.shape)
    return np.asarray(np.clip(np.rint(255 * image), 0, 255), np.uint8)


def _inside(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Which points are inside a shape of about radius 1."""
    radius, turn = np.hypot(u, v), np.arctan2(v, u)
    square = np.maximum(np.abs(u), np.abs(v))
    found = {
        "disc": radius < 0.9,
        "square": square < 0.8,
        "triangle": (v < 0.7) & (v > 1.7 * np.abs(u) - 0.9),
        "ring": (radius < 0.95) & (radius > 0.5),
        "cross": (np.minimum(np.abs(u), np.abs(v)) < 0.28) & (square < 0.95),
        "star": radius < 0.65 + 0.35 * np.cos(5 * turn),
        "crescent": (radius < 0.95) & (np.hypot(u - 0.5, v) > 0.75),
        "frame": (square < 0.85) & (square > 0.45),
        "bars": (square < 0.9) & (np.abs(np.abs(u) - 0.55) < 0.28),
        "arrow": ((v < 0.0) & (v > 1.3 * np.abs(u) - 1))
        | ((np.abs(u) < 0.28) & (np.abs(v) < 0.95)),
    }[shape]
    return np.asarray(found)
