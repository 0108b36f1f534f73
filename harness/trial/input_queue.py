"""A trial's batches, in a given order, from any position."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from harness.spec import Batch, DataError, Workload
from scoring.escaping import error_message


class InputQueue:
    """A workload's batches; counts them, and tells the pipeline's faults from the submission's.

    Attributes:
        position: How many batches were taken.
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

    def go_to(self, position: int) -> None:
        """Continues with the batch of this number."""
        self.close()
        self._batches = self._build(start=position)
        self.position = position

    def close(self) -> None:
        """Ends what makes batches: no thread of it outlives the trial."""
        close = getattr(self._batches, "close", None)  # generators have it
        if close is not None:
            close()
