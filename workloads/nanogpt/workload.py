"""nanogpt: the language models of the NanoGPT speedrun and of its track 3, and their minis."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import torch

from workloads import language
from workloads.arrays import Splits
from workloads.gpt import Config
from workloads.nanogpt import track3_model
from workloads.nanogpt.files import TokenFiles
from workloads.nanogpt.invented import InventedLanguage
from workloads.nanogpt.task import LanguageModelling
from workloads.nanogpt.track3_task import Track3
from workloads.shards import windows
from workloads.targets import read_targets


class Nanogpt(TokenFiles, LanguageModelling):
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

    validation_target_value = 3.28
    test_target_value = 3.28
    max_allowed_runtime_sec = 2700.0
    eval_period_time_sec = 60.0
    step_hint = 19073
    compile_model = True
    read_ahead = 10
    needed_tokens = MappingProxyType({"train": 10**10, "val": 2 * 10_485_760 + 1})

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
        train, held_out = self.shards("train"), self.shards("val")
        count = min(
            self.num_validation_examples, sum((len(s) - 1) // length for s in held_out) // 2
        )
        splits = {
            "train": windows(train, length),
            "validation": windows(held_out, length, 0, count),
            "test": windows(held_out, length, count, count),
        }
        return self.columns(splits)

    def training_tokens(self) -> np.ndarray:
        """The first training shard."""
        return self.shards("train")[0]


class NanogptMini(InventedLanguage, LanguageModelling):
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


class NanogptTrack3(TokenFiles, Track3):
    """The optimizer benchmark of modded-nanogpt: fewest steps to a validation loss of 3.28.

    Model, data, order, batch and evaluation are those of its baseline, which takes 3,375 steps (see
    the ruleset `track3`). Validation is the first 10,485,760 tokens of the validation text.
    """

    name = "nanogpt_track3"
    summary = "optimizer benchmark: language model on FineWeb (token shards in --data-dir)"

    validation_target_value = 3.28
    budget_steps = 3375
    eval_period_steps = 125
    step_hint = 3375
    compile_model = True
    read_ahead = 10
    needed_tokens = MappingProxyType({"train": 3375 * 524_288 + 1, "val": 10_485_760 + 1})

    num_train_examples = 9765625
    num_eval_train_examples = 1024
    num_validation_examples = 10240
    train_batch_size = 512
    micro_batch_size = 64
    logits_at_once = 16
    eval_batch_size = 16
    config = track3_model.Config()

    def load(self) -> Splits:
        """Sequences [N, 1024] of both splits, memory-mapped."""
        length = self.config.context
        splits = {
            "train": windows(self.shards("train"), length),
            "validation": windows(self.shards("val"), length, 0, self.num_validation_examples),
        }
        return self.columns(splits)

    @property
    def sequences_by_shard(self) -> list[int]:
        """How many sequences each training shard has."""
        return [(len(shard) - 1) // self.config.context for shard in self.shards("train")]


class NanogptTrack3Mini(InventedLanguage, Track3):
    """The same on the language of nanogpt_mini; all in float32, so that machines agree."""

    name = "nanogpt_track3_mini"
    summary = "nanogpt_track3 on an invented language whose words follow Zipf's law, small model"

    validation_target_value = read_targets(__file__, name)[0]

    budget_steps = 480
    eval_period_steps = 80
    step_hint = 480

    num_train_examples = 10000
    num_eval_train_examples = 100
    num_validation_examples = 500
    train_batch_size = 8
    micro_batch_size = 4
    logits_at_once = 4
    eval_batch_size = 50
    config = track3_model.Config(
        language.VOCABULARY, context=32, layers=2, heads=2, width=64, dtype=torch.float32
    )

    @property
    def sequences_by_shard(self) -> list[int]:
        """All sequences, as one shard."""
        return [self.num_train_examples]
