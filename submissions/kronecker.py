"""Kronecker-factored second moments: what Shampoo and CASPR precondition a gradient with.

A tensor is taken as a matrix [its first dimension, the rest], a vector as one of a single column,
and the long dimensions of the matrix are cut (Shi et al. 2023, section 3). What is left are blocks,
each a matrix of its own. A block has the second moments of its gradient along its rows and columns,
and inverse roots of those, computed now and then.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from harness.spec import Hyperparameters, Tensor

Factor = Tensor | None  # None along a dimension that is too long, or of a single place
GRAFTINGS = ("adam", "rmsprop", "sgd")


def options_of(hyperparameters: Hyperparameters) -> dict[str, Any]:
    """What both methods give `KroneckerFactored`."""
    return {
        "lr": hyperparameters.learning_rate,
        "betas": (1 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        "weight_decay": hyperparameters.weight_decay,
        "frequency": hyperparameters.precondition_frequency,
        "grafting": hyperparameters.grafting,
    }


class KroneckerFactored(Optimizer, abc.ABC):
    """Steps in the direction of a preconditioned momentum, as long as those of a simpler method.

    With the gradient G [m, n] of a block at step t (Gupta et al. 2018, Algorithm 1, with the
    averages, bias corrections and grafting of Shi et al. 2023, Algorithm 2)::

        M <- beta1 M + (1 - beta1) G
        L <- beta2 L + (1 - beta2) G G^T
        R <- beta2 R + (1 - beta2) G^T G
        P <- (L / (1 - beta2^t) + ridge lambda_max I)^(-1/4)     every `frequency` steps
        Q <- the same of R
        D <- combine(M / (1 - beta1^t), P, Q)
        W <- W - lr (|A| D / |D| + weight_decay W)

    where the norms are over all blocks of a tensor, lambda_max is the largest eigenvalue and A is
    the step of the method that is grafted (Agarwal et al. 2020). The power is -1/2 where there is
    one of P and Q alone. Where there is neither, or not yet, D is A.

    Args:
        params: The parameters, or groups of them.
        lr: The learning rate.
        betas: Of the momentum and of the second moments.
        weight_decay: Decoupled, times the learning rate.
        frequency: Steps between two computations of the roots.
        grafting: "adam", "rmsprop" (Adam without correction of the second moment's bias) or "sgd".
        block_size: The longest dimension of a block.
        longest: Dimensions longer than that are not cut and are not preconditioned: the second
            moments of a large embedding's rows would not fit.
        ridge: Added to the eigenvalues, relative to the largest.
        eps: Added to the grafted method's denominator.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        frequency: int = 20,
        grafting: str = "adam",
        block_size: int = 512,
        longest: int = 8192,
        ridge: float = 1e-6,
        eps: float = 1e-8,
    ) -> None:
        if grafting not in GRAFTINGS:
            raise ValueError(f"grafting must be one of {', '.join(GRAFTINGS)}, not {grafting!r}")
        self._block_size, self._longest, self._ridge, self._eps = block_size, longest, ridge, eps
        self._grafting, self._frequency = grafting, frequency
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @abc.abstractmethod
    def combine(self, block: Tensor, left: Factor, right: Factor) -> Tensor:
        """D [m, n] of M [m, n], P [m, m] and Q [n, n]."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """One step; returns what the closure returned, which computes the gradients."""
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self._update(param, param.grad, group)
        return loss

    def _update(self, param: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[param]
        if not state:
            self._initialise(state, param)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        momentum = state["exp_avg"].lerp_(gradient, 1 - beta1) / (1 - beta1 ** state["step"])
        self._update_factors(state, gradient, beta2)
        step = self._graft(state, gradient, momentum, beta2)
        direction = self._direction(state, momentum)
        if direction is not None:
            tiny = torch.finfo(direction.dtype).tiny
            step = direction.mul_(step.norm() / direction.norm().clamp_min(tiny))
        param.mul_(1 - group["lr"] * group["weight_decay"]).sub_(step, alpha=group["lr"])

    def _initialise(self, state: dict[str, Any], param: Tensor) -> None:
        state["step"] = 0
        state["exp_avg"] = torch.zeros_like(param)
        if self._grafting != "sgd":
            state["exp_avg_sq"] = torch.zeros_like(param)
        state["factors"] = [
            [block.new_zeros(d, d) if 1 < d <= self._longest else None for d in block.shape]
            for block in self._blocks(param)
        ]
        state["roots"] = None

    def _update_factors(self, state: dict[str, Any], gradient: Tensor, beta2: float) -> None:
        for block, (left, right) in zip(self._blocks(gradient), state["factors"], strict=True):
            if left is not None:
                left.lerp_(block @ block.T, 1 - beta2)
            if right is not None:
                right.lerp_(block.T @ block, 1 - beta2)
        if state["step"] % self._frequency == 0:
            roots = [self._roots(pair, 1 - beta2 ** state["step"]) for pair in state["factors"]]
            if all(root.isfinite().all() for pair in roots for root in pair if root is not None):
                state["roots"] = roots

    def _roots(self, factors: list[Factor], debias: float) -> list[Factor]:
        order = 2 * sum(factor is not None for factor in factors)
        return [
            None if factor is None else inverse_root(factor / debias, order, self._ridge)
            for factor in factors
        ]

    def _graft(
        self, state: dict[str, Any], gradient: Tensor, momentum: Tensor, beta2: float
    ) -> Tensor:
        """A, of the parameter's shape."""
        if self._grafting == "sgd":
            return momentum
        variance: Tensor = state["exp_avg_sq"].lerp_(gradient.square(), 1 - beta2)
        debias = 1 - beta2 ** state["step"] if self._grafting == "adam" else 1.0
        return momentum / (variance / debias).sqrt().add_(self._eps)

    def _direction(self, state: dict[str, Any], momentum: Tensor) -> Tensor | None:
        """D, of the parameter's shape; None where there are no roots, or not yet."""
        if state["roots"] is None or all(root is None for root in state["roots"][0]):
            return None
        direction = torch.empty_like(momentum, memory_format=torch.contiguous_format)
        pairs = zip(self._blocks(momentum), self._blocks(direction), strict=True)
        for (block, out), (left, right) in zip(pairs, state["roots"], strict=True):
            out.copy_(self.combine(block, left, right))
        return direction

    def _blocks(self, tensor: Tensor) -> list[Tensor]:
        return blocks(tensor, self._block_size, self._longest)


