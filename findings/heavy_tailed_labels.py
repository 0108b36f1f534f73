"""SGD lags behind Adam on rare words; with balanced labels it does not."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

from findings import Check, Finding, Outcome
from findings.frame.figure import panels, style
from findings.frame.language import Language
from findings.frame.training import known, made_of, train
from harness.spec import Hyperparameters
from harness.submission.loading import Submission
from submissions import recipe
from workloads.arrays import Splits

FINDING = Finding(
    claim=(
        "SGD learns frequent words as fast as Adam and lags in the rare ones; on the same data "
        "with balanced labels the gap closes"
    ),
    source="Kunstner, Milligan, Yadav, Schmidt, Bietti 2024, Heavy-Tailed Class Imbalance and Why "
    "Adam Outperforms Gradient Descent on Language Models",
    chosen=(
        "nanogpt_mini, 180 steps at batch 8, cosine schedules with 10% warm-up, gradients clipped "
        "at 1; Adam with learning rates 1e-3, 3e-3, 1e-2, SGD with momentum 0.9 and 0.1, 0.3, 1.0; "
        "the rate with the lowest validation loss counts. Balanced labels: the occurrences of a "
        "frequent word get one of several labels at random and rare words share one, so that all "
        "labels are equally frequent; inputs are the same. A gap is the difference of the losses "
        "over Adam's progress from the logarithm of the number of labels. The gap by deciles of "
        "frequency must be larger in the rarest tenth than in the most frequent one, and the gap "
        "over all labels less than half with balanced ones. An invented language of 4,096 words."
    ),
)
STEPS, WORDS = 180, 4096
RATES = {"Adam": (1e-3, 3e-3, 1e-2), "SGD": (0.1, 0.3, 1.0)}


class Balanced(Language):
    """The same inputs, with labels that are equally frequent."""

    def load(self) -> Splits:
        """The windows, with new labels."""
        found = {}
        for number, (split, columns) in enumerate(super().load().items()):
            labels = np.asarray(columns["targets"])
            places = np.random.default_rng([7, number]).random(labels.shape)
            new = self._begin_v[labels] + np.floor(places * self._width_v[labels])
            found[split] = {**columns, "targets": new.astype(np.int64)}
        return found

    @property
    def labels(self) -> int:
        """The number of labels."""
        return int((self._begin_v + self._width_v).max())

    @cached_property
    def _counts_v(self) -> np.ndarray:
        counts: np.ndarray = np.bincount(self.training_tokens(), minlength=WORDS)
        return counts

    @cached_property
    def _width_v(self) -> np.ndarray:
        """The number of labels of every word."""
        fair = self._counts_v.sum() / WORDS
        widths_v: np.ndarray = np.maximum(1, np.rint(self._counts_v / fair))
        return widths_v

    @cached_property
    def _begin_v(self) -> np.ndarray:
        """The first label of every word; words that are rare share labels."""
        fair = self._counts_v.sum() / WORDS
        order_v = np.argsort(-self._counts_v, kind="stable")
        is_wide_v = self._counts_v[order_v] >= fair
        widths_v = np.where(is_wide_v, self._width_v[order_v], 0)
        begin_v = np.cumsum(widths_v) - widths_v
        shared_v = np.cumsum(np.where(is_wide_v, 0, self._counts_v[order_v])) // fair
        begin_v = np.where(is_wide_v, begin_v, widths_v.sum() + shared_v)
        found_v = np.empty(WORDS)
        found_v[order_v] = begin_v
        return found_v


def run(quick: bool) -> Outcome:
    """Trains with both optimizers on both data."""
    steps = 3 if quick else STEPS
    rates = {name: values[1:2] if quick else values for name, values in RATES.items()}
    best: dict[str, dict[str, dict[str, float]]] = {}
    losses: dict[str, dict[str, dict[str, float | None]]] = {}
    for data, kind in (("words", Language), ("balanced", Balanced)):
        best[data], losses[data] = {}, {}
        for name in rates:
            found = {rate: _final(name, rate, kind(), steps) for rate in rates[name]}
            losses[data][name] = known({rate: row["loss"] for rate, row in found.items()})
            finite = [row for row in found.values() if np.isfinite(row["loss"])]
            best[data][name] = min(finite, key=lambda row: row["loss"])
    starts = {"words": float(np.log(WORDS)), "balanced": float(np.log(Balanced().labels))}
    gap = {data: _gap(rows, "loss", starts[data]) for data, rows in best.items()}
    deciles = [_gap(best["words"], f"loss_decile_{n}", starts["words"]) for n in range(1, 11)]
    figure, (left, right) = panels(FINDING.claim, columns=2)
    for number, name in enumerate(rates):
        values = [best["words"][name][f"loss_decile_{n}"] for n in range(1, 11)]
        left.plot(range(1, 11), values, "o", ms=5, label=name, **style(number))
        gained = [starts[data] - best[data][name]["loss"] for data in best]
        places = np.arange(2) + 0.38 * number - 0.19
        right.bar(places, gained, 0.36, color=style(number)["color"], label=name)
    left.axhline(starts["words"], color="0.6", lw=0.8)
    left.set(xlabel="tenth of the text, by word frequency (1: most frequent words)")
    left.set(ylabel="validation loss [nats per token]", xticks=range(1, 11))
    left.legend(frameon=False)
    right.set_xticks(
        [0, 1], [f"words\ngap {gap['words']:.0%}", f"balanced\ngap {gap['balanced']:.0%}"]
    )
    right.set(ylabel="validation loss below a uniform guess [nats per token]")
    right.legend(frameon=False)
    return Outcome(
        figure=figure,
        numbers={
            "validation loss by learning rate": losses,
            "gap": gap,
            "gap by tenths of the text, most frequent words first": deciles,
        },
        checks=[
            Check("the gap must be larger in the rarest tenth than in the most frequent: "
                  f"{deciles[-1]:.1%} and {deciles[0]:.1%}", quick or deciles[-1] > deciles[0]),
            Check("the gap with balanced labels must be less than half: "
                  f"{gap['balanced']:.1%} and {gap['words']:.1%}",
                  quick or gap["balanced"] < gap["words"] / 2),
        ],
    )  # fmt: skip


def _gap(rows: dict[str, dict[str, float]], metric: str, start: float) -> float:
    """The loss that SGD lacks, over Adam's progress."""
    adam, sgd = rows["Adam"][metric], rows["SGD"][metric]
    return (sgd - adam) / (start - adam)


def _final(name: str, rate: float, workload: Language, steps: int) -> dict[str, float]:
    result = train(_optimizer(name, rate), workload, steps=steps, every=steps,
                   step_hint=round(steps / recipe.HORIZON))  # fmt: skip
    metrics = result.rows[-1].metrics
    return {key.split("/")[1]: v for key, v in metrics.items() if key.startswith("validation/")}


def _optimizer(name: str, rate: float) -> Submission:
    def make_optimizer(
        params: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
    ) -> Optimizer:
        if name == "SGD":
            return torch.optim.SGD(params, lr=rate, momentum=0.9)
        return torch.optim.Adam(params, lr=rate)

    fixed = {"warmup_factor": 0.1, "grad_clip": 1.0}
    return made_of(name, recipe.submission(make_optimizer, fixed=fixed))
