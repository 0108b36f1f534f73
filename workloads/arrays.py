"""Workloads whose dataset fits into memory: batches, splits, evaluation."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping

import numpy as np
import torch

from harness.spec import (
    Batch,
    LossType,
    ModelAuxiliaryState,
    ParameterContainer,
    RandomState,
    Tensor,
)
from workloads.base import ModelWorkload, eval_mode, seed_of

Splits = Mapping[str, tuple[np.ndarray, np.ndarray]]  # split -> (inputs [N, ...], targets [N, ...])


class InMemoryWorkload(ModelWorkload):
    """A workload whose dataset fits into memory.

    Training batches walk through one random permutation of the examples after the other, the
    incomplete batch at the end of each dropped; evaluation goes through a split in order.
    """

    @abc.abstractmethod
    def load(self) -> Splits:
        """Reads the splits "train", "validation" and "test"; raises DataError."""

    @property
    def sizes(self) -> dict[str, int]:
        """How many examples each split has."""
        return {
            "train": self.num_train_examples,
            "validation": self.num_validation_examples,
            "test": self.num_test_examples,
        }

    def check_data(self) -> None:
        """Raises DataError where files are missing or damaged."""
        self.load()

    def split(self, name: str) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a split, on `self.device`."""
        if not hasattr(self, "_splits"):
            self._splits: dict[str, tuple[Tensor, Tensor]] = {
                key: (torch.from_numpy(x).to(self.device), torch.from_numpy(y).to(self.device))
                for key, (x, y) in self.load().items()
            }
        return self._splits[name]

    def build_input_queue(
        self, rng: RandomState, split: str, global_batch_size: int
    ) -> Iterator[Batch]:
        """An endless iterator over batches; batch i is a pure function of (rng, i)."""
        inputs, targets = self.split(split)
        seed = seed_of(rng)

        def batches() -> Iterator[Batch]:
            epoch = 0
            while True:
                order = np.random.default_rng([seed, epoch]).permutation(len(inputs))
                indices = torch.from_numpy(order).to(self.device)
                for chosen in torch.split(indices, global_batch_size):
                    if len(chosen) == global_batch_size:
                        yield {"inputs": inputs[chosen], "targets": targets[chosen]}
                epoch += 1

        return batches()

    def eval_model(
        self, params: ParameterContainer, model_state: ModelAuxiliaryState, split: str
    ) -> dict[str, float]:
        """The mean of every metric over a split, each example once."""
        inputs, targets = self.split(split)
        if split == "train":
            inputs = inputs[: self.num_eval_train_examples]
            targets = targets[: self.num_eval_train_examples]
        sums: dict[str, float] = {}
        with eval_mode(params):
            size = self.eval_batch_size
            for x, y in zip(torch.split(inputs, size), torch.split(targets, size), strict=True):
                for name, values in self.per_example_metrics(y, params(x)).items():
                    sums[name] = sums.get(name, 0.0) + values.double().sum().item()
        return {name: total / len(inputs) for name, total in sums.items()}

    def per_example_metrics(self, labels: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Each metric [B]: the loss, and accuracy where the labels are classes."""
        metrics = {"loss": self.loss(labels, logits, "none")}
        if self.loss_type is LossType.SOFTMAX_CROSS_ENTROPY:
            metrics["accuracy"] = (logits.argmax(1) == labels).float()
        return metrics


def standardised_splits(
    inputs: np.ndarray, targets: np.ndarray, sizes: Mapping[str, int], *, axis: int | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Splits a dataset by one fixed permutation and standardises it by its training part.

    Args:
        inputs: [N, ...].
        targets: [N, ...].
        sizes: How many examples each split has, "train" first; they add up to N.
        axis: The axis that mean and deviation are taken over; None for all.
    """
    if sum(sizes.values()) != len(inputs):
        raise ValueError(f"the splits {dict(sizes)} do not add up to {len(inputs)} examples")
    order = np.random.default_rng(0).permutation(len(inputs))
    ends = np.cumsum(list(sizes.values()))[:-1]
    parts = dict(zip(sizes, np.split(order, ends), strict=True))
    mean = inputs[parts["train"]].mean(axis=axis)
    deviation = inputs[parts["train"]].std(axis=axis)
    scaled = ((inputs - mean) / deviation).astype(np.float32)
    return {name: (scaled[part], targets[part]) for name, part in parts.items()}
