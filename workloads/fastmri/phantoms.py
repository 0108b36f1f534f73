"""fastmri_mini's data: random ellipses, seen through a receiver coil, in k-space."""

from __future__ import annotations

import numpy as np

from workloads.fastmri.data import centred_fft2

RECIPE = "phantoms 1"


def phantoms(count: int, size: int, padded: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Makes images and what a scanner would measure of them.

    An image is a large ellipse, the body, with smaller ones in it that add or take away intensity
    (after Shepp and Logan 1974), some of them thin, and a fine grating that few columns of k-space
    hold. The coil sees more of one side than of the other, with a smooth phase, and with noise.

    Args:
        count: The number of images.
        size: The side of an image.
        padded: The side of k-space, at least `size`.
        seed: The seed of all that is random.

    Returns:
        k-space [count, padded, padded], complex64, and magnitudes [count, size, size], float32.
    """
    rng = np.random.default_rng(seed)
    axis = (np.arange(padded) - padded / 2 + 0.5) / (size / 2)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    kspace = np.empty((count, padded, padded), np.complex64)
    images = np.empty((count, size, size), np.float32)
    edge = (padded - size) // 2
    for number in range(count):
        image = _body(rng, x, y)
        tilt = rng.uniform(-0.35, 0.35, size=2)
        phase = rng.uniform(0, 2 * np.pi) + rng.uniform(-1, 1) * x + rng.uniform(-1, 1) * y
        seen = image * (1 + tilt[0] * x + tilt[1] * y) * np.exp(1j * phase)
        measured = centred_fft2(seen[None])[0]
        noise = rng.normal(size=(2, padded, padded)) * 0.01
        kspace[number] = measured + noise[0] + 1j * noise[1]
        images[number] = np.abs(seen)[edge : edge + size, edge : edge + size]
    return kspace, images


def _body(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """One image: the body and what is in it."""
    image = _ellipse(x, y, rng.uniform(-0.1, 0.1, 2), rng.uniform(0.65, 0.9, 2), rng.uniform(0, 3))
    inside = image > 0.5
    for _ in range(rng.integers(4, 10)):
        axes = rng.uniform(0.05, 0.4, 2) * rng.choice([1.0, 0.3], 2)
        part = _ellipse(x, y, rng.uniform(-0.55, 0.55, 2), axes, rng.uniform(0, np.pi))
        image = image + rng.uniform(-0.6, 0.8) * part * inside
    angle, period = rng.uniform(0, np.pi), rng.uniform(0.12, 0.3)
    grating = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
    patch = _ellipse(x, y, rng.uniform(-0.4, 0.4, 2), rng.uniform(0.15, 0.35, 2), 0.0)
    return np.asarray(np.maximum(image + 0.25 * grating * patch * inside, 0.0))


def _ellipse(
    x: np.ndarray, y: np.ndarray, centre: np.ndarray, axes: np.ndarray, angle: float
) -> np.ndarray:
    """1 inside an ellipse, 0 outside, with an edge about a pixel wide."""
    u = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
    v = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
    radius = np.hypot(u / axes[0], v / axes[1])
    return np.asarray(np.clip((1 - radius) * 12 * axes.min() + 0.5, 0.0, 1.0))
