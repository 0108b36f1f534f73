"""Workloads whose examples are rows of arrays: batches, splits, evaluation."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from functools import cached_property

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
from workloads.base import ModelWorkload
from workloads.batching import epochs, seed_of
from workloads.distributed import own_part, summed, world
from workloads.modes import eval_mode
from workloads.parts import Rows
from workloads.prefetch import on_device, read_ahead

Columns = Mapping[str, np.ndarray | Rows]  # "inputs" [N, ...], "targets" [N, ...] and others
Splits = Mapping[str, Columns]  # by split: "train", "validation", "test"
ON_DEVICE = 2**30  # a split of at most so many bytes is kept on the device


class ArrayWorkload(ModelWorkload):
    """A workload whose examples are rows of arrays, in memory or memory-mapped.

    Training batches walk through one random permutation of the examples after the other, the
    incomplete batch at the end of each dropped; evaluation goes through a split in order. With
    several processes each takes its share of every batch and of every split. If all columns are in
    memory, a batch has "indices" [B], the numbers of its examples in their split, for methods that
    remember something about each.

    Attributes:
        augmentation_draws: How many random numbers `augmented` takes for an example; 0 for none.
    """

    augmentation_draws = 0

    @abc.abstractmethod
    def load(self) -> Splits:
        """Reads the examples of `self.splits`; raises DataError."""

    def check_data(self) -> None:
        """Raises DataError where files are missing or damaged."""
        self.load()

    @cached_property
    def examples(self) -> dict[str, Examples]:
        """The examples of every split, read once; raises DataError."""
        return {split: Examples(columns, self.device) for split, columns in self.load().items()}

    def build_input_queue(
        self, rng: RandomState, split: str, global_batch_size: int, start: int = 0
    ) -> Iterator[Batch]:
        """An endless iterator over batches from number `start`, each a function of (rng, i)."""
        examples = self.examples[split]
        own = own_part(global_batch_size)
        seed = seed_of(rng)

        def batches() -> Iterator[Batch]:
            for epoch, begins in epochs(len(examples), global_batch_size, start):
                generator = np.random.default_rng([seed, epoch])
                order = self.epoch_order(generator, len(examples))
                draws = self._draws(generator, len(order))
                for begin in begins:
                    batch = examples.take(order[begin:][own])
                    if draws is not None:
                        batch = self.augmented(batch, draws[begin:][own])
                    yield batch

        return read_ahead(batches(), self.read_ahead, self.device)

    def epoch_order(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """The numbers [count] of an epoch's examples, as training takes them."""
        return generator.permutation(count)

    def augmented(self, batch: Batch, draws: Tensor) -> Batch:
        """What becomes of a training batch; of `draws` [B, `augmentation_draws`] from [0, 1)."""
        return batch

    def _draws(self, generator: np.random.Generator, count: int) -> Tensor | None:
        if self.augmentation_draws == 0:
            return None
        numbers = generator.random((count, self.augmentation_draws), dtype=np.float32)
        return on_device(numbers, self.device)

    def eval_model(
        self, params: ParameterContainer, model_state: ModelAuxiliaryState, split: str
    ) -> dict[str, float]:
        """The mean of every metric over a split, each example once."""
        examples = self.examples[split]
        count = self.eval_count(split, len(examples))
        sums = {"count": 0.0}
        with eval_mode(params):
            for chosen in _own_pieces(count, self.eval_batch_size):
                batch = examples.take(chosen if len(chosen) else np.arange(1))
                logits = self.forward(params, batch, 0.0)
                for name, values in self.per_example_metrics(batch, logits).items():
                    sums[name] = sums.get(name, 0.0) + values[: len(chosen)].double().sum().item()
                sums["count"] += len(chosen)
        sums = summed(sums, self.device)
        counted = sums.pop("count")
        return {name: total / counted for name, total in sums.items()}

    def per_example_metrics(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """Each metric [B]: the loss, and accuracy where the labels are classes."""
        labels = batch["targets"]
        metrics = {"loss": self.losses(labels, logits)[1]}
        if self.loss_type is LossType.SOFTMAX_CROSS_ENTROPY:
            metrics["accuracy"] = (logits.argmax(1) == labels).float()
        return metrics


class Examples:
    """The examples of one split: on the device where they are few, else gathered from disk."""

    def __init__(self, columns: Columns, device: torch.device) -> None:
        self._device = device
        self._columns = columns
        arrays = [column for column in columns.values() if isinstance(column, np.ndarray)]
        few = sum(array.nbytes for array in arrays) <= ON_DEVICE
        self._tensors: dict[str, Tensor] | None = None
        if few and len(arrays) == len(columns):
            self._tensors = {
                name: torch.from_numpy(np.array(column)).to(device)
                for name, column in columns.items()
                if isinstance(column, np.ndarray)
            }

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def take(self, indices: np.ndarray) -> Batch:
        """The examples with these indices [B] as a batch on the device.

        It has "indices" [B] if all columns are in memory.
        """
        if self._tensors is not None:
            chosen = on_device(indices, self._device)
            batch = {name: tensor[chosen] for name, tensor in self._tensors.items()}
            batch["indices"] = chosen
            return batch
        batch = {}
        for name, column in self._columns.items():
            rows = column.take(indices) if isinstance(column, Rows) else column[indices]
            batch[name] = on_device(rows, self._device)
        if not any(isinstance(column, Rows) for column in self._columns.values()):
            batch["indices"] = on_device(indices, self._device)
        return batch

    def __getitem__(self, name: str) -> Tensor:
        """A whole column."""
        return self.take(np.arange(len(self)))[name]


def _own_pieces(count: int, size: int) -> Iterator[np.ndarray]:
    """This process's share of the numbers below `count`, in pieces of at most `size`.

    Every process has the same number of pieces; where examples are few, the last may be empty.
    """
    rank, processes = world()
    own = np.arange(rank, count, processes)
    for start in range(0, -(-count // processes), size):
        yield own[start : start + size]


def standardised_splits(
    inputs: np.ndarray, targets: np.ndarray, sizes: Mapping[str, int], *, axis: int | None
) -> dict[str, dict[str, np.ndarray]]:
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
    return {
        name: {"inputs": scaled[part], "targets": targets[part]} for name, part in parts.items()
    }
