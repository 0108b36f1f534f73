"""What the linear models with a known optimum share.

Shapes: N examples, D features.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from torch import nn

from harness.spec import LossType
from workloads.arrays import Columns
from workloads.exact import ExactWorkload
from workloads.glm import GeneralizedLinear, LinearModel

EXAMPLES, FEATURES = 200, 10


class LinearProblem(GeneralizedLinear, ExactWorkload):
    """A generalised linear model of 10 features without a bias, from 0, in batches of 10.

    Its examples are drawn from one fixed seed.
    """

    bias = False
    num_train_examples = num_eval_train_examples = num_validation_examples = EXAMPLES
    train_batch_size = 10
    eval_batch_size = EXAMPLES
    budget_steps = 4000
    eval_period_steps = 40
    step_hint = 4000

    def make_model(self) -> nn.Module:
        """The model."""
        return LinearModel(FEATURES, self.l2, bias=False)

    @property
    def start(self) -> np.ndarray:
        """The origin."""
        return np.zeros(FEATURES)

    @cached_property
    def minimum(self) -> float:
        """The objective at `minimiser`."""
        return self.objective().value(self.minimiser)


class LeastSquares(LinearProblem):
    """1/(2m) sum_i (<a_i, x> - b_i)^2, whose squared row norms |a_i|^2 go from 1 to 100.

    The norms are in geometric progression and in random order, the directions of the rows uniform
    on the sphere. b is A x + `noise` times normal draws, of a normal x.

    Attributes:
        noise: Standard deviation of the residuals at the x that b is made of.
    """

    loss_type = LossType.MEAN_SQUARED_ERROR
    scale = 0.5
    noise: float

    def columns(self) -> Columns:
        """Rows [N, D] and b [N, 1]."""
        generator = np.random.default_rng(1)
        directions_nd = generator.standard_normal((EXAMPLES, FEATURES))
        directions_nd /= np.linalg.norm(directions_nd, axis=1, keepdims=True)
        norms_n = np.sqrt(np.geomspace(1, 100, EXAMPLES))
        rows_nd = generator.permutation(norms_n)[:, None] * directions_nd
        answers_n = rows_nd @ generator.standard_normal(FEATURES)
        noise_n = self.noise * generator.standard_normal(EXAMPLES)
        return {"inputs": rows_nd, "targets": (answers_n + noise_n)[:, None]}
