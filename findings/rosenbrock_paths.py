"""Paths of nine optimizers on Rosenbrock's function, from one start at one learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

from findings import Check, Finding, Outcome
from findings.frame.figure import panels, style
from findings.frame.training import made_of, train
from submissions import recipe, schedules
from submissions.external_tuning.nag_gs.submission import NagGs
from workloads.analytic.workload import Rosenbrock

FINDING = Finding(
    claim=(
        "On Rosenbrock's function, from one start and at the learning rate 0.003, momentum comes "
        "nearer to the minimum than SGD, Adam nearer than Adagrad and Adadelta, whose steps shrink"
    ),
    source="Lecture",
    chosen=(
        "The start (-0.5, 1.5), 3,000 steps, torch's defaults except a momentum of 0.9 for SGD "
        "with momentum and Nesterov's; NAG-GS with mu = gamma = 1. What counts is the distance "
        "from (1, 1) after the last step, infinite where a method has diverged."
    ),
)
RATE, STEPS, EVERY = 0.003, 3000, 5
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=RATE),
    "momentum": lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.9),
    "Nesterov": lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.9, nesterov=True),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=RATE),
    "RMSProp": lambda p: torch.optim.RMSprop(p, lr=RATE),
    "Adadelta": lambda p: torch.optim.Adadelta(p, lr=RATE),
    "Adam": lambda p: torch.optim.Adam(p, lr=RATE),
    "AMSGrad": lambda p: torch.optim.Adam(p, lr=RATE, amsgrad=True),
    "NAG-GS": lambda p: NagGs(p, lr=RATE),
}


class FromOneStart(Rosenbrock):
    """Rosenbrock's function of two variables, without the seed's displacement."""

    displacement = 0.0

    @property
    def start(self) -> np.ndarray:
        """Where all paths begin."""
        return np.array([-0.5, 1.5])


def run(quick: bool) -> Outcome:
    """Follows every optimizer."""
    steps = 61 if quick else STEPS + 1
    paths = {name: _path(make, steps) for name, make in OPTIMIZERS.items()}
    distances = {name: _distance(path) for name, path in paths.items()}
    figure, (left, right) = panels(FINDING.claim, columns=2)
    _draw_contours(left)
    for number, (name, path) in enumerate(paths.items()):
        left.plot(*path.T, label=name, **{**style(number), "linewidth": 1.5})
        left.plot(*path[-1], marker="o", markersize=4, color=style(number)["color"])
        apart = _distances(path)
        at = np.maximum(0, 1 + EVERY * np.arange(-1, len(path) - 1))
        right.plot(at, apart, label=name, **style(number))
    left.plot(*FromOneStart().start, marker="s", color="black", label="start", ls="none")
    left.plot(1, 1, marker="*", markersize=12, color="black", label="minimum", ls="none")
    left.set(xlim=(-1.6, 1.8), ylim=(-0.6, 2.4), xlabel="x", ylabel="y")
    left.legend(frameon=True, fontsize=7, ncols=2, loc="lower right")
    right.set(yscale="log", xlabel="step", ylabel="distance from the minimum", ylim=(1e-4, 10))
    nearest = min(distances, key=distances.__getitem__)
    return Outcome(
        figure=figure,
        numbers={
            "nearest": nearest,
            **{f"distance of {name}": _finite(value) for name, value in distances.items()},
        },
        checks=[
            _nearer("momentum", "SGD", distances),
            _nearer("Nesterov", "SGD", distances),
            _nearer("Adam", "Adagrad", distances),
            _nearer("Adam", "Adadelta", distances),
        ],
    )


def _path(make: Callable[[Any], torch.optim.Optimizer], steps: int) -> np.ndarray:
    """The start, then the parameters after step 1 and every EVERY steps; ends on divergence."""
    workload = FromOneStart()
    path = [workload.start]

    def observe(model: nn.Module) -> dict[str, float]:
        path.append(parameters_to_vector(model.parameters()).detach().numpy().copy())
        return {}

    functions = recipe.submission(lambda p, *_: make(p), schedules.none, fixed={})
    train(made_of("optimizer", functions), workload, steps=steps, every=EVERY, observe=observe)
    return np.array(path)


def _distance(path: np.ndarray) -> float:
    distance = float(_distances(path)[-1])
    return distance if math.isfinite(distance) else math.inf


def _distances(path: np.ndarray) -> np.ndarray:
    """The distance of every point from the minimum; infinite where it overflows."""
    x, y = (path - 1).T
    distances: np.ndarray = np.hypot(x, y)
    return distances


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else "diverged"


def _nearer(name: str, other: str, distances: dict[str, float]) -> Check:
    ours, theirs = distances[name], distances[other]
    return Check(f"{name} must be nearer than {other}: {ours:.3g}, {theirs:.3g}", ours < theirs)


def _draw_contours(ax: Any) -> None:
    x, y = np.meshgrid(np.linspace(-1.6, 1.8, 300), np.linspace(-0.6, 2.4, 300))
    heights = (1 - x) ** 2 + 100 * (y - x**2) ** 2
    ax.contourf(x, y, np.log10(heights + 1e-3), levels=24, cmap="Greys", alpha=0.45)
    ax.grid(visible=False)
