"""A trial's batches, in an order fixed by the seed, from any position."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from harness.spec import Batch, DataError, Workload
from scoring.escaping import error_message


class InputQueue:
    """A workload's batches; counts them, and raises errors of the input pipeline as `DataError`.

    Attributes:
        position: Number of batches taken so far.
    """

    def __init__(self, workload: Workload, rng: Any, batch_size: int) -> None:
        self._build = partial(workload.build_input_queue, rng, "train", batch_size)
        self._batches = self._build()
        self.position = 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        try:
            batch = next(self._batches)
        except (DataError, StopIteration):
            raise
        except Exception as error:
            raise DataError(f"the input pipeline failed: {error_message(error)}") from error
        self.position += 1
        return batch

    def seek(self, position: int) -> None:
        """Continues with the batch at this position."""
        self.close()
        self._batches = self._build(start=position)
        self.position = position

    def close(self) -> None:
        """Closes the input pipeline, so that none of its threads outlives the trial."""
        close = getattr(self._batches, "close", None)  # generators have it, other iterators may not
        if close is not None:
            close()
