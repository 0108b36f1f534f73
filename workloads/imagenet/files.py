"""ImageNet's files: listed once, decoded when they are needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from harness.spec import DataError
from scoring.files import is_hidden
from workloads.imagenet.loading import workers
from workloads.parts import Part

CLASSES = 1000
V2_FOLDER = "imagenetv2-matched-frequency-format-val"
FOLDERS = {"train": "train", "validation": "val", "test": V2_FOLDER}
SOURCE = (
    "train/WNID/*.JPEG and val/WNID/*.JPEG of ILSVRC-2012 (image-net.org; validation images sorted "
    f"into the folders of their classes) and {V2_FOLDER}/0 to 999 of ImageNet-v2 "
    "(imagenetv2-matched-frequency.tar.gz, unpacked)"
)
_SUFFIXES = (".jpeg", ".jpg", ".png")
_RECIPE = "imagenet files 1"


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Images in files: paths [N] below a folder, as bytes, and labels [N]."""

    folder: Path
    paths: np.ndarray
    labels: np.ndarray

    def image(self, number: int) -> Image.Image:
        """An image as RGB; raises DataError where it cannot be decoded."""
        return decoded(self.folder / os.fsdecode(self.paths[number]))


def decoded(path: Path) -> Image.Image:
    """The image of a JPEG or PNG file as RGB, whatever its colours are stored as.

    Raises:
        DataError: It cannot be decoded, all of it.
    """
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be decoded ({error}); fetch it again") from None


def class_folders(data_dir: Path, split: str) -> dict[str, int]:
    """The folders of a split's classes and the numbers of these.

    The classes of ILSVRC-2012 are numbered in order of their WordNet names, those that train names;
    folders of ImageNet-v2 are called by the number.

    Raises:
        DataError: There are none, or one is of no class.
    """
    names = _subfolders(data_dir / FOLDERS[split])
    if split == "test":
        strange = [n for n in names if not (n.isascii() and n.isdigit() and int(n) < CLASSES)]
        numbers = {name: int(name) for name in names if name not in strange}
    else:
        known = names if split == "train" else _subfolders(data_dir / FOLDERS["train"])
        strange = [name for name in names if name not in known] + known[CLASSES:]
        numbers = {name: number for number, name in enumerate(known) if name in names}
    if strange:
        raise DataError(f"{data_dir / FOLDERS[split] / strange[0]}: is the folder of no class")
    return numbers


def _subfolders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if e.is_dir() and not is_hidden(e.name))
    except OSError:
        names = []
    if not names:
        raise DataError(f"{folder}: holds no folders of classes; --data-dir must hold {SOURCE}")
    return names


def parts(data_dir: Path) -> list[Part]:
    """One part per split: its files; made again where a file is added or removed."""
    made = []
    for split in FOLDERS:
        numbers = class_folders(data_dir, split)
        folder = data_dir / FOLDERS[split]
        make: Callable[[], dict[str, np.ndarray]] = partial(listed, folder, numbers)
        made.append(Part(split, _RECIPE, make, [folder, *(folder / name for name in numbers)]))
    return made


def listed(folder: Path, numbers: dict[str, int]) -> dict[str, np.ndarray]:
    """All images below a folder in order of class and name: "paths" [N] and "labels" [N]."""
    paths, labels = [], []
    for name, number in sorted(numbers.items(), key=lambda item: item[1]):
        with os.scandir(folder / name) as entries:
            names = [e.name for e in entries if not is_hidden(e.name)]
        files = sorted(file for file in names if file.lower().endswith(_SUFFIXES))
        if not files:
            raise DataError(f"{folder / name}: holds no images; fetch this class again")
        paths += [os.fsencode(f"{name}/{file}") for file in files]
        labels += [number] * len(files)
    return {"paths": np.array(paths), "labels": np.array(labels)}


def missing_classes(data_dir: Path) -> list[str]:
    """Classes that a split has no folder of, a line a split."""
    wnids = class_folders(data_dir, "train")
    faults = []
    if len(wnids) < CLASSES:
        faults.append(f"{data_dir / 'train'}: {len(wnids):,} folders of classes, not {CLASSES:,}")
    wanted = {"validation": list(wnids), "test": [str(number) for number in range(CLASSES)]}
    for split, names in wanted.items():
        found = class_folders(data_dir, split)
        lacking = [name for name in names if name not in found]
        if lacking:
            folder = data_dir / FOLDERS[split]
            faults.append(f"{folder}: {len(lacking):,} folders missing: {', '.join(lacking[:10])}")
    return faults


def damaged(images: Sequence[ImageFiles]) -> list[str]:
    """Every image that cannot be decoded, a line each; on all processors."""
    paths = [split.folder / os.fsdecode(path) for split in images for path in split.paths]
    with ProcessPoolExecutor(workers()) as pool:
        return [fault for fault in pool.map(_fault, paths, chunksize=64) if fault]


def _fault(path: Path) -> str:
    try:
        decoded(path)
    except DataError as error:
        return str(error)
    return ""
