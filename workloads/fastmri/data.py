"""fastMRI's knee images: from k-space in HDF5 files to the arrays that training reads.

The undersampling masks are a function of the slice alone, so that all of this is done once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from harness.spec import DataError
from scoring.files import entries

if TYPE_CHECKING:
    import h5py

MOST_BYTES = 4 * 2**30  # of an array; the largest official ones have about 0.1 GB
CENTER_FRACTION = 0.08
ACCELERATION = 4
CLIP = 6.0
TRAIN_FOLDER, VAL_FOLDER = "knee_singlecoil_train", "knee_singlecoil_val"
VALIDATION_FILES = 100  # of the 199 in VAL_FOLDER, in order of name; the others are the test split
RECIPE = "fastmri 1"

Seed = tuple[int, int]
EVAL_SEED: Seed = (0, 0)


def files_of(data_dir: Path, split: str) -> list[Path]:
    """The HDF5 files of a split, in order of name.

    With fewer files in VAL_FOLDER than the official 199, half of them validate.

    Raises:
        DataError: There are none.
    """
    folder = data_dir / (TRAIN_FOLDER if split == "train" else VAL_FOLDER)
    found = entries(folder, "*.h5") if folder.is_dir() else []
    if len(found) < (1 if split == "train" else 2):
        raise DataError(
            f"{folder}: holds {len(found)} .h5 files; get them from fastmri.med.nyu.edu"
        )
    if split == "train":
        return found
    validating = min(VALIDATION_FILES, (len(found) + 1) // 2)
    return found[:validating] if split == "validation" else found[validating:]


def count_slices(file: Path) -> int:
    """How many slices a file holds, from its header."""
    with _opened(file) as volume:
        return int(_dataset(file, volume, "kspace").shape[0])


def read_volume(file: Path, first: int | None) -> dict[str, np.ndarray]:
    """Reads one volume, undersamples and normalises it.

    Args:
        file: With `kspace` [S, H, W] complex, `reconstruction_esc` [S, h, w] and attribute `max`.
        first: The number of its first slice among all training slices; None for evaluation, where
            one mask serves all.

    Returns:
        `inputs` and `targets` [S, h, w], `mean`, `std` and `volume_max` [S], all float32.

    Raises:
        DataError: It is damaged; the message names file, and key or slice.
    """
    with _opened(file) as volume:
        found = [_dataset(file, volume, key) for key in ("kspace", "reconstruction_esc")]
        if "max" not in volume.attrs:
            raise DataError(f"{file}: has no attribute max; download it again")
        kspace, targets = (dataset[()] for dataset in found)
        largest = float(volume.attrs["max"])
    if kspace.ndim != 3 or targets.ndim != 3 or len(kspace) != len(targets):
        raise DataError(f"{file}: kspace {kspace.shape} and images {targets.shape} do not fit")
    if any(k < t for k, t in zip(kspace.shape[1:], targets.shape[1:], strict=True)):
        raise DataError(f"{file}: kspace {kspace.shape} is smaller than images {targets.shape}")
    seeds = [EVAL_SEED if first is None else (1, first + number) for number in range(len(kspace))]
    return examples(kspace, targets, largest, seeds, str(file))


@contextmanager
def _opened(file: Path) -> Iterator[h5py.File]:
    """An HDF5 file; whatever cannot be read of it is a DataError."""
    import h5py

    if not file.is_file():  # a pipe, say, which would be waited for
        raise DataError(f"{file}: is not a regular file")
    try:
        with h5py.File(file) as volume:
            yield volume
    except (OSError, KeyError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error}); download it again") from None


def _dataset(file: Path, volume: h5py.File, key: str) -> h5py.Dataset:
    """An array of a volume, with its values in this file and no larger than a volume can be.

    HDF5 can point to other files, by links, by external storage and by virtual datasets: one that
    somebody else made could have any file read. Its headers can promise more than there is.
    """
    import h5py

    link = volume.get(key, getlink=True)
    if link is None:
        raise DataError(f"{file}: has no {key}; download it again")
    if not isinstance(link, h5py.HardLink):
        raise DataError(f"{file}: {key} is a link to elsewhere, which is not followed")
    dataset = volume[key]
    numbers = isinstance(dataset, h5py.Dataset) and dataset.dtype.kind in "fc"
    if not numbers or dataset.shape is None:
        raise DataError(f"{file}: {key} is not an array of numbers; download it again")
    if dataset.is_virtual or dataset.external is not None:
        raise DataError(f"{file}: {key} has its values in other files, which are not read")
    if dataset.nbytes > MOST_BYTES:
        raise DataError(
            f"{file}: {key} {dataset.shape} would take {dataset.nbytes / 1e9:,.0f} GB; a volume "
            "has less than 1 GB; download it again"
        )
    return dataset


def examples(
    kspace: np.ndarray, targets: np.ndarray, volume_max: float, seeds: list[Seed], where: str
) -> dict[str, np.ndarray]:
    """What the model sees of some slices, and what it is to give.

    An input is the magnitude of the image that the kept columns of k-space give, standardised by
    its own mean and population deviation and clipped to 6; its target is clipped and standardised
    by the same two numbers.

    Args:
        kspace: [S, H, W], complex.
        targets: [S, h, w].
        volume_max: The largest value of the volume.
        seeds: The seed of each slice's mask.
        where: The file, for messages.
    """
    masks = np.stack([column_mask(kspace.shape[2], seed) for seed in seeds])
    images = np.abs(centred_ifft2(kspace * masks[:, None, :]))
    images = _centre(images, targets.shape[1:]).astype(np.float32)
    mean, std = images.mean(axis=(1, 2)), images.std(axis=(1, 2))
    for number, deviation in enumerate(std):
        if not deviation > 0:
            raise DataError(f"{where}: slice {number} is empty or not finite")

    def standardised(x: np.ndarray) -> np.ndarray:
        scaled = (x - mean[:, None, None]) / std[:, None, None]
        return np.asarray(np.clip(scaled, -CLIP, CLIP), np.float32)

    return {
        "inputs": standardised(images),
        "targets": standardised(targets),
        "mean": mean.astype(np.float32),
        "std": std.astype(np.float32),
        "volume_max": np.full(len(images), volume_max, dtype=np.float32),
    }


def column_mask(width: int, seed: Seed) -> np.ndarray:
    """Which of the columns [width] of k-space are kept: a block in the centre, and random others.

    A fraction of 0.08 in the centre, and each other column with the probability that makes it a
    quarter in all (Zbontar et al. 2018, section 4.1).
    """
    low = int(width * CENTER_FRACTION)
    start = (width - low + 1) // 2
    probability = (width / ACCELERATION - low) / (width - low)
    mask = np.asarray(uniform(seed, width) < probability)
    mask[start : start + low] = True
    return mask


def uniform(seed: Seed, count: int) -> np.ndarray:
    """The float32 numbers [count] in [0, 1) of TensorFlow's `stateless_uniform` for `seed`.

    Philox 4x32-10 (Salmon et al. 2011), its key and counter being themselves drawn from the seed.
    """
    words = [word >> shift & 0xFFFFFFFF for word in seed for shift in (0, 32)]
    mixed = _philox(np.array([words], np.uint64), (0x3EC8F720, 0x02461E29))[0]
    blocks = -(-count // 4)
    counter = np.zeros((blocks, 4), np.uint64)
    counter[:, 0] = np.arange(blocks)
    counter[:, 2:] = mixed[2:]
    bits = _philox(counter, (int(mixed[0]), int(mixed[1]))).reshape(-1)[:count]
    return (bits & 0x7FFFFF).astype(np.float32) / np.float32(2**23)


def _philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Ten rounds of Philox 4x32 on counters [N, 4] of 32-bit words held in uint64."""
    a, b, c, d = counter.T
    mask = np.uint64(0xFFFFFFFF)
    k0, k1 = key
    for _ in range(10):
        left, right = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, b, c, d = (
            (right >> np.uint64(32)) ^ b ^ np.uint64(k0),
            right & mask,
            (left >> np.uint64(32)) ^ d ^ np.uint64(k1),
            left & mask,
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([a, b, c, d], axis=1)


def centred_ifft2(kspace: np.ndarray) -> np.ndarray:
    """The orthonormal inverse Fourier transform [S, H, W], frequency 0 and the image centred."""
    shifted = fft.ifftshift(kspace, axes=(-2, -1))
    return np.asarray(fft.fftshift(fft.ifft2(shifted, norm="ortho"), axes=(-2, -1)))


def centred_fft2(images: np.ndarray) -> np.ndarray:
    """The inverse of `centred_ifft2`."""
    shifted = fft.ifftshift(images, axes=(-2, -1))
    return np.asarray(fft.fftshift(fft.fft2(shifted, norm="ortho"), axes=(-2, -1)))


def _centre(images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The middle [S, *shape] of images [S, H, W]."""
    top, left = ((images.shape[axis + 1] - shape[axis]) // 2 for axis in (0, 1))
    return images[:, top : top + shape[0], left : left + shape[1]]