def blocks(tensor: Tensor, size: int, longest: int) -> list[Tensor]:
    """The blocks of a tensor [m, ...], matrices; views of it where it is contiguous.

    Args:
        tensor: Of any shape.
        size: Dimensions are cut into pieces of at most that.
        longest: Dimensions longer than that are left whole.
    """
    matrix = tensor.reshape(tensor.shape[0] if tensor.ndim else 1, -1)
    rows, columns = (d if d > longest else size for d in matrix.shape)
    strips = torch.split(matrix, rows)
    return [block for strip in strips for block in torch.split(strip, columns, dim=1)]


def product(block: Tensor, left: Factor, right: Factor) -> Tensor:
    """P M Q, without what is None."""
    if left is not None:
        block = left @ block
    return block if right is None else block @ right


def inverse_root(matrix: Tensor, order: int, ridge: float) -> Tensor:
    """(matrix + ridge lambda_max I)^(-1/order), by eigendecomposition in float64.

    Rounding can make eigenvalues negative: those count as 0. The zero matrix counts as having a
    largest eigenvalue of 1. Where the matrix is not finite, neither is the root.

    Args:
        matrix: Symmetric and positive semidefinite, [d, d].
        order: A positive integer.
        ridge: Relative to the largest eigenvalue.
    """
    if not matrix.isfinite().all():
        return torch.full_like(matrix, torch.nan)
    values, vectors = torch.linalg.eigh(matrix.double())
    values = values.clamp(min=0)
    largest = torch.where(values[-1] > 0, values[-1], 1)
    powers = (values + ridge * largest) ** (-1 / order)
    root: Tensor = (vectors * powers) @ vectors.T
    return root.to(matrix.dtype)
