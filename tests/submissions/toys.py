"""A small problem in float64, for the optimizer of a submission and for a literal loop alike."""

import sys
from types import SimpleNamespace

import numpy as np
import torch

from harness.submission import loading
from harness.submission.imports import PACKAGE


class Toy:
    """f_t(w) = sum(c (w - a)^2 / 2 + n_t w), whose noise n_t depends on the step t alone."""

    def __init__(self, *shapes, seed=0):
        rng = np.random.default_rng(seed)
        self.seed = seed
        self.start = [rng.normal(size=shape) for shape in shapes]
        self.best = [rng.normal(size=shape) for shape in shapes]
        self.curvature = [rng.uniform(0.5, 2.0, size=shape) for shape in shapes]

    def noise(self, t):
        rng = np.random.default_rng([self.seed, t])
        return [rng.normal(scale=0.5, size=w.shape) for w in self.start]

    def loss(self, t, weights):
        parts = zip(weights, self.best, self.curvature, self.noise(t), strict=True)
        return sum(np.sum(c * (w - a) ** 2 / 2 + n * w) for w, a, c, n in parts)

    def gradients(self, t, weights):
        parts = zip(weights, self.best, self.curvature, self.noise(t), strict=True)
        return [np.asarray(c * (w - a) + n) for w, a, c, n in parts]


def module_of(name):
    """The module of a submission, freshly loaded."""
    loading.load(loading.find(name))
    return sys.modules[f"{PACKAGE}.submission"]


def optimized(name, point, toy, steps, horizon=10, every_step=lambda optimizer, params: None):
    """The weights after so many steps of a submission's optimizer, without a schedule."""
    params = [torch.nn.Parameter(torch.tensor(w)) for w in toy.start]
    optimizer = module_of(name).make_optimizer(params, SimpleNamespace(**point), horizon)
    for t in range(1, steps + 1):

        def closure(backward=True, t=t):
            weights = [p.detach().numpy() for p in params]
            if backward:
                for p, gradient in zip(params, toy.gradients(t, weights), strict=True):
                    p.grad = torch.tensor(gradient)
            return torch.tensor(toy.loss(t, weights))

        optimizer.step(closure)
        every_step(optimizer, params)
    return [p.detach().numpy() for p in params]


def assert_close(ours, theirs, rtol=1e-9, atol=1e-11):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)
