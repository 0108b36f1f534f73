"""Deep sigmoid networks need pre-training by restricted Boltzmann machines; ReLU does not.

Shapes: B images, V visible and H hidden units.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from findings import Check, Finding, Outcome
from findings.frame.figure import panels, style
from findings.frame.training import column, made_of, train
from harness.spec import ModelAuxiliaryState, RandomState
from harness.submission.loading import Submission
from submissions import recipe, schedules
from workloads.arrays import Splits
from workloads.batching import seed_of
from workloads.digits.workload import Digits

FINDING = Finding(
    claim=(
        "A deep sigmoid network learns digits better if pre-trained layer by layer as restricted "
        "Boltzmann machines than from plain random weights; with ReLU and He's initialisation "
        "none is needed"
    ),
    source="Hinton, Osindero, Teh 2006, A Fast Learning Algorithm for Deep Belief Nets; Hinton, "
    "Salakhutdinov 2006; He et al. 2015",
    chosen=(
        "8 x 8 digits scaled to [0, 1], four hidden layers of width 128. Plain: normal weights of "
        "deviation 0.1. Pre-trained: one step of contrastive divergence per batch of 32, rate "
        "0.1, 30 epochs per layer, without labels. SGD with learning rate 0.1, momentum 0.9, batch "
        "32, 1,500 steps, three seeds. The pre-trained sigmoid network's mean final validation "
        "accuracy must be above the plain one's by 0.02, and that of the ReLU network from He's "
        "initialisation at most 0.02 below the pre-trained one's."
    ),
)
WIDTHS, DEVIATION = (64, 128, 128, 128, 128, 10), 0.1
CD_RATE, CD_EPOCHS, CD_BATCH = 0.1, 30, 32
STEPS, EVERY, SEEDS = 1500, 50, (0, 1, 2)
KINDS = ("sigmoid, plain", "sigmoid, pre-trained", "ReLU, He")


class ScaledDigits(Digits):
    """digits in [0, 1] by a fully connected network.

    Attributes:
        kind: One of KINDS.
        epochs: Epochs of contrastive divergence for each layer.
    """

    kind: str
    epochs = CD_EPOCHS

    def load(self) -> Splits:
        """The images, scaled by the smallest and largest training pixel."""
        splits = super().load()
        pixels = np.asarray(splits["train"]["inputs"])
        low, high = pixels.min(), pixels.max()
        return {
            name: {**columns, "inputs": (np.asarray(columns["inputs"]) - low) / (high - low)}
            for name, columns in splits.items()
        }

    def init_model_fn(
        self,
        rng: RandomState,
        dropout_rate: float | None = None,
        aux_dropout_rate: float | None = None,
    ) -> tuple[nn.Module, ModelAuxiliaryState]:
        """The network, pre-trained on the training images without their labels if so asked."""
        model, state = super().init_model_fn(rng, dropout_rate, aux_dropout_rate)
        if self.kind == KINDS[1]:
            linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
            images_bv = self.examples["train"]["inputs"].flatten(1)
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                torch.default_generator.manual_seed(seed_of(rng) + 1)
                pretrain(linears[:-1], images_bv, self.epochs)
        return model, state

    def build_model(self) -> nn.Module:
        """The network before pre-training."""
        relu = self.kind == KINDS[2]
        linears = [nn.Linear(v, h) for v, h in itertools.pairwise(WIDTHS)]
        for linear in linears:
            nn.init.zeros_(linear.bias)
            if relu:
                nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
            else:
                nn.init.normal_(linear.weight, std=DEVIATION)
        modules: list[nn.Module] = [nn.Flatten()]
        for linear in linears:
            modules += [linear, nn.ReLU() if relu else nn.Sigmoid()]
        return nn.Sequential(*modules[:-1])


def pretrain(linears: Sequence[nn.Linear], data_bv: Tensor, epochs: int) -> None:
    """Trains every layer as the hidden half of an RBM on the probabilities of the one below."""
    for linear in linears:
        visible_v = torch.zeros(linear.in_features)
        for _ in range(epochs):
            for batch in torch.randperm(len(data_bv)).split(CD_BATCH):
                _contrastive_divergence(linear, visible_v, data_bv[batch])
        data_bv = torch.sigmoid(linear(data_bv))


def _contrastive_divergence(linear: nn.Linear, visible_v: Tensor, data_bv: Tensor) -> None:
    """One step of CD-1 (Hinton 2002) on the weights and both biases."""
    first_bh = torch.sigmoid(linear(data_bv))
    sample_bh = torch.bernoulli(first_bh)
    again_bv = torch.sigmoid(sample_bh @ linear.weight + visible_v)
    second_bh = torch.sigmoid(linear(again_bv))
    rate = CD_RATE / len(data_bv)
    linear.weight.add_(rate * (first_bh.T @ data_bv - second_bh.T @ again_bv))
    linear.bias.add_(rate * (first_bh - second_bh).sum(0))
    visible_v += rate * (data_bv - again_bv).sum(0)


def run(quick: bool) -> Outcome:
    """Trains all three networks."""
    steps, seeds = (40, SEEDS[:1]) if quick else (STEPS, SEEDS)
    figure, (left, right) = panels(FINDING.claim, columns=2)
    final: dict[str, list[float]] = {}
    for number, kind in enumerate(KINDS):
        losses, accuracies = [], []
        for seed in seeds:
            workload = ScaledDigits()
            workload.kind, workload.epochs = kind, 1 if quick else CD_EPOCHS
            result = train(_sgd(), workload, steps=steps, every=EVERY, seed=seed)
            at, loss = column(result, "train/loss")
            losses.append(loss)
            accuracies.append(column(result, "validation/accuracy")[1])
        final[kind] = [curve[-1] for curve in accuracies]
        for ax, curves in ((left, losses), (right, accuracies)):
            ax.plot(at, np.mean(curves, axis=0), label=kind, **style(number))
            ax.fill_between(at, np.min(curves, axis=0), np.max(curves, axis=0), lw=0,
                            color=style(number)["color"], alpha=0.15)  # fmt: skip
    left.set(xlabel="step", ylabel="training loss [nats]", yscale="log")
    right.set(xlabel="step", ylabel="validation accuracy")
    right.legend(frameon=False, loc="center right")
    plain, pretrained, relu = (float(np.mean(values)) for values in final.values())
    return Outcome(
        figure=figure,
        numbers={"final validation accuracy": final},
        checks=[
            Check("pre-trained must be above plain by 0.02: "
                  f"{pretrained:.3f} and {plain:.3f}", quick or pretrained >= plain + 0.02),
            Check("ReLU must be at most 0.02 below pre-trained: "
                  f"{relu:.3f} and {pretrained:.3f}", quick or relu >= pretrained - 0.02),
        ],
    )  # fmt: skip


def _sgd() -> Submission:
    functions = recipe.submission(
        lambda params, point, horizon: torch.optim.SGD(params, lr=0.1, momentum=0.9),
        schedules.none,
        fixed={},
    )
    return made_of("sgd", functions)
