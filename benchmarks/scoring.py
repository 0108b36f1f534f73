"""Measures the cost of `chronograd score` as a complete process, imports included, no cache.

First it scores the v0.5 logs, next to a process that only reads the same files with pandas, as
AlgoPerf's scoring script does: runs alternate, medians count. (That script itself took 12.4 to
19.9 s of wall time, 10.9 to 15.8 s of CPU and 235 to 264 MB on a machine with two cores.) Then
boards of 100 and 1,000 submissions x 14 workloads x 5 studies x 5 trials: seconds and memory per
row. Their files are links to a few hundred realistic ones, to save disk space.

    python -m benchmarks.scoring [--logs DIR] [--runs 5] [--submissions 100 1000]
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RULES = ROOT / "scoring" / "rulesets" / "algoperf-0.5.toml"
PANDAS = """
import pathlib, sys
import pandas
for path in pathlib.Path(sys.argv[1]).rglob("eval_measurements.csv"):
    pandas.read_csv(path)
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """The time and memory of a process."""

    wall: float  # seconds
    cpu: float  # seconds
    megabytes: float  # at its peak

    def __str__(self) -> str:
        return f"{self.wall:.2f} s wall, {self.cpu:.2f} s CPU, {self.megabytes:.0f} MB"


def cost(command: list[str]) -> Cost:
    """Runs a command and measures it."""
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - began
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median(costs: list[Cost]) -> Cost:
    """The median of each number."""
    columns = zip(*((c.wall, c.cpu, c.megabytes) for c in costs), strict=True)
    return Cost(*map(statistics.median, columns))


def score(logs: Path) -> list[str]:
    """The command that scores logs."""
    options = ["--ruleset", str(RULES), "--tuning", "external"]
    return [sys.executable, "-m", "harness.cli", "score", str(logs), *options]


def real_logs(logs: Path, runs: int) -> None:
    """Compares scoring with reading by pandas."""
    files = sum(1 for _ in logs.rglob("eval_measurements.csv"))
    ours, pandas = [], []
    for _ in range(runs):
        ours.append(cost(score(logs)))
        pandas.append(cost([sys.executable, "-c", PANDAS, str(logs)]))
    print(f"{files:,} files, medians of {runs} runs")
    print(f"  chronograd score:     {median(ours)}")
    print(f"  pandas, reading only: {median(pandas)}")
    ratio = statistics.median(a.cpu / b.cpu for a, b in zip(ours, pandas, strict=True))
    print(f"  CPU, scoring over reading with pandas: {ratio:.2f}")


def write_board(root: Path, submissions: int) -> int:
    """Writes logs of many submissions; returns the number of their evaluations."""
    rules = tomllib.loads(RULES.read_text())
    rng = random.Random(submissions)
    evaluations = 0
    for workload in [*rules["scored"], *rules["held_out"]]:
        goal = rules["workloads"][workload]
        templates = [template(root, f"{workload}_{n}", goal, rng) for n in range(20)]
        for submission in range(submissions):
            for study in range(rules["studies"]):
                for trial in range(1, rules["trials"] + 1):
                    path, rows = rng.choice(templates)
                    folder = root / f"submission_{submission}" / f"study_{study}"
                    folder = folder / f"{workload}_pytorch" / f"trial_{trial}"
                    folder.mkdir(parents=True)
                    os.link(path, folder / "eval_measurements.csv")
                    evaluations += rows
    return evaluations


def template(root: Path, name: str, goal: dict[str, Any], rng: random.Random) -> tuple[Path, int]:
    """Writes one trial's file outside the logs; returns it and its number of evaluations."""
    rows = rng.randint(20, 80)
    hit = rng.randint(rows // 4, 2 * rows)  # beyond the last row: a miss
    lines = [f"accumulated_submission_time,global_step,validation/{goal['metric']}"]
    for row in range(rows):
        worse = 1 + 0.3 * max(0, hit - row) / rows
        value = goal["validation_target"] * (worse if goal["direction"] == "min" else 1 / worse)
        seconds = goal["budget_seconds"] * (row + rng.random()) / rows
        lines.append(f"{seconds},{100 * row},{value}")
    path = root.parent / "templates" / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path, rows


def scaling(sizes: list[int]) -> None:
    """Measures whether time grows with the rows and memory remains bounded."""
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "logs"
            rows = write_board(root, size)
            measured = cost(score(root))
            files = size * 14 * 25
            print(f"{size:,} submissions, {files:,} trials, {rows:,} evaluations: {measured}")
            print(f"  {1e6 * measured.cpu / rows:.2f} s CPU per million evaluations")


def main() -> None:
    """Prints the measurements."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--logs", type=Path, help="the unpacked v0.5 external-tuning logs")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--submissions", type=int, nargs="*", default=[100, 1000])
    args = parser.parse_args()
    if args.logs is not None:
        real_logs(args.logs, args.runs)
    scaling(args.submissions)


if __name__ == "__main__":
    main()
