"""Workloads whose data is prepared once, in parts on disk (see `workloads.parts`)."""

from __future__ import annotations

import abc
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from harness.spec import DataError, Progress
from scoring.files import private_folder
from workloads.base import ModelWorkload
from workloads.parts import Part, part_faults, prepare_parts, read_part


class PreparedWorkload(ModelWorkload):
    """A workload whose data is prepared once, in parts on disk.

    They are made from the dataset's files, by `chronograd data prepare` or before a sweep's first
    trial, and are then in the data directory. A workload without `data_source` makes its data
    itself, into the cache, before the first part is read.

    Attributes:
        dataset: The name of the parts' folder, where several workloads share it. By default that is
            the name of the workload; parts made from files are shared with its variants.
    """

    dataset: str = ""

    @abc.abstractmethod
    def parts(self) -> Sequence[Part]:
        """All parts; raises DataError where the files that they are made from are missing."""

    @property
    def folder(self) -> Path:
        """The folder of the parts; raises DataError where there is no place for it."""
        if self.data_source:
            return self.files / "prepared" / (self.dataset or self.base_name)
        return cache_folder() / (self.dataset or self.name)

    @cached_property
    def _filled_folder(self) -> Path:
        """The folder, with all parts in it where the project makes them itself."""
        if not self.data_source:
            self.prepare_data()
        return self.folder

    def read(self, part: str) -> dict[str, np.ndarray]:
        """The arrays of a part, memory-mapped; raises DataError where it cannot be read."""
        return read_part(self._filled_folder, part)

    def check_data(self) -> None:
        """Raises DataError where files are missing; data that is made here cannot be."""
        if self.data_source:
            self.parts()

    def prepare_data(self, progress: Progress = lambda done, parts, name: None) -> None:
        """Makes the parts that are not there yet; raises DataError."""
        prepare_parts(self.folder, self.parts(), progress)

    def data_faults(self) -> list[str]:
        """Files that are missing, else parts that are missing, out of date or damaged."""
        return super().data_faults() or part_faults(self.folder, self.parts())


def cache_folder() -> Path:
    """The folder of data that is made here: $CHRONOGRAD_CACHE or ~/.cache/chronograd.

    Raises:
        DataError: There is no home directory, the folder cannot be made, or another user may have
            put something into the one in the home directory.
    """
    given = os.environ.get("CHRONOGRAD_CACHE")
    try:
        folder = Path(given or "~/.cache/chronograd").expanduser().absolute()
    except RuntimeError:
        raise DataError(
            "there is no home directory; set HOME, or CHRONOGRAD_CACHE to a folder of yours"
        ) from None
    try:
        if not given:
            return private_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"{folder}: cannot be used ({reason}); set CHRONOGRAD_CACHE to a folder of yours"
        ) from None
