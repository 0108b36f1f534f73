"""librispeech: AlgoPerf's two models of speech, their held-out variants, and their minis."""

from __future__ import annotations

from functools import partial

import torch
from torch.nn import functional as F  # noqa: N812 - the usual name

from workloads.librispeech.conformer import ConformerConfig
from workloads.librispeech.datasets import LibriSpeech, SpokenHere
from workloads.librispeech.deepspeech import DeepSpeechConfig
from workloads.librispeech.frontend import Masks
from workloads.targets import read_targets

_FEW_MASKS = Masks(of_frequency=1, bins=10, of_time=1)  # for short utterances


class LibriSpeechConformer(LibriSpeech):
    """A Conformer, whose batch norms are not synchronised between processes.

    An evaluation takes the mean over processes of their running statistics, as in AlgoPerf.
    """

    name = "librispeech_conformer"
    summary = "speech recognition (LibriSpeech in --data-dir), Conformer of 4 blocks, CTC"
    validation_target_value = 0.085884
    test_target_value: float | None = 0.052981
    max_allowed_runtime_sec = 58015.0
    step_hint = 76000
    cudnn_benchmark = False
    config = ConformerConfig()


class LibriSpeechConformerAttentionTemperature(LibriSpeechConformer):
    """The attention's output times 1.6, not its logits, as AlgoPerf's PyTorch has it."""

    name = "librispeech_conformer_attention_temperature"
    summary = "librispeech_conformer with an attention temperature of 1.6"
    suites = ()
    validation_target_value = 0.109977
    test_target_value = 0.068065
    config = ConformerConfig(attention_temperature=1.6)


class LibriSpeechConformerLayerNorm(LibriSpeechConformer):
    """No layer norm at the end of a block: held out in v0.5."""

    name = "librispeech_conformer_layernorm"
    summary = "librispeech_conformer without the layer norm at the end of a block"
    suites = ()
    validation_target_value = 0.09731
    test_target_value = 0.05996
    config = ConformerConfig(block_norm=False)


class LibriSpeechConformerGelu(LibriSpeechConformer):
    """GELU in place of SiLU; its tanh approximation in the feed-forward modules, as there."""

    name = "librispeech_conformer_gelu"
    summary = "librispeech_conformer with GELU"
    suites = ()
    validation_target_value = 0.094114
    test_target_value = 0.056629
    config = ConformerConfig(
        feed_forward_activation=partial(F.gelu, approximate="tanh"), convolution_activation=F.gelu
    )


class LibriSpeechDeepSpeech(LibriSpeech):
    """DeepSpeech, whose batch norms have the statistics of the batches of all processes."""

    name = "librispeech_deepspeech"
    summary = "speech recognition (LibriSpeech in --data-dir), DeepSpeech of 6 LSTMs, CTC"
    validation_target_value = 0.119936
    test_target_value: float | None = 0.074143
    max_allowed_runtime_sec = 44405.0
    step_hint = 38400
    compile_loss = True
    config = DeepSpeechConfig()


class LibriSpeechDeepSpeechTanh(LibriSpeechDeepSpeech):
    """Tanh in place of every ReLU."""

    name = "librispeech_deepspeech_tanh"
    summary = "librispeech_deepspeech with tanh"
    suites = ()
    validation_target_value = 0.150883
    test_target_value = 0.098613
    config = DeepSpeechConfig(activation=torch.tanh)


class LibriSpeechDeepSpeechNoResNet(LibriSpeechDeepSpeech):
    """No residual connections."""

    name = "librispeech_deepspeech_no_resnet"
    summary = "librispeech_deepspeech without residual connections"
    suites = ()
    validation_target_value = 0.131564
    test_target_value = 0.079297
    config = DeepSpeechConfig(residual=False)


class LibriSpeechDeepSpeechNormAndSpecAug(LibriSpeechDeepSpeech):
    """Layer norm in place of batch norm, none before the head, and more of SpecAugment."""

    name = "librispeech_deepspeech_norm_and_spec_aug"
    summary = "librispeech_deepspeech with layer norm and more masks"
    suites = ()
    validation_target_value = 0.14342
    test_target_value = 0.090976
    eval_batch_size = 128
    config = DeepSpeechConfig(layer_norm=True, masks=Masks(of_frequency=4, of_time=15))


class LibriSpeechConformerMini(SpokenHere):
    """A Conformer of one block on speech that is made here.

    Its batch norm forgets faster than the official one, to follow a thousand steps.
    """

    name = "librispeech_conformer_mini"
    summary = "speech of an invented language (made here), Conformer of one block"
    suites = ()  # it does not separate submissions: see docs/results.md
    validation_target_value, test_target_value = read_targets(__file__, name)

    budget_steps = 1200
    eval_period_steps = 150
    step_hint = 1200
    cudnn_benchmark = False
    config = ConformerConfig(
        vocab_size=32, width=32, heads=4, layers=1, masks=_FEW_MASKS, batch_norm_momentum=0.02
    )


class LibriSpeechDeepSpeechMini(SpokenHere):
    """DeepSpeech of one LSTM and one feed-forward layer on speech that is made here.

    Its batch norms forget faster than the official ones, to follow a thousand steps.
    """

    name = "librispeech_deepspeech_mini"
    summary = "speech of an invented language (made here), DeepSpeech of one LSTM"
    suites = ("mini",)
    validation_target_value, test_target_value = read_targets(__file__, name)

    budget_steps = 1000
    eval_period_steps = 125
    step_hint = 1000
    config = DeepSpeechConfig(
        vocab_size=32,
        width=32,
        lstm_layers=1,
        feed_forward_layers=1,
        masks=_FEW_MASKS,
        batch_norm_momentum=0.02,
    )
