"""The files that nanogpt's workloads read: token shards, or texts to be made into some."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.spec import DataError
from scoring.files import entries
from workloads.arrays import Splits
from workloads.nanogpt import text
from workloads.parts import Part
from workloads.prepared import PreparedWorkload
from workloads.shards import Windows, read_shard

_TOKENS = 50257  # of GPT-2


class TokenFiles(PreparedWorkload):
    """A workload on FineWeb in token shards, which are given or made of texts.

    Attributes:
        needed_tokens: How many tokens the workload reads of the files "train" and "val".
    """

    dataset = "nanogpt"
    data_source = (
        "fineweb_train_*.bin and fineweb_val_*.bin of "
        "https://huggingface.co/datasets/kjj0/fineweb10B-gpt2, or texts train*.txt and val*.txt "
        "to be made into shards"
    )
    needed_tokens: Mapping[str, int]

    def check_data(self) -> None:
        """Raises DataError where files are missing or damaged."""
        if not self.parts():
            self.load()

    def data_faults(self) -> list[str]:
        """What is missing, damaged, or too small for the workload."""
        faults = super().data_faults()
        if faults:
            return faults
        for split, needed in self.needed_tokens.items():
            shards = self.shards(split)
            count = sum(len(shard) for shard in shards)
            if count < needed:
                faults.append(
                    f"{self.data_dir}: {count:,} tokens of {split}, the workload has {needed:,}"
                )
            if any(int(shard.max()) >= _TOKENS for shard in shards):
                faults.append(f"{self.data_dir}: a shard of {split} has tokens beyond GPT-2's")
        return faults

    def shards(self, split: str) -> list[np.ndarray]:
        """The tokens [N] of each shard, "train" or "val", in the order of the files' names."""
        files = entries(self.files, f"*{split}*.bin") if self.files.is_dir() else []
        if not files:
            made = [part.name for part in self.parts() if part.name.startswith(split)]
            files = [self.folder / name / text.SHARD for name in made]
        if not files:
            raise DataError(f"{self.files}: no *{split}*.bin there; get {self.data_source}")
        return [read_shard(file) for file in files]

    def parts(self) -> list[Part]:
        """The shards that are made of texts; none where shards are given."""
        return text.parts(self.files, self.folder, _TOKENS)

    def columns(self, splits: Mapping[str, tuple[Windows, Windows]]) -> Splits:
        """The columns of each split's windows; raises DataError where a split has none."""
        for split, (inputs, _) in splits.items():
            if not len(inputs):
                raise DataError(f"{self.data_dir}: too few tokens for {split}: no window fits")
        return {
            split: {"inputs": inputs, "targets": targets}
            for split, (inputs, targets) in splits.items()
        }
