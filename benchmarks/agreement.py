"""Measures whether small workloads rank submissions as the official benchmark does.

For each workload of a results tree: Kendall's tau between the order of the submissions by median
time to target there (a miss is last) and their order on AlgoPerf's v0.5 leaderboard, over the
submissions that both have; beside it tau against their times on the official workload that the
small one represents. 1 is the same order, -1 the reverse, 0 unrelated. Intervals are 95%
percentiles over studies drawn with replacement on both sides; a resample without any order on one
side, where tau is not defined, does not count; the number of those that do is printed.

    python -m benchmarks.agreement RESULTS --logs LOGS
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy import stats

from scoring import rulesets
from scoring.leaderboard import Leaderboard, make_leaderboard
from scoring.reading.read import read
from scoring.times import RULES, medians
from scoring.uncertainty import resampled_medians, resampled_scores, study_draws

OFFICIAL_NAMES = {  # names in v0.5's logs that differ from ours; its baseline is NadamW
    "nadamw": "baseline", "caspr": "caspr_adaptive", "shampoo": "shampoo_submission",
}  # fmt: skip
RESAMPLES, SEED = 1000, 0


class Board:
    """A leaderboard's scores and times, as measured and resampled."""

    def __init__(self, board: Leaderboard, names: list[str]) -> None:
        studies, scope = board.studies, board.results.scope
        chosen = [studies.submissions.index(name) for name in names]
        self.workloads = studies.workloads
        draws_rwk = study_draws(studies.workloads, studies.seconds_swk.shape[2], SEED, RESAMPLES)
        scores = {standing.name: standing.score for standing in board.standings}
        self.score_s = np.array([scores[name] for name in names])
        self.times_sw = medians(studies.seconds_swk, RULES)[chosen]
        self.score_rs = resampled_scores(
            studies.seconds_swk, studies.workloads, scope, RULES, "studies", SEED, RESAMPLES
        )[:, chosen]
        self.times_rsw = resampled_medians(studies.seconds_swk, draws_rwk, RULES)[:, chosen]


def tau(better: np.ndarray, also_better: np.ndarray) -> float:
    """Kendall's tau-b of two sets of scores, larger being better; NaN if one has no order."""
    return float(stats.kendalltau(stats.rankdata(better), stats.rankdata(also_better)).statistic)


def line(
    name: str, ours: np.ndarray, theirs: np.ndarray, ours_rs: np.ndarray, theirs_rs: np.ndarray
) -> str:
    """A line with tau, its interval and the number of resamples it is computed from."""
    resampled = np.array([tau(a, b) for a, b in zip(ours_rs, theirs_rs, strict=True)])
    defined = resampled[~np.isnan(resampled)]
    if not len(defined):
        return f"{name:45} no order"
    low, high = np.quantile(defined, [0.025, 0.975])
    return f"{name:45} {tau(ours, theirs):+.2f}  [{low:+.2f}, {high:+.2f}]  of {len(defined):,}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+", help="results trees of small workloads")
    parser.add_argument("--logs", type=Path, required=True, help="v0.5's logs, external tuning")
    arguments = parser.parse_args()
    small = make_leaderboard(read(arguments.results))
    official = make_leaderboard(read([arguments.logs], rulesets.load("algoperf-0.5"), "external"))
    known = set(official.studies.submissions)
    names = [n for n in small.studies.submissions if OFFICIAL_NAMES.get(n, n) in known]
    print(f"Submissions that both have: {', '.join(names)}")
    if len(names) < 2:
        parser.error("an order takes at least two of them")
    ours = Board(small, names)
    theirs = Board(official, [OFFICIAL_NAMES.get(name, name) for name in names])
    against = (theirs.score_s, theirs.score_rs)
    print(line("leaderboard, leaderboard", ours.score_s, against[0], ours.score_rs, against[1]))
    for w, workload in enumerate(ours.workloads):
        mine = (-ours.times_sw[:, w], -ours.times_rsw[:, :, w])
        print(line(f"{workload}, leaderboard", mine[0], against[0], mine[1], against[1]))
        stands_for = workload.removesuffix("_mini")
        if stands_for in theirs.workloads:
            v = theirs.workloads.index(stands_for)
            same = (-theirs.times_sw[:, v], -theirs.times_rsw[:, :, v])
            print(line(f"{workload}, {stands_for}", mine[0], same[0], mine[1], same[1]))


if __name__ == "__main__":
    main()
