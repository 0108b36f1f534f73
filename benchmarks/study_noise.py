"""Estimates signal over noise of a board whose studies have more trials than they had.

    python -m benchmarks.study_noise DIR [--trials 5] [--draws 300]

The trials of a submission on a workload are resampled, with replacement, into as many studies as
the board has. Since they are the same few trials, studies differ less than new ones would: the
estimate is biased upwards.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from scoring.board_orders import Board, separations
from scoring.profiles import Floats
from scoring.reading.read import read
from scoring.reading.results import Results


def pools(results: Results) -> dict[tuple[str, str], Floats]:
    """The seconds to target of planned trials by submission and workload; infinite for a miss."""
    found: dict[tuple[str, str], list[float]] = {}
    for trial in (trial for trial in results.trials if not trial.extra):
        hit = trial.hit if trial.within_budget else None
        seconds = np.inf if hit is None else hit.submission_seconds
        found.setdefault((trial.submission, trial.workload), []).append(seconds)
    return {key: np.array(seconds) for key, seconds in found.items()}


def ratios(results: Results, trials: int, draws: int) -> dict[str, float]:
    """Signal over noise of each scored workload, from the mean variances of all draws."""
    rng = np.random.default_rng(0)
    pool, studies = pools(results), results.scope.studies
    variances: dict[str, list[tuple[float, float]]] = {}
    for _ in range(draws):
        value_nwk = np.array(
            [
                [rng.choice(pool[s, w], (studies, trials)).min(-1) for w in results.scope.workloads]
                for s in results.submissions
            ]
        )
        for found in separations("first", Board(results.scope, value_nwk, cut=False)):
            variances.setdefault(found.workload, []).append((found.signal**2, found.noise**2))
    means = {workload: np.mean(pairs, axis=0) for workload, pairs in variances.items()}
    return {workload: float(np.sqrt(mean[0] / mean[1])) for workload, mean in means.items()}


def main() -> None:
    """Prints a line per workload."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--draws", type=int, default=300)
    arguments = parser.parse_args()
    results = read([arguments.results])
    for workload, ratio in ratios(results, arguments.trials, arguments.draws).items():
        print(f"{workload}: {ratio:.2f} with {arguments.trials} trials per study")


if __name__ == "__main__":
    main()
