"""NadamW evaluated at an average of the weights that it trained: what the LAWA methods share."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

from harness.spec import Hyperparameters, Tensor


def options_of(hyperparameters: Hyperparameters, horizon: int) -> dict[str, Any]:
    """What both LAWA methods give `AveragedNadamW`; factors are of the horizon."""
    return {
        "start": math.ceil(hyperparameters.lawa_start_factor * horizon),
        "every": math.ceil(hyperparameters.lawa_interval_factor * horizon),
        "lr": hyperparameters.learning_rate,
        "betas": (1 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        "weight_decay": hyperparameters.weight_decay,
    }


class AveragedNadamW(torch.optim.NAdam, abc.ABC):
    """NadamW that takes its weights into an average every so many steps.

    `eval()` puts the averages in the weights' place once there are any, `train()` puts the weights
    back. What the average is, a subclass says.

    Args:
        params: The parameters, or groups of them.
        start: The step at which weights are first taken.
        every: Steps between two takings.
        **options: Of torch.optim.NAdam.
    """

    def __init__(self, params: Iterable[Any], start: int, every: int, **options: Any) -> None:
        super().__init__(params, decoupled_weight_decay=True, **options)
        self._start, self._every, self._steps = start, every, 0

    @abc.abstractmethod
    def take(self, taken: Any, weight: Tensor) -> Any:
        """What is kept of a parameter's weights so far and of this one, which changes later.

        Args:
            taken: What the last call returned, None at first.
            weight: Of any shape.
        """

    @abc.abstractmethod
    def average(self, taken: Any) -> Tensor:
        """The average of the weights that were taken, of the parameter's shape."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """One step of NadamW; returns what the closure returned."""
        loss = super().step(closure)
        self._steps += 1
        since = self._steps - self._start
        if since >= 0 and since % self._every == 0:
            for param in self._trained():
                state = self.state[param]
                state["taken"] = self.take(state.get("taken"), param)
        return loss

    @torch.no_grad()
    def eval(self) -> None:
        """The averages take the weights' place."""
        for param in self._trained():
            state = self.state[param]
            if "taken" in state and "weight" not in state:
                state["weight"] = param.clone()
                param.copy_(self.average(state["taken"]))

    @torch.no_grad()
    def train(self) -> None:
        """The weights are what they were."""
        for param in self._trained():
            if "weight" in self.state[param]:
                param.copy_(self.state[param].pop("weight"))

    def _trained(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"] if p in self.state]
