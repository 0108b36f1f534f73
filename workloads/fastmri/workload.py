"""fastmri: magnetic resonance images of knees from a quarter of k-space."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.spec import DataError, ParameterType
from workloads.arrays import Splits
from workloads.fastmri import data, phantoms
from workloads.fastmri.task import UndersampledImages
from workloads.parts import Part, Rows
from workloads.targets import read_targets


class Fastmri(UndersampledImages):
    """Single-coil knees of fastMRI (Zbontar et al. 2018), as AlgoPerf v0.6 defines the workload.

    As there: normalisation by the statistics of each undersampled slice, one mask for all of
    validation and test, training masks that a slice keeps over all epochs, and a data range of 1
    where a volume's maximum is 0. Masks of evaluation slices are AlgoPerf's, number by number;
    those of training slices come from the same generator with other seeds. An epoch is a full
    random permutation of the slices, where AlgoPerf shuffles in a buffer of 16 batches.
    """

    name = "fastmri"
    summary = "320x320 knee images from undersampled k-space (HDF5 in --data-dir), U-Net"
    suites: tuple[str, ...] = ("algoperf",)
    data_source = "knee_singlecoil_train and knee_singlecoil_val of https://fastmri.med.nyu.edu"

    validation_target_value = 0.723653
    test_target_value = 0.740633
    max_allowed_runtime_sec = 4430.0
    eval_period_time_sec = 80.0
    step_hint = 18094
    compile_model = compile_loss = True
    read_ahead = 10

    num_train_examples = 34742
    num_eval_train_examples = 3584
    num_validation_examples = 3554
    num_test_examples = 3581
    train_batch_size = 32
    eval_batch_size = 256

    def load(self) -> Splits:
        """Images [N, 320, 320] and the statistics [N] of each, memory-mapped."""
        parts = {
            split: [self.read(_part_name(split, file)) for file in files]
            for split, files in self._volumes().items()
        }
        return {
            split: {name: Rows([part[name] for part in read]) for name in read[0]}
            for split, read in parts.items()
        }

    def check_data(self) -> None:
        """Raises DataError where files are missing."""
        self._volumes()

    def data_faults(self) -> list[str]:
        """What is missing, damaged or of another size than fastMRI's."""
        try:
            return self._uncommon_sizes() + super().data_faults()
        except DataError as error:
            return [str(error)]

    def _uncommon_sizes(self) -> list[str]:
        faults = []
        for split, files in self._volumes().items():
            found = sum(data.count_slices(file) for file in files)
            if found != self.sizes[split]:
                faults.append(f"{split}: {found:,} slices, fastMRI has {self.sizes[split]:,}")
        return faults

    def _volumes(self) -> dict[str, list[Path]]:
        return {split: data.files_of(self.files, split) for split in self.sizes}

    def parts(self) -> list[Part]:
        """One part per volume, 28 GB in all.

        A training slice's mask depends on its number among all training slices.
        """
        parts = []
        for split, files in self._volumes().items():
            first: int | None = 0 if split == "train" else None
            for file in files:
                make = partial(data.read_volume, file, first)
                recipe = f"{data.RECIPE}, first slice {first}"
                parts.append(Part(_part_name(split, file), recipe, make, [file]))
                if first is not None:
                    first += data.count_slices(file)
        return parts


def _part_name(split: str, file: Path) -> str:
    return f"{split}_{file.stem}"


class FastmriModelSize(Fastmri):
    """fastmri with a wider U-Net of fewer levels: v0.5 variant."""

    name = "fastmri_model_size"
    suites = ()
    validation_target_value = 0.723559
    test_target_value = 0.740726
    model_options: ClassVar[dict[str, Any]] = {"channels": 64, "pools": 3}


class FastmriTanh(Fastmri):
    """fastmri with tanh in place of the leaky ReLU: held out in v0.5."""

    name = "fastmri_tanh"
    suites = ()
    validation_target_value = 0.71784
    test_target_value = 0.734505
    model_options: ClassVar[dict[str, Any]] = {"tanh": True}


class FastmriLayerNorm(Fastmri):
    """fastmri with normalisation over all channels in the convolution blocks: v0.5 variant.

    As in AlgoPerf, where types go by the names of layers, the scales of the norms are typed as
    convolution weights, since they are in `conv_layers`.
    """

    name = "fastmri_layernorm"
    suites = ()
    validation_target_value = 0.723284
    test_target_value = 0.739996
    model_options: ClassVar[dict[str, Any]] = {"layer_norm": True}

    @property
    def model_params_types(self) -> dict[str, ParameterType]:
        """Parameter name to type."""
        return {
            name: ParameterType.BIAS if name.endswith("bias") else ParameterType.CONV_WEIGHT
            for name in super().model_params_types
        }


class FastmriMini(UndersampledImages):
    """The same on 24x24 phantoms of ellipses, with a small U-Net."""

    name = "fastmri_mini"
    summary = "24x24 ellipse phantoms from undersampled k-space (made here), small U-Net"
    suites = ("mini",)
    validation_target_value, test_target_value = read_targets(__file__, name)
    model_options: ClassVar[dict[str, Any]] = {"channels": 8, "pools": 2}

    budget_steps = 1200
    eval_period_steps = 100
    step_hint = 1200

    num_train_examples = 1024
    num_eval_train_examples = 128
    num_validation_examples = 128
    num_test_examples = 128
    train_batch_size = 8
    eval_batch_size = 128

    size, padded = 24, 30  # pixels of an image's side, columns of k-space

    def load(self) -> Splits:
        """Images [N, 24, 24] and the statistics [N] of each."""
        return {split: self.read(split) for split in self.sizes}

    def parts(self) -> list[Part]:
        """The phantoms of each split, made in seconds."""
        return [
            Part(split, phantoms.RECIPE, partial(self._make, number, count))
            for number, (split, count) in enumerate(self.sizes.items())
        ]

    def _make(self, number: int, count: int) -> dict[str, np.ndarray]:
        """A split, each with its own seed; masks as in fastmri."""
        kspace, images = phantoms.phantoms(count, self.size, self.padded, seed=number)
        seeds = [(1, slice_) if number == 0 else data.EVAL_SEED for slice_ in range(count)]
        return data.examples(kspace, images, float(images.max()), seeds, self.name)
