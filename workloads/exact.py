"""`ExactWorkload`: a problem whose minimum is known, so that its target needs no calibration.

Shapes: N examples, P parameters.
"""

from __future__ import annotations

import abc
from functools import cached_property

import numpy as np
import torch
from torch import nn
from torch.nn.utils import vector_to_parameters

from harness.spec import ModelAuxiliaryState, ParameterContainer
from workloads.arrays import ArrayWorkload, Columns, Splits


class ExactWorkload(ArrayWorkload):
    """A problem of optimisation in float64, whose minimum f* is known.

    What is validated is the training objective f itself, on the training examples. The metric is
    the gap (f(x) - f*) / (f(x0) - f*) of the parameters x, where x0 is the problem's start.
    Training starts at x0 plus a small normal displacement, which follows from the trial's seed.

    Attributes:
        displacement: Standard deviation of the displacement.
    """

    target_metric_name = "gap"
    target_direction = "min"
    splits = ("train", "validation")
    displacement = 0.01

    @abc.abstractmethod
    def columns(self) -> Columns:
        """The examples, "inputs" [N, ...] and "targets" [N, ...]."""

    @abc.abstractmethod
    def make_model(self) -> nn.Module:
        """The model, with any parameters."""

    @property
    @abc.abstractmethod
    def start(self) -> np.ndarray:
        """The start x0 [P], in the order of the model's parameters."""

    @property
    @abc.abstractmethod
    def minimum(self) -> float:
        """The minimum f* of the objective."""

    def load(self) -> Splits:
        """The same examples for training and validation."""
        columns = self.columns()
        return {"train": columns, "validation": columns}

    def build_model(self) -> nn.Module:
        """The model in float64, near the start, from torch's default generator."""
        model = self.make_model().double()
        start = torch.tensor(self.start)
        self._assign(model, start + self.displacement * torch.randn(start.shape).double())
        return model

    def model_at(self, x_p: np.ndarray) -> nn.Module:
        """The model with the parameters [P], on `self.device`."""
        model = self.make_model().double()
        self._assign(model, torch.tensor(x_p))
        return model.to(self.device)

    def value(self, x_p: np.ndarray) -> float:
        """The objective f at the parameters [P]."""
        return super().eval_model(self.model_at(x_p), None, "train")["loss"]

    @cached_property
    def start_value(self) -> float:
        """The objective at the start, f(x0)."""
        return self.value(self.start)

    def eval_model(
        self, params: ParameterContainer, model_state: ModelAuxiliaryState, split: str
    ) -> dict[str, float]:
        """The loss, which is the objective, and the gap."""
        metrics = super().eval_model(params, model_state, split)
        gap = (metrics["loss"] - self.minimum) / (self.start_value - self.minimum)
        return {**metrics, "gap": gap}

    @staticmethod
    def _assign(model: nn.Module, x_p: torch.Tensor) -> None:
        with torch.no_grad():
            vector_to_parameters(x_p, model.parameters())
