"""The loss around given weights: along lines, on planes, and the Hessian's largest eigenvalues.

Shapes: A and B steps along two directions, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor, nn

from harness.spec import ForwardPassMode, Workload

Loss = Callable[[], Tensor]  # the loss [] of a model's present weights
CONTOURS = 24


def fixed_loss(workload: Workload, model: nn.Module, examples: int) -> Loss:
    """The mean training loss of so many examples, always the same, without dropout.

    Batch norm normalises by the statistics of these examples.
    """
    batch = next(workload.build_input_queue((0, 0), "train", examples))
    labels, mask = batch["targets"], batch.get("weights")

    def loss() -> Tensor:
        logits, _ = workload.model_fn(
            model, batch, None, ForwardPassMode.TRAIN, (0, 0), False, dropout_rate=0.0
        )
        found = workload.loss_fn(label_batch=labels, logits_batch=logits, mask_batch=mask)
        return found["summed"] / found["n_valid_examples"]

    return loss


def filter_normalised(model: nn.Module, seed: int) -> list[Tensor]:
    """A random direction, normalised by filter (Li et al. 2018, section 4).

    Every filter (a row of a matrix, an output channel of a convolution) has the norm of the
    weights' filter; biases and the parameters of norms do not move.
    """
    generator = torch.Generator().manual_seed(seed)
    direction = []
    for weight in model.parameters():
        normal = torch.randn(weight.shape, generator=generator).to(weight)
        if weight.dim() < 2:
            direction.append(torch.zeros_like(weight))
            continue
        filters, own = normal.flatten(1), weight.detach().flatten(1)
        ratio = own.norm(dim=1, keepdim=True) / filters.norm(dim=1, keepdim=True).clamp_min(1e-12)
        direction.append((filters * ratio).view_as(weight))
    return direction


@torch.no_grad()
def plane(
    model: nn.Module,
    loss: Loss,
    directions: Sequence[Sequence[Tensor]],
    steps_a: np.ndarray,
    steps_b: np.ndarray,
) -> np.ndarray:
    """The loss [A, B] at the weights plus multiples of two directions; the weights are restored."""
    start = [weight.detach().clone() for weight in model.parameters()]
    found_ab = np.empty((len(steps_a), len(steps_b)))
    for i, a in enumerate(steps_a):
        for j, b in enumerate(steps_b):
            for weight, at, one, two in zip(model.parameters(), start, *directions, strict=True):
                weight.copy_(at + float(a) * one + float(b) * two)
            found_ab[i, j] = loss().item()
    for weight, at in zip(model.parameters(), start, strict=True):
        weight.copy_(at)
    return found_ab


def line(
    model: nn.Module, loss: Loss, direction: Sequence[Tensor], steps_a: np.ndarray
) -> np.ndarray:
    """The loss [A] at the weights plus multiples of a direction; the weights are restored."""
    return plane(model, loss, (direction, direction), steps_a, np.zeros(1))[:, 0]


def gradient(model: nn.Module, loss: Loss) -> Tensor:
    """The gradient [P] of the loss."""
    grads = torch.autograd.grad(loss(), list(model.parameters()), allow_unused=True)
    return _flat(model, grads)


def largest_eigenvalues(model: nn.Module, loss: Loss, count: int = 1, seed: int = 0) -> list[float]:
    """The largest eigenvalues of the loss's Hessian, descending, by Lanczos's method (ARPACK)."""
    parameters = list(model.parameters())
    size = sum(p.numel() for p in parameters)
    grads = torch.autograd.grad(loss(), parameters, create_graph=True, allow_unused=True)
    flat = _flat(model, grads)

    def product(vector: np.ndarray) -> np.ndarray:
        along = torch.from_numpy(np.ascontiguousarray(vector)).to(flat)
        again = torch.autograd.grad(flat @ along, parameters, retain_graph=True, allow_unused=True)
        return _flat(model, again).double().numpy(force=True)

    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    start = np.random.default_rng(seed).standard_normal(size)
    try:
        found = eigsh(operator, count, which="LA", v0=start, tol=1e-2, return_eigenvectors=False)
    except ArpackNoConvergence as error:
        found = error.eigenvalues
    return sorted(map(float, found), reverse=True)


def _flat(model: nn.Module, grads: Sequence[Tensor | None]) -> Tensor:
    full = [
        torch.zeros_like(p) if g is None else g
        for p, g in zip(model.parameters(), grads, strict=True)
    ]
    return torch.cat([tensor.reshape(-1) for tensor in full])


def draw_contours(
    ax: Axes, steps_a: np.ndarray, steps_b: np.ndarray, loss_ab: np.ndarray, top: float
) -> None:
    """Draws a plane as contours of the logarithm, up to the loss `top`."""
    shown_ab = np.log10(np.clip(loss_ab, 1e-8, top))
    levels = np.linspace(shown_ab.min(), shown_ab.max() + 1e-9, CONTOURS)
    filled = ax.contourf(steps_a, steps_b, shown_ab.T, levels=levels, cmap="viridis")
    ax.contour(
        steps_a,
        steps_b,
        shown_ab.T,
        levels=levels,
        colors="white",
        linewidths=0.4,
        linestyles="solid",
    )
    bar = ax.get_figure().colorbar(filled, ax=ax, shrink=0.8, format="%.1f")  # type: ignore[union-attr]
    bar.set_label("logarithm of the loss, base 10")
    ax.plot(0, 0, marker="+", color="white", ms=9, mew=1.8)
    ax.set(xlabel="first direction", ylabel="second direction", aspect="equal")
    ax.set(xticks=np.linspace(steps_a[0], steps_a[-1], 5))


def draw_surface(
    figure: Figure, place: Any, a: np.ndarray, b: np.ndarray, loss_ab: np.ndarray, top: float
) -> Any:
    """Draws a plane as a surface over it, cut off at the loss `top`, in place of other axes."""
    ax: Any = figure.add_subplot(place, projection="3d")
    grid_a, grid_b = np.meshgrid(a, b, indexing="ij")
    shown_ab = np.clip(loss_ab, None, top)
    ax.plot_surface(grid_a, grid_b, shown_ab, cmap="viridis", rstride=1, cstride=1, lw=0.15,
                    edgecolor="#ffffff55")  # fmt: skip
    ax.set(xlabel="first direction", ylabel="second direction", title="loss [nats]")
    ax.view_init(elev=34, azim=-58)
    return ax
