"""librispeech: AlgoPerf's two models of speech, their held-out variants, and their minis."""

from __future__ import annotations

from functools import partial

from torch import nn

from harness.spec import Progress
from workloads import prepared
from workloads.base import read_targets
from workloads.librispeech import synthetic
from workloads.librispeech.conformer import Conformer, ConformerConfig
from workloads.librispeech.data import Preparation, Recording, Utterances
from workloads.librispeech.deepspeech import DeepSpeech, DeepSpeechConfig
from workloads.librispeech.speech import SpeechWorkload


class SpokenHere(SpeechWorkload):
    """Recognises speech that is made here, see `workloads.librispeech.synthetic`."""

    suites: tuple[str, ...] = ()  # "mini" once it has a target: chronograd calibrate

    num_train_examples = 1600
    num_eval_train_examples = 100
    num_validation_examples = 400
    num_test_examples = 400
    train_batch_size = 8
    eval_batch_size = 25  # what fits into a core's cache

    dropout_rate = 0.0
    max_samples = 16_000
    max_tokens = 24
    read_ahead = 0

    def prepare_data(self, progress: Progress = lambda done, parts, name: None) -> None:
        """Makes the utterances and tokens of what is said."""
        preparation = self.preparation()
        prepared.prepare(preparation.folder, preparation.parts(), progress)

    def split(self, name: str) -> Utterances:
        """The utterances of "train", "validation" or "test", made where they are missing."""
        self.prepare_data()
        return super().split(name)

    def preparation(self) -> Preparation:
        """What makes the utterances, and tokens of what is said."""
        return Preparation(
            recipe=f"spoken 1, {self.sizes}",
            recordings=[
                Recording(
                    name,
                    partial(synthetic.utterances, size, self.max_samples, seed),
                    partial(synthetic.texts, size, seed),
                )
                for seed, (name, size) in enumerate(self.sizes.items(), start=1)
            ],
            vocabulary_from="train",
            vocabulary_size=32,
            max_samples=self.max_samples,
            max_characters=self.max_tokens,
            folder=prepared.cache_folder() / "librispeech_mini",
        )


class LibriSpeechConformerMini(SpokenHere):
    """The same Conformer, small."""

    name = "librispeech_conformer_mini"
    summary = "speech of an invented language (made here), Conformer of one block"
    validation_target_value, test_target_value = read_targets(__file__, name)

    budget_steps = 1200
    eval_period_steps = 150
    step_hint = 1200

    def build_model(self) -> nn.Module:
        """The Conformer, initialised from torch's default generator."""
        return Conformer(
            ConformerConfig(
                vocab_size=32,
                width=32,
                heads=4,
                layers=1,
                frequency_masks=1,
                frequency_mask_bins=10,
                time_masks=1,
                batch_norm_momentum=0.02,
            )
        )


class LibriSpeechDeepSpeechMini(SpokenHere):
    """The same DeepSpeech, small."""

    name = "librispeech_deepspeech_mini"
    summary = "speech of an invented language (made here), DeepSpeech of one LSTM"
    validation_target_value, test_target_value = read_targets(__file__, name)

    budget_steps = 1000
    eval_period_steps = 125
    step_hint = 1000

    def build_model(self) -> nn.Module:
        """DeepSpeech, initialised from torch's default generator."""
        return DeepSpeech(
            DeepSpeechConfig(
                vocab_size=32,
                width=32,
                lstm_layers=1,
                feed_forward_layers=1,
                frequency_masks=1,
                frequency_mask_bins=10,
                time_masks=1,
                batch_norm_momentum=0.02,
            )
        )
