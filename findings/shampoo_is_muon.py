"""Shampoo without accumulation is U V^T of the gradient, which Muon's iteration approaches."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from findings import Check, Finding, Outcome
from findings.frame.figure import panels, style
from submissions.kronecker import inverse_root
from submissions.muon import COEFFICIENTS, ITERATIONS, orthogonalised

FINDING = Finding(
    claim=(
        "One step of Shampoo without accumulation is U V^T of the gradient's singular vectors, and "
        "Muon's five Newton-Schulz iterations bring its singular values into [0.7, 1.2]"
    ),
    source="Bernstein, Newhouse 2024, Old Optimizer, New Norm: An Anthology; Jordan et al. 2024",
    chosen=(
        "Normal matrices of 64 x 64, 64 x 128 and 128 x 32 in float64 with singular values drawn "
        "log-uniformly from [0.1, 1], 20 draws each; this project's code for both methods. Shampoo "
        "must equal U V^T to 1e-6, Newton-Schulz must reach [0.7, 1.2] in all draws."
    ),
)
SHAPES, DRAWS, SMALLEST = ((64, 64), (64, 128), (128, 32)), 20, 0.1
RIDGE = 1e-12  # relative; the inverse root of a singular matrix needs it


def run(quick: bool) -> Outcome:
    """Compares both methods with the singular value decomposition."""
    matrices = [_gradient(s, d) for s in SHAPES for d in range(2 if quick else DRAWS)]
    distances = [_distance_from_shampoo(matrix) for matrix in matrices]
    ends = torch.cat([torch.linalg.svdvals(orthogonalised(matrix)) for matrix in matrices])
    figure, (left, right) = panels(FINDING.claim, columns=2)
    _draw_iterations(left)
    right.hist(ends.numpy(), bins=40, color=style(0)["color"])
    for bound in (0.7, 1.2):
        right.axvline(bound, **style(1))
    right.set(xlabel=f"singular value after {ITERATIONS} iterations", ylabel="singular values")
    low, high = ends.min().item(), ends.max().item()
    return Outcome(
        figure=figure,
        numbers={
            "matrices": len(matrices),
            "largest difference of Shampoo's step from U V^T": max(distances),
            "smallest singular value after Newton-Schulz": low,
            "largest singular value after Newton-Schulz": high,
        },
        checks=[
            Check(f"Shampoo's step must be within 1e-6 of U V^T: {max(distances):.1e}",
                  max(distances) < 1e-6),
            Check(f"Muon's singular values must be in [0.7, 1.2]: {low:.3f} to {high:.3f}",
                  low >= 0.7 and high <= 1.2),
        ],
    )  # fmt: skip


def _gradient(shape: tuple[int, int], draw: int) -> Tensor:
    generator = np.random.default_rng([*shape, draw])
    left, _, right = np.linalg.svd(generator.standard_normal(shape), full_matrices=False)
    values = np.exp(generator.uniform(np.log(SMALLEST), 0, min(shape)))
    return torch.from_numpy(left * values @ right)


def _distance_from_shampoo(gradient: Tensor) -> float:
    """The largest difference between (G G^T)^(-1/4) G (G^T G)^(-1/4) and U V^T."""
    left, _, right = torch.linalg.svd(gradient, full_matrices=False)
    step = inverse_root(gradient @ gradient.T, 4, RIDGE) @ gradient
    step = step @ inverse_root(gradient.T @ gradient, 4, RIDGE)
    return float((step - left @ right).abs().max())


def _draw_iterations(ax: Axes) -> None:
    """Draws what every iteration makes of a singular value: s <- a s + b s^3 + c s^5."""
    a, b, c = COEFFICIENTS
    start = np.geomspace(1e-3, 1, 400)
    values = start
    for iteration in range(ITERATIONS + 1):
        ax.plot(start, values, label=f"{iteration}", **style(iteration))
        values = a * values + b * values**3 + c * values**5
    ax.axhspan(0.7, 1.2, color="0.9", zorder=0)
    ax.set(xscale="log", xlabel="singular value over the Frobenius norm")
    ax.set(ylabel="singular value after iterations")
    ax.legend(title="iterations", loc="lower right", framealpha=1)
