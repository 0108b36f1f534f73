"""The two datasets: LibriSpeech in its files, and speech that is made here."""

from __future__ import annotations

from functools import partial

from harness.spec import DataError
from workloads.librispeech import corpus, synthetic
from workloads.librispeech.data import Preparation, Recording
from workloads.librispeech.task import SpeechWorkload
from workloads.parts import is_prepared


class LibriSpeech(SpeechWorkload):
    """LibriSpeech (Panayotov et al. 2015) as AlgoPerf v0.6 defines it, whatever the model.

    Kept as they are there, for they change the word error rate that targets refer to: words are
    counted in the text that Python shows of a TensorFlow string ("wer_plain" is the usual rate);
    utterances of over 20 s or 256 characters are dropped, from validation and test too. Order is a
    full random permutation every epoch, the incomplete batch at its end dropped. A vocabulary made
    here need not be AlgoPerf's, piece by piece: put its spm_model.vocab into --data-dir.
    """

    suites: tuple[str, ...] = ("algoperf",)
    data_source = corpus.SOURCE
    dataset = "librispeech"  # 110 GB once prepared

    eval_period_time_sec = 1440.0
    num_train_examples = 263840
    num_eval_train_examples = 5376
    num_validation_examples = 5348
    num_test_examples = 2472
    train_batch_size = 256
    eval_batch_size = 256

    dropout_rate = 0.1
    max_samples = 320_000
    max_tokens = 256
    read_ahead = 2

    def check_data(self) -> None:
        """Raises DataError where a subset is missing."""
        corpus.recordings(self.files)

    def data_faults(self) -> list[str]:
        """What is wrong with the files and what was made of them, and sizes unlike AlgoPerf's.

        What is prepared has been read without a fault; all else is decoded here.
        """
        try:
            faults = self._damaged_recordings()
        except DataError as error:
            return [str(error)]
        return faults or super().data_faults() or self._uncommon_sizes()

    def _damaged_recordings(self) -> list[str]:
        speakers = corpus.recordings(self.files)
        parts = (part for part in self.parts() if part.name in speakers)
        missing = (part for part in parts if not is_prepared(self.folder, part))
        return [fault for part in missing for fault in corpus.faults(speakers[part.name])]

    def _uncommon_sizes(self) -> list[str]:
        found = []
        for split, count in self.sizes.items():
            utterances = self.examples[split]
            if len(utterances) != count:
                found.append(
                    f"{self.data_dir}: {split} has {len(utterances):,} utterances besides "
                    f"{utterances.left_out:,} too long ones, AlgoPerf's has {count:,}"
                )
        return found

    def preparation(self) -> Preparation:
        """What makes samples and tokens of the files; raises DataError."""
        vocabulary = self.files / "spm_model.vocab"
        return Preparation(
            recipe="librispeech 1",
            recordings=[
                Recording(
                    name,
                    partial(corpus.utterances, speakers),
                    partial(corpus.transcripts, speakers),
                    partial(corpus.files, speakers),
                )
                for name, speakers in corpus.recordings(self.files).items()
            ],
            vocabulary_file=vocabulary if vocabulary.is_file() else None,
            vocabulary_from="train_train-clean-100",
            vocabulary_size=self.config.vocab_size,
            max_samples=self.max_samples,
            max_characters=256,
            folder=self.folder,
        )


class SpokenHere(SpeechWorkload):
    """Recognises speech that is made here, see `workloads.librispeech.synthetic`."""

    dataset = "librispeech_mini"

    num_train_examples = 1600
    num_eval_train_examples = 100
    num_validation_examples = 400
    num_test_examples = 400
    train_batch_size = 8
    eval_batch_size = 25  # what fits into a core's cache

    dropout_rate = 0.0
    max_samples = 16_000
    max_tokens = 24

    def preparation(self) -> Preparation:
        """What makes the utterances, and tokens of what is said."""
        return Preparation(
            recipe=f"spoken 2, {self.sizes}",
            recordings=[
                Recording(
                    name,
                    partial(synthetic.utterances, size, self.max_samples, seed),
                    partial(synthetic.texts, size, seed),
                )
                for seed, (name, size) in enumerate(self.sizes.items(), start=1)
            ],
            vocabulary_from="train",
            vocabulary_size=self.config.vocab_size,
            max_samples=self.max_samples,
            max_characters=self.max_tokens,
            folder=self.folder,
        )
