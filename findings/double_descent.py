"""Double descent: the test error of least squares peaks where features equal examples.

Shapes: N examples, K features, G points of a grid.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import legendre

from findings import Check, Finding, Outcome
from findings.frame.figure import panels, style

FINDING = Finding(
    claim=(
        "The test error of minimum-norm least squares peaks where features equal examples, and "
        "falls again beyond"
    ),
    source="Belkin, Hsu, Ma, Mandal 2019, Reconciling modern machine-learning practice and the "
    "classical bias-variance trade-off",
    chosen=(
        "20 examples uniform on [-1, 1], targets sin(pi x) plus normal noise of deviation 0.2, "
        "Legendre polynomials as features, the pseudo-inverse, the median over 50 draws of the "
        "mean squared error against sin(pi x) on a grid; the peak must be within one feature of 20 "
        "and over 10 times the error at 200 features."
    ),
)
EXAMPLES, NOISE, DRAWS = 20, 0.2, 50
FEATURES = [*range(1, 41), *range(45, 101, 5), *range(110, 201, 10)]


def run(quick: bool) -> Outcome:
    """Fits polynomials of every size to every draw."""
    features = [k for k in FEATURES if not quick or k <= 30 or k % 50 == 0]
    errors_kd = np.array(
        [[_test_error(k, draw) for draw in range(10 if quick else DRAWS)] for k in features]
    )
    median_k = np.median(errors_kd, axis=1)
    by_count = dict(zip(features, median_k.tolist(), strict=True))
    peak = max(by_count, key=by_count.__getitem__)
    classical = min(by_count[k] for k in features if k < EXAMPLES)
    figure, (ax,) = panels(FINDING.claim)
    low_k, high_k = np.quantile(errors_kd, (0.25, 0.75), axis=1)
    ax.fill_between(features, low_k, high_k, color=style(0)["color"], alpha=0.2, lw=0)
    ax.plot(features, median_k, label="median and quartiles over draws", **style(0))
    ax.axvline(EXAMPLES, label=f"{EXAMPLES} examples", **style(1))
    ax.set(xscale="log", yscale="log", xlabel="features")
    ax.set(ylabel="mean squared test error")
    ax.legend(frameon=False)
    fall = by_count[peak] / by_count[200]
    return Outcome(
        figure=figure,
        numbers={
            "features at the peak": peak,
            "error at the peak": by_count[peak],
            "smallest error with fewer features than examples": classical,
            "error at 200 features": by_count[200],
            "median error by features": {str(k): error for k, error in by_count.items()},
        },
        checks=[
            Check(f"the error must peak at 19 to 21 features: {peak}", abs(peak - EXAMPLES) <= 1),
            Check(
                f"the error at the peak must be over 10 times that at 200: {fall:.2g}", fall > 10
            ),
        ],
    )


def _test_error(features: int, draw: int) -> float:
    """The test error of one fit; draws are the same for every number of features."""
    generator = np.random.default_rng(draw)
    x_n = generator.uniform(-1, 1, EXAMPLES)
    y_n = np.sin(np.pi * x_n) + NOISE * generator.standard_normal(EXAMPLES)
    grid_g = np.linspace(-1, 1, 401)
    w_k = np.linalg.pinv(_basis(x_n, features)) @ y_n
    return float(np.mean((_basis(grid_g, features) @ w_k - np.sin(np.pi * grid_g)) ** 2))


def _basis(x_n: np.ndarray, features: int) -> np.ndarray:
    """The Legendre polynomials of the lowest degrees [N, K]."""
    basis_nk: np.ndarray = legendre.legvander(x_n, features - 1)
    return basis_nk
