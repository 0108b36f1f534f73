"""Stochastic gradient descent on examples drawn with replacement, as theory has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from findings.frame.training import made_of
from harness.submission.loading import Submission
from submissions import whole_data
from submissions.finite_sums import Closure, FiniteSum

StepSize = Callable[[int], float]  # of step k, from 0


class SampledSGD(FiniteSum):
    """x <- x - a_k g, where g is the mean gradient of a batch drawn with replacement.

    Args:
        params: The parameters, in one group.
        examples: n, the number of examples.
        seed: Seed of the draws.
        step_size: Returns a_k.
        batch: Number of examples of a batch.
    """

    def __init__(
        self, params: Iterable[Any], examples: int, seed: int, step_size: StepSize, batch: int = 1
    ) -> None:
        super().__init__(params, examples, seed, 1.0, 1.0)
        self.rule, self.batch, self.steps = step_size, batch, 0
        self.direction: list[torch.Tensor] = []  # of the last step

    def update(self, closure: Closure) -> float:
        """Draws a batch and moves."""
        drawn = torch.as_tensor(self.random.integers(self.examples, size=self.batch))
        loss, self.direction = self.gradients(closure, drawn)
        torch._foreach_add_(self.params, self.direction, alpha=-self.rule(self.steps))
        self.steps += 1
        return loss


def sampled_sgd(step_size: StepSize, batch: int = 1) -> Submission:
    """The submission of `SampledSGD`."""
    return finite_sum("sgd", lambda p, n, seed: SampledSGD(p, n, seed, step_size, batch))


def finite_sum(name: str, make: Callable[[Any, int, int], torch.optim.Optimizer]) -> Submission:
    """The submission of a method that knows all examples.

    Args:
        name: Its name.
        make: Makes the optimizer of parameters, the number of examples and a seed.
    """
    return made_of(
        name,
        whole_data.submission(lambda params, _, count, seed: make(params, count, seed), fixed={}),
    )
