"""Images to batches: decoded, transformed and prefetched by processes of their own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harness.spec import DataError
from workloads.distributed import world
from workloads.imagenet.transforms import Transform

CHUNK = 32  # images that a worker makes at a time
AHEAD = 2  # batches that workers are ahead of the training
Keys = tuple[tuple[int, ...], np.ndarray]  # a seed, and the numbers of images


class Images(Protocol):
    """Labelled images."""

    @property
    def labels(self) -> np.ndarray:
        """Their classes [N], int64."""

    def image(self, number: int) -> Image.Image:
        """An image as RGB; raises DataError where it cannot be read."""


@dataclass(frozen=True, slots=True)
class DecodedImages:
    """Images in memory, and their labels [N]."""

    images: Sequence[Image.Image]
    labels: np.ndarray

    def image(self, number: int) -> Image.Image:
        """An image."""
        return self.images[number]


@dataclass(frozen=True, slots=True)
class Chunks(Dataset[tuple[Tensor, Tensor] | str]):
    """Some images of a seed as pixels [B, H, W, 3] and labels [B], or what is wrong with one.

    What a transform draws is a pure function of the seed and of the image's number, so that it does
    not matter which process makes the chunk, nor how large it is.
    """

    images: Images
    transform: Transform

    def __getitem__(self, keys: Keys) -> tuple[Tensor, Tensor] | str:
        seed, numbers = keys
        try:
            pixels = [
                self.transform(self.images.image(number), random_of(seed, number))
                for number in numbers.tolist()
            ]
        except DataError as error:  # would lose its type between processes
            return str(error)
        labels = np.asarray(self.images.labels[numbers], np.int64)
        return torch.from_numpy(np.stack(pixels)), torch.from_numpy(labels)


def batches(
    chunks: Chunks, keys: Iterable[Keys], device: torch.device, size: int, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels [B, H, W, 3] and labels [B] on the device, a batch for each of `keys`, in order.

    Args:
        chunks: Makes them.
        keys: The seed and the images of each batch; drawn ahead of what is returned.
        device: The device that they are put on.
        size: The size of the largest batch.
        workers: The number of processes that make them; 0 for this one.

    Raises:
        DataError: An image cannot be read; the message names it.
    """
    per_batch = -(-size // CHUNK)
    ends: list[int] = []  # how many chunks each of the batches has that are under way

    def pieces() -> Iterator[Keys]:
        for seed, numbers in keys:
            parts = np.split(numbers, range(CHUNK, len(numbers), CHUNK))
            ends.append(len(parts))
            for part in parts:
                yield seed, part

    loader = DataLoader(
        chunks,
        sampler=pieces(),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=max(2, -(-AHEAD * per_batch // workers)) if workers else None,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),
    )
    made: list[tuple[Tensor, Tensor]] = []
    for chunk in loader:
        if isinstance(chunk, str):
            raise DataError(chunk)
        made.append(tuple(part.to(device, non_blocking=True) for part in chunk))
        if len(made) == ends[0]:
            del ends[0]
            pixels, labels = zip(*made, strict=True)
            made.clear()
            yield torch.cat(pixels), torch.cat(labels)


def random_of(seed: tuple[int, ...], number: int) -> Random:
    """The random numbers of an image: quicker than numpy's by half a millisecond a batch of 32."""
    key = 0
    for word in (*seed, number):
        key = key << 64 | word
    return Random(key)


def workers() -> int:
    """The processors of this machine that are this process's share."""
    _, processes = world()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    return max(1, len(os.sched_getaffinity(0)) // here)
