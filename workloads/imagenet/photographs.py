"""What the workloads on ImageNet's photographs share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from harness.spec import DataError, Progress
from workloads import prepared
from workloads.imagenet import files, loading, transforms
from workloads.imagenet.files import ImageFiles
from workloads.imagenet.loading import Images
from workloads.imagenet.task import ImageClassification
from workloads.imagenet.transforms import Transform

INPUT = 224  # pixels of the side that models see
RESIZED = 256  # of the short side of a validation image before its centre is cut out


class Imagenet(ImageClassification):
    """Photographs of 1,000 kinds: ILSVRC-2012 (Russakovsky et al. 2015), as AlgoPerf v0.6 has it.

    Tested on the matched-frequency images of ImageNet-v2 (Recht et al. 2019), which AlgoPerf reads
    with TensorFlow, and thus resizes otherwise than validation images. The training images that
    are evaluated are a random sample, the same every time. Here every image of a split is
    evaluated once, for any number of processes.
    """

    suites: tuple[str, ...] = ("algoperf",)
    data_source = files.SOURCE
    num_classes = files.CLASSES

    num_train_examples = 1281167
    num_validation_examples = 50000
    num_test_examples = 10000
    train_batch_size = 1024

    @cached_property
    def workers(self) -> int:  # type: ignore[override]
        """As many processes as there are processors for this one."""
        return loading.workers()

    def train_transform(self) -> Transform:
        """A random crop, half of them mirrored."""
        return transforms.training(INPUT)

    def eval_transform(self, split: str) -> Transform:
        """The centre."""
        kind = transforms.imagenet_v2 if split == "test" else transforms.evaluation
        return kind(INPUT, RESIZED)

    def load(self) -> Mapping[str, Images]:
        """The files of every split; raises DataError where they are not prepared."""
        return self._files()

    def check_data(self) -> None:
        """Raises DataError where folders are missing."""
        files.parts(self.data_dir)

    def prepare_data(self, progress: Progress = lambda done, parts, name: None) -> None:
        """Lists the files, once."""
        prepared.prepare(self._folder, files.parts(self.data_dir), progress)

    def data_faults(self) -> list[str]:
        """Folders that are missing, numbers unlike ImageNet's, and every image that is damaged."""
        faults = super().data_faults()
        if not faults:
            faults = prepared.faults(self._folder, files.parts(self.data_dir))
        if faults or self.data_dir is None:
            return faults
        faults = files.missing_classes(self.data_dir)
        found = self._files()
        for split, count in self.sizes.items():
            if len(found[split].labels) != count:
                faults.append(
                    f"{found[split].folder}: {len(found[split].labels):,} images, "
                    f"ImageNet has {count:,}"
                )
        return faults + files.damaged(list(found.values()))

    @property
    def _folder(self) -> Path:
        if self.data_dir is None:
            raise DataError(f"{self.name} reads files: pass --data-dir DIR, with {files.SOURCE}")
        return self.data_dir / "prepared" / "imagenet"  # of all that read ImageNet

    def _files(self) -> dict[str, ImageFiles]:
        read = {split: prepared.read(self._folder, split) for split in files.FOLDERS}
        assert self.data_dir is not None
        return {
            split: ImageFiles(self.data_dir / files.FOLDERS[split], **arrays)
            for split, arrays in read.items()
        }
