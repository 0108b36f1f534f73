"""Workloads of a millisecond a step, one of every loss type: what `chronograd check` trains.

Their data are random numbers and a fixed linear teacher's answers to them. They belong to no suite
and are no benchmark; they have what a submission may meet: matrices, biases, a normalisation with
running statistics, dropout, weights that mask examples, and batches that are tuples.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from harness.spec import Batch, LossType, ModelAuxiliaryState, ParameterContainer, RandomState
from workloads.base import ModelWorkload
from workloads.batching import seed_of
from workloads.distributed import local_batch_size, world
from workloads.modes import eval_mode

INPUTS, HIDDEN, CLASSES, FRAMES, TOKENS = 8, 16, 5, 12, 3


class _Net(nn.Module):
    """[..., INPUTS] to [..., outputs]."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(INPUTS, HIDDEN), nn.Linear(HIDDEN, outputs)
        self.norm = nn.BatchNorm1d(HIDDEN)

    def forward(self, x: Tensor, dropout_rate: float = 0.0) -> Tensor:
        """Logits of inputs."""
        hidden = F.relu(self.norm(self.hidden(x).flatten(0, -2)))
        hidden = F.dropout(hidden, dropout_rate, self.training)
        logits: Tensor = self.head(hidden).view(*x.shape[:-1], -1)
        return logits


class _Tiny(ModelWorkload):
    summary = "random numbers"
    target_metric_name = "loss"
    target_direction = "min"
    validation_target_value = test_target_value = 0.0
    max_allowed_runtime_sec, eval_period_time_sec = 1000.0, 10.0
    step_hint = 100
    num_train_examples = 4096
    num_eval_train_examples = num_validation_examples = num_test_examples = 64
    train_batch_size, eval_batch_size = 16, 64
    dropout_rate = 0.1
    outputs = 1

    def build_model(self) -> nn.Module:
        """The network, initialised from torch's default generator."""
        return _Net(self.outputs)

    @abc.abstractmethod
    def targets(self, answers: Tensor) -> Tensor:
        """Targets from the teacher's answers [B, CLASSES]."""

    def build_input_queue(
        self, rng: RandomState, split: str, global_batch_size: int, start: int = 0
    ) -> Iterator[Batch]:
        """Batch i is drawn from (rng, i), each process's share of it by its rank."""
        seed, size = seed_of(rng) & 0xFFFFFFFF, local_batch_size(global_batch_size)
        while True:
            yield self.batch(seed_of((seed, start, world()[0])), size)
            start += 1

    def load(self) -> dict[str, Any]:
        """One batch for each split."""
        return {
            split: self.batch(seed, self.eval_batch_size) for seed, split in enumerate(self.sizes)
        }

    def batch(self, seed: int, size: int) -> Any:
        """A batch of `size` examples."""
        inputs = torch.randn(size, INPUTS, generator=torch.Generator().manual_seed(seed))
        batch = {"inputs": inputs, "targets": self.targets(inputs @ _teacher())}
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def eval_model(
        self, params: ParameterContainer, model_state: ModelAuxiliaryState, split: str
    ) -> dict[str, float]:
        """The loss of one batch."""
        batch = self.examples[split]
        with eval_mode(params):
            logits = self.forward(params, batch, 0.0)
            loss = self.loss_fn(batch["targets"], logits, batch.get("weights"))
            return {"loss": (loss["summed"] / loss["n_valid_examples"]).item()}


def _teacher() -> Tensor:
    return torch.randn(INPUTS, CLASSES, generator=torch.Generator().manual_seed(7))


class _Softmax(_Tiny):
    name = "tiny_softmax"
    loss_type = LossType.SOFTMAX_CROSS_ENTROPY
    outputs = CLASSES

    def targets(self, answers: Tensor) -> Tensor:
        return answers.argmax(1)


class _Sigmoid(_Tiny):
    name = "tiny_sigmoid"
    loss_type = LossType.SIGMOID_CROSS_ENTROPY

    def targets(self, answers: Tensor) -> Tensor:
        return (answers[:, :1] > 0).float()

    def batch(self, seed: int, size: int) -> Any:
        weights = torch.ones(size, device=self.device)
        weights[::4] = 0
        return {**super().batch(seed, size), "weights": weights}


class _Squared(_Tiny):
    name = "tiny_squared"
    loss_type = LossType.MEAN_SQUARED_ERROR

    def targets(self, answers: Tensor) -> Tensor:
        return answers[:, :1]


class _Absolute(_Squared):
    name = "tiny_absolute"
    loss_type = LossType.MEAN_ABSOLUTE_ERROR


class _Ctc(_Tiny):
    """Utterances of FRAMES frames and TOKENS tokens; inputs and targets come with paddings."""

    name = "tiny_ctc"
    loss_type = LossType.CTC_LOSS
    outputs = CLASSES + 1

    def targets(self, answers: Tensor) -> Tensor:
        return answers.argmax(-1) + 1

    def batch(self, seed: int, size: int) -> Any:
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn(size, FRAMES, INPUTS, generator=generator)
        spoken = self.targets(inputs[:, :: FRAMES // TOKENS] @ _teacher())
        paddings = torch.zeros(size, FRAMES), torch.zeros(size, TOKENS)
        pairs = {"inputs": (inputs, paddings[0]), "targets": (spoken, paddings[1])}
        return {name: tuple(t.to(self.device) for t in pair) for name, pair in pairs.items()}

    def forward(  # type: ignore[override]
        self, model: nn.Module, batch: Any, dropout_rate: float | None
    ) -> tuple[Tensor, Tensor]:
        inputs, paddings = batch["inputs"]
        return model(inputs, dropout_rate), paddings

    def loss_fn(  # type: ignore[override]
        self,
        label_batch: tuple[Tensor, Tensor],
        logits_batch: tuple[Tensor, Tensor],
        mask_batch: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> dict[str, Tensor]:
        (labels, label_paddings), (logits, paddings) = label_batch, logits_batch
        lengths = (1 - paddings).sum(1).long(), (1 - label_paddings).sum(1).long()
        log_probabilities = logits.log_softmax(-1).transpose(0, 1)
        losses = F.ctc_loss(log_probabilities, labels, *lengths, reduction="none")
        counts = lengths[1]  # as in librispeech
        if mask_batch is not None:
            losses, counts = losses * mask_batch, mask_batch != 0
        return {"summed": losses.sum(), "n_valid_examples": counts.sum(), "per_example": losses}


def workloads(device: str = "cpu") -> list[ModelWorkload]:
    """One workload of every loss type."""
    return [cls(device=device) for cls in (_Softmax, _Sigmoid, _Squared, _Absolute, _Ctc)]
