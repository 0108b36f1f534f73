"""Studies that `--studies auto` saves against a fixed number with the same power, by simulation.

Two submissions on eight workloads; the log ratio of their times in a study is normal with standard
deviation 1 (or another distribution), and its mean is the difference. `auto` looks after each study
of each workload, up to 20 studies; `fixed` is the smallest number of studies after which the
sign-flip test (by its normal approximation) decides as often. Saved: the mean number of studies of
`auto` below `fixed`. The second table has the share of wrong decisions where nothing differs on
average, also where the assumptions of the test do not hold.

    python -m benchmarks.sequential
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from scoring.sequential import SCALES, log_factors

WORKLOADS, MOST = 8, 20
LIMIT = math.log(4)

Draw = Callable[[np.random.Generator, int], np.ndarray]  # ratios (boards, studies, workloads)


def studies_until_decided(ratios: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The mean studies per workload until a decision (inf if none), and its sign: (boards,)."""
    boards = len(ratios)
    cells = np.clip(ratios, -LIMIT, LIMIT).reshape(boards, -1)
    after, sign = np.full(boards, np.inf), np.zeros(boards)
    for way in (1, -1):
        paths = np.zeros((boards, len(SCALES)))
        for look in range(cells.shape[1]):
            paths += log_factors(way * cells[:, look, None])[:, 0]
            p = 2 / np.exp(paths).mean(axis=1)
            now = (p <= level) & (after > (look + 1) / WORKLOADS)
            after[now], sign[now] = (look + 1) / WORKLOADS, way
    return after, sign


def fixed_power(ratios: np.ndarray, studies: int, level: float) -> float:
    """How often the sign-flip test decides after a fixed number of studies."""
    cells = np.clip(ratios[:, :studies], -LIMIT, LIMIT).reshape(len(ratios), -1)
    z = np.abs(cells.sum(axis=1)) / np.sqrt((cells**2).sum(axis=1))
    return float((z >= NormalDist().inv_cdf(1 - level / 2)).mean())


def normal(difference: float, spread: float = 0.2) -> Draw:
    """Independent studies with a standard deviation of `spread`, times which the difference is."""
    return lambda rng, boards: rng.normal(difference * spread, spread, (boards, MOST, WORKLOADS))


def by_study(correlation: float) -> Draw:
    """No difference, but studies are correlated over workloads."""

    def draw(rng: np.random.Generator, boards: int) -> np.ndarray:
        shared = rng.normal(0, 0.2, (boards, MOST, 1))
        own = rng.normal(0, 0.2, (boards, MOST, WORKLOADS))
        return math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own

    return draw


def each_wins_some(rng: np.random.Generator, boards: int) -> np.ndarray:
    """One is faster on half of the workloads and slower on the others, by one spread."""
    return rng.normal(np.tile([0.2, -0.2], WORKLOADS // 2), 0.2, (boards, MOST, WORKLOADS))


def noise_differs(rng: np.random.Generator, boards: int) -> np.ndarray:
    """The same, but the workloads on which one is faster have a third of the noise."""
    spread = np.tile([0.1, 0.3], WORKLOADS // 2)
    return rng.normal(np.tile([0.2, -0.2], WORKLOADS // 2), spread, (boards, MOST, WORKLOADS))


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boards", type=int, default=10_000)
    parser.add_argument("--level", type=float, default=0.05)
    given = parser.parse_args()
    print("difference  decided  auto: studies  fixed: studies  saved")
    for difference in (0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0):
        ratios = normal(difference)(np.random.default_rng(1), given.boards)
        after, _ = studies_until_decided(ratios, given.level)
        power, mean = float(np.isfinite(after).mean()), float(np.minimum(after, MOST).mean())
        enough = (n for n in range(1, MOST + 1) if fixed_power(ratios, n, given.level) >= power)
        fixed = next(enough, MOST)
        saved = 1 - mean / fixed
        print(f"{difference:10.2f}  {power:6.1%}  {mean:13.2f}  {fixed:14}  {saved:5.0%}")
    print("\nnothing differs on average          decided by mistake")
    cases = {
        "nothing differs": normal(0.0),
        "correlated over workloads, 0.1": by_study(0.1),
        "correlated over workloads, 0.3": by_study(0.3),
        "each wins on half of the workloads": each_wins_some,
        "the same, with unequal noise": noise_differs,
    }
    for name, draw in cases.items():
        after, _ = studies_until_decided(draw(np.random.default_rng(2), given.boards), given.level)
        print(f"{name:35} {np.isfinite(after).mean():6.2%}")


if __name__ == "__main__":
    main()
