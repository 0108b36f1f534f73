"""nanogpt: the language model of the NanoGPT speedrun, and its mini."""

from __future__ import annotations

import numpy as np

from harness.spec import DataError
from scoring.files import entries
from workloads import language
from workloads.arrays import Columns, Splits
from workloads.nanogpt import text
from workloads.nanogpt.model import Config
from workloads.nanogpt.task import LanguageModelling
from workloads.parts import Part
from workloads.shards import read_shard, windows
from workloads.targets import read_targets

_TOKENS = 50257  # of GPT-2


class Nanogpt(LanguageModelling):
    """GPT-2 small on FineWeb to a validation loss of 3.28: the NanoGPT speedrun's task.

    Target, model and data are those of the speedrun (github.com/KellerJordan/modded-nanogpt), step
    hint and budget those of its baseline, llm.c's PyTorch trainer: 10 billion tokens in batches of
    512 windows, 45 minutes on 8 H100. Validation is the first 10,485,760 tokens of the validation
    text, as there; the next as many are the test split, which the speedrun does not have, with the
    same target. An epoch is a random permutation of all windows, where the baseline reads the
    shards in order.
    """

    name = "nanogpt"
    summary = "language model on FineWeb (token shards in --data-dir), GPT-2 small"
    data_source = (
        "fineweb_train_*.bin and fineweb_val_*.bin of "
        "https://huggingface.co/datasets/kjj0/fineweb10B-gpt2, or texts train*.txt and val*.txt "
        "to be made into shards"
    )

    validation_target_value = 3.28
    test_target_value = 3.28
    max_allowed_runtime_sec = 2700.0
    eval_period_time_sec = 60.0
    step_hint = 19073
    compile_model = True
    read_ahead = 10

    num_train_examples = 9765625
    num_eval_train_examples = 1024
    num_validation_examples = 10240
    num_test_examples = 10240
    train_batch_size = 512
    eval_batch_size = 32
    config = Config()

    def load(self) -> Splits:
        """Windows [N, 1024] of every split, memory-mapped."""
        length = self.config.context
        train, held_out = self._shards("train"), self._shards("val")
        count = min(
            self.num_validation_examples, sum((len(s) - 1) // length for s in held_out) // 2
        )
        splits = {
            "train": windows(train, length),
            "validation": windows(held_out, length, 0, count),
            "test": windows(held_out, length, count, count),
        }
        for split, (inputs, _) in splits.items():
            if not len(inputs):
                raise DataError(
                    f"{self.data_dir}: too few tokens for {split}: no window of {length}"
                )
        return {
            split: {"inputs": inputs, "targets": targets}
            for split, (inputs, targets) in splits.items()
        }

    def check_data(self) -> None:
        """Raises DataError where files are missing or damaged."""
        if not self.parts():
            self.load()

    def data_faults(self) -> list[str]:
        """What is missing, damaged, or of another size than the speedrun's."""
        faults = super().data_faults()
        if faults:
            return faults
        for split, needed in (("train", 10**10), ("val", 2 * 10_485_760 + 1)):
            shards = self._shards(split)
            count = sum(len(shard) for shard in shards)
            if count < needed:
                faults.append(
                    f"{self.data_dir}: {count:,} tokens of {split}, the workload has {needed:,}"
                )
            if any(int(shard.max()) >= _TOKENS for shard in shards):
                faults.append(f"{self.data_dir}: a shard of {split} has tokens beyond GPT-2's")
        return faults

    def training_tokens(self) -> np.ndarray:
        """The first training shard."""
        return self._shards("train")[0]

    def _shards(self, split: str) -> list[np.ndarray]:
        """The tokens of a split's shards: those given, or those made of texts."""
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


class NanogptMini(LanguageModelling):
    """The same on a language made here, see `workloads.language`."""

    name = "nanogpt_mini"
    summary = "language model on an invented language whose words follow Zipf's law, small GPT"
    suites = ("mini",)

    validation_target_value, test_target_value = read_targets(__file__, name)

    budget_steps = 720
    eval_period_steps = 90
    step_hint = 720

    num_train_examples = 10000
    num_eval_train_examples = 100
    num_validation_examples = 500
    num_test_examples = 500
    train_batch_size = 8
    eval_batch_size = 50
    config = Config(language.VOCABULARY, context=32, layers=3, heads=4, width=128)

    def load(self) -> Splits:
        """Windows [N, 32] of every split."""
        return {split: self._windows(split) for split in self.sizes}

    def parts(self) -> list[Part]:
        """The text of each split, written in seconds."""
        context = self.config.context
        return language.parts({s: count * context + 1 for s, count in self.sizes.items()})

    def training_tokens(self) -> np.ndarray:
        """The complete training text."""
        return self.read("train")["tokens"]

    def _windows(self, split: str) -> Columns:
        tokens = self.read(split)["tokens"].astype(np.int64)
        shape = (-1, self.config.context)
        return {"inputs": tokens[:-1].reshape(shape), "targets": tokens[1:].reshape(shape)}
