"""Measures how much exact pruning saves in the order `cost` and others, on boards from logs.

    python -m benchmarks.orders --logs LOGS [--boards 50]

A board is a random choice of the submissions, studies and trials of AlgoPerf's published logs, in
a random order of names. No order is best on every board without knowing the results: `sequential`
may start with the fastest submission by chance. The benchmark counts how often that happens.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from scoring import rulesets
from scoring.reading.read import read
from scoring.replay import Logs, logs, replay_order

ORDERS = ("sequential", "side by side", "cost", "oracle")


def draw(found: Logs, rng: np.random.Generator, trials: int, *, variants: bool) -> Logs:
    """A board of at least 2 submissions and 3 studies, with or without held-out variants."""
    submissions, workloads, studies, most = found.met.shape
    names = list(found.scope.workloads)
    columns = [w for w in range(workloads) if variants or names[w] not in found.scope.held_out]
    place = np.ix_(
        rng.permutation(submissions)[: rng.integers(2, submissions + 1)],
        np.array(columns),
        np.sort(rng.permutation(studies)[:3]),
        np.sort(rng.permutation(most)[:trials]),
    )
    scope = replace(
        found.scope,
        studies=3,
        trials=trials,
        workloads={names[w]: found.scope.workloads[names[w]] for w in columns},
        held_out=found.scope.held_out if variants else {},
    )
    return Logs(scope=scope, logged=found.logged[place], met=found.met[place])


def main() -> None:
    """Prints a line for each kind of board."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--boards", type=int, default=50)
    arguments = parser.parse_args()
    found = logs(read([arguments.logs], rulesets.load("algoperf-0.5")))
    for variants in (False, True):
        for trials in (1, 5):
            rng = np.random.default_rng(0)
            saved = np.array(
                [
                    [replay_order(board, order).saved_percent for order in ORDERS]
                    for board in (
                        draw(found, rng, trials, variants=variants) for _ in range(arguments.boards)
                    )
                ]
            )
            gain = saved[:, 2] - saved[:, 0]
            means = ", ".join(
                f"{name} {mean:.2f}%" for name, mean in zip(ORDERS, saved.mean(0), strict=True)
            )
            print(
                f"{trials} trials, {'with' if variants else 'without'} variants: saved {means}; "
                f"cost below sequential on {int((gain < -1e-9).sum())} of {len(gain)} boards, by "
                f"{max(0.0, -gain.min()):.2f} points at most",
                flush=True,
            )


if __name__ == "__main__":
    main()
