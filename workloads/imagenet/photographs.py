"""What the workloads on ImageNet's photographs share."""

from __future__ import annotations

from functools import cached_property

from workloads.imagenet import files, loading, transforms
from workloads.imagenet.files import ImageFiles
from workloads.imagenet.task import ImageClassification
from workloads.imagenet.transforms import Transform
from workloads.parts import Part

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
    dataset = "imagenet"
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

    def load(self) -> dict[str, ImageFiles]:
        """The files of every split; raises DataError where they are not prepared."""
        return {
            split: ImageFiles(self.files / folder, **self.read(split))
            for split, folder in files.FOLDERS.items()
        }

    def parts(self) -> list[Part]:
        """The list of each split's files; raises DataError where folders are missing."""
        return files.parts(self.files)

    def data_faults(self) -> list[str]:
        """Folders that are missing, numbers unlike ImageNet's, and every image that is damaged."""
        faults = super().data_faults()
        if faults:
            return faults
        faults = files.missing_classes(self.files)
        found = self.load()
        for split, count in self.sizes.items():
            if len(found[split].labels) != count:
                faults.append(
                    f"{found[split].folder}: {len(found[split].labels):,} images, "
                    f"ImageNet has {count:,}"
                )
        return faults + files.damaged(list(found.values()))
