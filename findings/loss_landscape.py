"""The loss around trained weights: skip connections make the surface smooth.

Shapes: A points of a line or of a side of a plane.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from findings import Check, Finding, Outcome
from findings.frame import landscape
from findings.frame.figure import panels, style
from findings.frame.training import made_of, train
from submissions import recipe
from workloads.digits.workload import Digits

FINDING = Finding(
    claim=(
        "Around trained weights, along random directions normalised by filter, the loss of a deep "
        "network with skip connections is smoother than that of the same network without"
    ),
    source="Li, Xu, Taylor, Studer, Goldstein 2018, Visualizing the Loss Landscape of Neural Nets",
    chosen=(
        "8 x 8 digits, 24 fully connected layers of width 64 with batch norm and ReLU, with and "
        "without skip connections around every two, and with them at dropout 0.2; SGD with "
        "momentum 0.9 and a cosine from 0.05, batch 64, 500 steps. The loss of 256 training "
        "images without dropout on five random lines from -1 to 1 with 41 points: the mean sum of "
        "the absolute second differences at the trained weights must be smaller with skip "
        "connections. For the paper's ResNet-56 on CIFAR-10 this is much deeper and larger."
    ),
)
WIDTH, DEPTH, STEPS, EXAMPLES, LINES = 64, 24, 500, 256, 5
KINDS = {
    "with skip connections": (True, 0.0),
    "without": (False, 0.0),
    "with, dropout 0.2": (True, 0.2),
}


class Network(nn.Module):
    """Pairs of layers, each added to its input if there are skip connections."""

    def __init__(self, *, skip: bool) -> None:
        super().__init__()
        self._skip = skip
        self.first = nn.Linear(64, WIDTH)
        self.pairs = nn.ModuleList(
            nn.ModuleList(
                [nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH),
                 nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH)]
            )
            for _ in range((DEPTH - 2) // 2)
        )  # fmt: skip
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, images: Tensor, dropout_rate: float = 0.0) -> Tensor:
        """The logits of images [B, 1, 8, 8]."""
        x = torch.relu(self.first(images.flatten(1)))
        for pair in self.pairs:
            first, norm, second, last_norm = pair.children()
            branch = last_norm(second(torch.relu(norm(first(x)))))
            branch = F.dropout(branch, dropout_rate, self.training)
            x = torch.relu(x + branch if self._skip else branch)
        logits: Tensor = self.head(x)
        return logits


class DeepDigits(Digits):
    """digits by the deep network.

    Attributes:
        skip: Whether it has skip connections.
    """

    dropout_rate = 0.0
    skip = True

    def build_model(self) -> nn.Module:
        """The network."""
        return Network(skip=self.skip)


class Trained(NamedTuple):
    """A network at its start and after training, and its final training loss."""

    workload: DeepDigits
    start: nn.Module
    end: nn.Module
    loss: float


def run(quick: bool) -> Outcome:
    """Trains the networks and evaluates the loss around them."""
    steps, points = (5, 5) if quick else (STEPS, 25)
    networks = {name: _trained(*kind, steps) for name, kind in KINDS.items()}
    figure, axes = panels(FINDING.claim, columns=3, rows=2)
    a = np.linspace(-1, 1, 9 if quick else 41)
    rough: dict[str, float] = {}
    for number, (name, network) in enumerate(networks.items()):
        lines = [_line(network.workload, network.end, seed, a) for seed in range(LINES)]
        rough[name] = float(np.mean([np.abs(np.diff(line, 2)).sum() for line in lines]))
        axes[0].plot(a, lines[0], label=name, **style(number))
        axes[3].plot(a, _line(network.workload, network.start, 0, a), label=name, **style(number))
    for ax, title in ((axes[0], "trained weights"), (axes[3], "initial weights")):
        ax.set(xlabel="step along a random direction", ylabel="loss [nats]", title=title)
        ax.set(yscale="log" if ax is axes[0] else "linear")
    axes[0].legend(frameon=False, fontsize=8.5)
    _draw_planes(figure, axes, networks, points)
    smooth, other = rough["with skip connections"], rough["without"]
    return Outcome(
        figure=figure,
        numbers={
            "sum of absolute second differences": rough,
            "final training loss": {name: network.loss for name, network in networks.items()},
        },
        checks=[Check("the sum of second differences must be smaller with skip connections: "
                      f"{smooth:.3g} and {other:.3g} without", quick or smooth < other)],
    )  # fmt: skip


def _draw_planes(
    figure: Figure, axes: list[Any], networks: dict[str, Trained], points: int
) -> None:
    """Draws the plane of the network with and without skip connections, twice each."""
    sides = np.linspace(-1, 1, points)
    planes = {}
    for name in ("with skip connections", "without"):
        workload, _, model, _ = networks[name]
        directions = [landscape.filter_normalised(model, seed) for seed in (0, 1)]
        loss = landscape.fixed_loss(workload, model, EXAMPLES)
        planes[name] = landscape.plane(model, loss, directions, sides, sides)
    top = float(np.quantile(np.concatenate([*planes.values()]), 0.95))
    for column, (name, loss_aa) in enumerate(planes.items(), start=1):
        ax = axes[column]
        landscape.draw_contours(ax, sides, sides, loss_aa, top)
        ax.set_title(name)
        below = axes[3 + column]
        place = below.get_subplotspec()
        below.remove()
        landscape.draw_surface(figure, place, sides, sides, loss_aa, top)


def _trained(skip: bool, dropout: float, steps: int) -> Trained:
    workload = DeepDigits()
    workload.skip, workload.dropout_rate = skip, dropout
    kept: list[nn.Module] = []

    def observe(model: nn.Module) -> dict[str, float]:
        kept[:] = [model]
        return {}

    functions = recipe.submission(
        lambda params, point, horizon: torch.optim.SGD(params, lr=0.05, momentum=0.9), fixed={}
    )
    train(made_of("sgd", functions), workload, steps=steps, every=steps, batch_size=64,
          step_hint=round(steps / recipe.HORIZON), observe=observe)  # fmt: skip
    (model,) = kept
    start, _ = workload.init_model_fn((0, 0))
    loss = landscape.fixed_loss(workload, model, EXAMPLES)().item()
    return Trained(workload, start, model, loss)


def _line(workload: DeepDigits, model: nn.Module, seed: int, steps_a: np.ndarray) -> np.ndarray:
    """The loss [A] along a random line."""
    direction = landscape.filter_normalised(model, seed)
    loss = landscape.fixed_loss(workload, model, EXAMPLES)
    return landscape.line(model, loss, direction, steps_a)
