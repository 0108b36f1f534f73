"""Deep ReLU networks need He's initialisation, not Xavier's; sigmoids saturate.

Shapes: L hidden layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from findings import Check, Finding, Outcome
from findings.frame.figure import panels, style
from findings.frame.training import Observe, column, made_of, train
from scoring.records import TrialResult
from submissions import recipe, schedules
from workloads.digits.workload import Digits

FINDING = Finding(
    claim=(
        "A 22-layer ReLU network converges sooner from He's initialisation than from Xavier's; "
        "with 30 layers Xavier's does not begin to learn, since the variance of activations halves "
        "from layer to layer; sigmoids saturate, tanh does not"
    ),
    source="Glorot, Bengio 2010; He, Zhang, Ren, Sun 2015, Delving Deep into Rectifiers, figures 2 "
    "and 3",
    chosen=(
        "8 x 8 digits, width 128, SGD with learning rate 0.01, momentum 0.9, batch 64, 1,000 "
        "steps, two seeds. Converged: the first evaluation (every 20 steps) with a training loss "
        "below 1. He must be sooner in both seeds at 22 layers and converge at 30, where Xavier "
        "must not in any seed. At the start, the variance of pre-activations of 30 layers must "
        "change by a factor of 0.35 to 0.7 a layer under Xavier, and of 0.8 to 1.25 under He. "
        "After 200 steps at learning rate 0.1 of networks of 5 layers (Xavier), the mean distance "
        "of the last hidden activations from the middle of their range, over half the range, must "
        "be larger for the sigmoid than for tanh. Fewer steps than the 1,500 that were tried "
        "before, and fewer seeds than the paper's curves."
    ),
)
WIDTH, STEPS, EVERY, SEEDS = 128, 1000, 20, (0, 1)
METHODS: dict[str, Callable[[Tensor], Tensor]] = {
    "He": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "Xavier": nn.init.xavier_normal_,
}
ACTIVATIONS: dict[str, tuple[type[nn.Module], float, float]] = {  # with middle and half range
    "sigmoid": (nn.Sigmoid, 0.5, 0.5),
    "tanh": (nn.Tanh, 0.0, 1.0),
}


class DeepDigits(Digits):
    """digits by a fully connected network.

    Attributes:
        layers: Number of weight layers.
        activation: The hidden layers' activation.
        initialise: Initialises a weight matrix; biases are 0.
    """

    layers: int
    activation: type[nn.Module]
    initialise: Callable[[Tensor], Tensor]

    def build_model(self) -> nn.Module:
        """The network."""
        widths = [64, *[WIDTH] * (self.layers - 1), 10]
        modules: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in itertools.pairwise(widths):
            linear = nn.Linear(inputs, outputs)
            self.initialise(linear.weight)
            nn.init.zeros_(linear.bias)
            modules += [linear, self.activation()]
        return nn.Sequential(*modules[:-1])


def run(quick: bool) -> Outcome:
    """Trains networks of 22 and 30 layers from both, and looks at the activations of others."""
    steps, seeds = (60, SEEDS[:1]) if quick else (STEPS, SEEDS)
    figure, axes = panels(FINDING.claim, columns=2, rows=2)
    first: dict[str, dict[str, list[int | None]]] = {}
    for ax, layers in zip(axes, (22, 30), strict=False):
        first[str(layers)] = {name: [] for name in METHODS}
        for number, name in enumerate(METHODS):
            for seed in seeds:
                workload = _workload(layers, nn.ReLU, METHODS[name])
                at, losses = column(_train(workload, 0.01, steps, seed), "train/loss")
                below = [t for t, loss in zip(at, losses, strict=True) if loss < 1]
                first[str(layers)][name].append(min(below, default=None))
                label = name if seed == seeds[0] else None
                ax.plot(at, losses, label=label, **style(number))
        ax.set(xlabel="step", ylabel="training loss [nats]", title=f"{layers} layers, ReLU")
        ax.axhline(1, color="0.6", lw=0.8)
        ax.legend(frameon=False)
    decay = _draw_variances(axes[2])
    saturation = _draw_saturation(axes[3], 20 if quick else 200)
    return Outcome(
        figure=figure,
        numbers={
            "first step with a loss below 1, by layers": first,
            "variance of pre-activations, factor a layer": decay,
            "saturation of the last hidden layer": saturation,
        },
        checks=_checks(first, decay, saturation, quick=quick),
    )


def _checks(
    first: dict[str, dict[str, list[int | None]]],
    decay: dict[str, float],
    saturation: dict[str, float],
    *,
    quick: bool,
) -> list[Check]:
    he, xavier = ([s or np.inf for s in first["22"][name]] for name in METHODS)
    sooner = all(a < b for a, b in zip(he, xavier, strict=True))
    begins = all(first["30"]["He"]) and not any(first["30"]["Xavier"])
    trained = [
        Check(f"at 22 layers He must be below 1 sooner than Xavier: {first['22']}", sooner),
        Check(f"at 30 layers He alone must get below 1: {first['30']}", begins),
    ]
    return [
        *([] if quick else trained),
        Check(f"under Xavier variance must fall by 0.35 to 0.7 a layer: {decay['Xavier']:.2f}",
              0.35 <= decay["Xavier"] <= 0.7),
        Check(f"under He variance must change by 0.8 to 1.25 a layer: {decay['He']:.2f}",
              0.8 <= decay["He"] <= 1.25),
        Check("sigmoid must saturate more than tanh: "
              + " and ".join(f"{name} {value:.2f}" for name, value in saturation.items()),
              quick or saturation["sigmoid"] > saturation["tanh"]),
    ]  # fmt: skip


def _workload(
    layers: int, activation: type[nn.Module], initialise: Callable[[Tensor], Tensor]
) -> DeepDigits:
    workload = DeepDigits()
    workload.layers, workload.activation = layers, activation
    workload.initialise = initialise
    return workload


def _train(
    workload: DeepDigits, rate: float, steps: int, seed: int, observe: Observe | None = None
) -> TrialResult:
    """A trial of SGD with momentum at a constant rate."""
    functions = recipe.submission(
        lambda params, point, horizon: torch.optim.SGD(params, lr=rate, momentum=0.9),
        schedules.none,
        fixed={},
    )
    return train(
        made_of("sgd", functions), workload, steps=steps, every=EVERY, seed=seed, batch_size=64,
        observe=observe,
    )  # fmt: skip


def _hidden(workload: DeepDigits, model: nn.Module, kind: type[nn.Module]) -> list[Tensor]:
    """The outputs of all modules of a kind on the validation images."""
    found = []
    x = workload.examples["validation"]["inputs"]
    with torch.no_grad():
        for module in model:  # type: ignore[attr-defined]
            x = module(x)
            if isinstance(module, kind):
                found.append(x)
    return found


def _draw_variances(ax: Axes) -> dict[str, float]:
    """Draws the deviation of pre-activations by layer at the start; returns factors of variance."""
    factors = {}
    for number, (name, initialise) in enumerate(METHODS.items()):
        workload = _workload(30, nn.ReLU, initialise)
        model, _ = workload.init_model_fn((0, 1))
        deviation_l = np.array([float(z.std()) for z in _hidden(workload, model, nn.Linear)[:-1]])
        layers = np.arange(1, len(deviation_l) + 1)
        ax.plot(layers, deviation_l, "o", ms=4, label=name, **style(number))
        factors[name] = float(np.exp(2 * np.polyfit(layers, np.log(deviation_l), 1)[0]))
    reference_l = deviation_l[0] * 2.0 ** (-(layers - 1) / 2)
    ax.plot(layers, reference_l, label="variance halves a layer", **style(9))
    ax.set(yscale="log", xlabel="layer", ylabel="deviation of pre-activations")
    ax.set(title="before training, 30 layers")
    ax.legend(frameon=False)
    return factors


def _draw_saturation(ax: Axes, steps: int) -> dict[str, float]:
    """Draws the last hidden layer's activations after training; returns mean distances."""
    saturation = {}
    for number, (name, (kind, middle, half)) in enumerate(ACTIVATIONS.items()):
        workload = _workload(5, kind, nn.init.xavier_normal_)
        last: list[Tensor] = []
        _train(workload, 0.1, steps, 0, partial(_keep_last, workload, kind, last))
        scaled = ((last[0] - middle) / half).flatten().numpy()
        saturation[name] = float(np.abs(scaled).mean())
        color = style(number)["color"]
        ax.hist(scaled, bins=60, density=True, histtype="step", lw=1.8, color=color, label=name)
    ax.set(xlabel="activation, scaled to (-1, 1)", ylabel="density")
    ax.set(title=f"last hidden layer of 5 after {steps} steps")
    ax.legend(frameon=False)
    return saturation


def _keep_last(
    workload: DeepDigits, kind: type[nn.Module], last: list[Tensor], model: nn.Module
) -> dict[str, float]:
    """Keeps the last hidden layer's activations; measures nothing."""
    last[:] = _hidden(workload, model, kind)[-1:]
    return {}
