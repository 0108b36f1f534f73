"""Draws the pictures of the concept pages into docs/pictures, with the project's own code.

python -m docs.pictures: takes half a minute; three short trials are run.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

import workloads
from harness.submission import loading
from harness.submission.search_space import load
from harness.trial.attempt import run_attempt
from scoring.leaderboard import Leaderboard
from scoring.records import EvalRow
from scoring.report.plots import performance_profiles, rank_probabilities, score_intervals
from scoring.report.styles import COLORS, tidy
from scoring.tree import SEARCH_SPACE_FILE
from tests.fixtures.toy import make_spec
from tests.scoring.trees import write_tree

FOLDER = Path(__file__).parent / "pictures"
NAMES = ("sloth", "hare", "tortoise")  # invented submissions


def clock(figure: Figure) -> None:
    """A trial's clocks: seconds counted against seconds passed."""
    rows = _trial(clock="wall", seed=0, name="digits", budget=1.2)
    ax = tidy(figure.subplots())
    start = rows[0].total_seconds
    wall, counted = [0.0], [rows[0].submission_seconds]
    for before, row in itertools.pairwise(rows):
        end = row.total_seconds - start
        begin = end - (row.eval_seconds - before.eval_seconds)
        label = "" if before is not rows[0] else "evaluation: not counted"
        ax.axvspan(begin, end, color="0.85", label=label)
        wall += [begin, end]
        counted += [row.submission_seconds] * 2
    ax.plot(wall, counted, color=COLORS[0])
    ax.set(xlabel="seconds since the first evaluation", ylabel="seconds on the submission clock")
    ax.set(xlim=(0, wall[-1]), ylim=(0, None))
    ax.legend(frameon=False, loc="upper left")


def studies(figure: Figure) -> None:
    """Trials, the fastest of each study, and the median over studies."""
    rng = np.random.default_rng(3)
    times_kt = rng.lognormal(1.6, 0.45, (3, 5))
    fastest_k = times_kt.min(axis=1)
    ax = tidy(figure.subplots())
    for study, times_t in enumerate(times_kt):
        ax.plot(times_t, np.full(5, study), "o", color="0.7", label="" if study else "trial")
    label = "fastest of the study"
    ax.plot(fastest_k, range(3), "o", color=COLORS[0], markersize=9, label=label)
    median = float(np.median(fastest_k))
    ax.axvline(median, color=COLORS[1], linestyle="--", label="median: the submission's time")
    ax.set(yticks=range(3), yticklabels=[f"study {n}" for n in range(3)], ylim=(2.5, -0.9))
    ax.set(xlabel="seconds to target", xlim=(0, None))
    ax.legend(frameon=False, loc="upper right", fontsize=8)


def profiles(figure: Figure) -> None:
    """The performance profiles of a board; a score is an area under one."""
    performance_profiles(_board(), figure.subplots())


def uncertainty(figure: Figure) -> None:
    """The intervals of scores and the probabilities of ranks of a board."""
    left, right = figure.subplots(1, 2)
    board = _board()
    score_intervals(board, left)
    rank_probabilities(board, right)


def pruning(figure: Figure) -> None:
    """What exact pruning leaves of finished trials, by the order in which they run."""
    import chronograd
    from scoring.replay import replay

    with tempfile.TemporaryDirectory() as folder:
        results = chronograd.read(_tree(Path(folder)))._results
        found, policies = replay(results)
    ax = tidy(figure.subplots())
    names = [policy.order for policy in policies]
    ax.barh(names, [found.hours] * len(names), color="0.85", label="not needed")
    ax.barh(names, [policy.hours for policy in policies], color=COLORS[0], label="run")
    ax.set(xlabel="hours on the submission clock; no score changes")
    ax.invert_yaxis()
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)


def reproducibility(figure: Figure) -> None:
    """Validation losses of three trials on the step clock: two of one seed, one of another."""
    ax = tidy(figure.subplots())
    runs = [("seed 0", 0, "-", 5.0), ("seed 0 again", 0, "--", 1.5), ("seed 1", 1, ":", 1.5)]
    for place, (label, seed, style, width) in enumerate(runs):
        rows = _trial(clock="steps", seed=seed)[1:]  # the first is before training
        steps = [row.global_step for row in rows]
        losses = [row.metrics["validation/loss"] for row in rows]
        color = "0.8" if not place else COLORS[place]
        ax.plot(steps, losses, style, linewidth=width, color=color, label=label)
    ax.set(xlabel="step", ylabel="validation loss")
    ax.legend(frameon=False)


def failures(figure: Figure) -> None:
    """A trial that loses its process twice: what is repeated, and what is kept."""
    rows = _trial(clock="steps", seed=0)
    times = [row.submission_seconds for row in rows]
    lost = [times[2] + 0.6 * (times[3] - times[2]), times[5] + 0.4 * (times[6] - times[5])]
    spans = [(0.0, lost[0]), (times[2], lost[1]), (times[5], times[-1])]
    ax = tidy(figure.subplots())
    for attempt, (start, end) in enumerate(spans):
        ax.plot([start, end], [attempt, attempt], color=COLORS[0], linewidth=6)
        kept = [time for time in times if start < time <= end]
        label = "" if attempt else "evaluation: in the ledger, with a checkpoint"
        ax.plot(kept, [attempt] * len(kept), "o", color=COLORS[1], label=label)
        if attempt < len(lost):
            label = "" if attempt else "the process is lost"
            ax.plot(end, attempt, "x", color="black", markersize=9, label=label)
    ax.set(yticks=range(3), yticklabels=[f"attempt {n}" for n in range(1, 4)], ylim=(2.6, -1.1))
    ax.set(xlabel="seconds on the submission clock")
    ax.legend(frameon=False, loc="upper right", fontsize=8)


def integrity(figure: Figure) -> None:
    """The second clock that each row is compared with: honest, and a clock slowed by half."""
    rows = _trial(clock="wall", seed=0)
    cpu = np.array([row.cpu_seconds for row in rows])
    counted = np.array([row.submission_seconds for row in rows])
    ax = tidy(figure.subplots())
    ax.plot(cpu, counted, "o-", color=COLORS[0], label="an honest trial")
    ax.plot(cpu, counted / 2, "x--", color=COLORS[1], label="the same with a clock at half speed")
    ax.set(xlabel="CPU seconds, by the operating system", ylabel="seconds on the submission clock")
    ax.legend(frameon=False)


PICTURES: dict[str, tuple[Callable[[Figure], None], tuple[float, float]]] = {
    "clock": (clock, (6.4, 3.2)),
    "studies": (studies, (6.4, 2.6)),
    "profiles": (profiles, (6.4, 3.4)),
    "uncertainty": (uncertainty, (8.0, 2.8)),
    "pruning": (pruning, (6.4, 2.6)),
    "reproducibility": (reproducibility, (6.4, 3.2)),
    "failures": (failures, (6.4, 2.4)),
    "integrity": (integrity, (6.4, 3.0)),
}


def _trial(*, clock: str, seed: int, name: str = "diabetes", budget: float = 0.4) -> list[EvalRow]:
    """The evaluations of a short trial of NadamW."""
    folder = loading.find("nadamw")
    workload = workloads.get(name)
    spec = make_spec(
        submission="nadamw", submission_path=str(folder), workload=name,
        hyperparameters=load(folder / SEARCH_SPACE_FILE).points(0, 1, 1)[0][0],
        goal=workload.goal, test_goal=workload.test_goal, step_hint=workload.step_hint,
        clock=clock, step_seconds=0.001, seed=seed, until="budget",
        budget_seconds=budget, max_allowed_runtime_sec=budget, eval_period_seconds=budget / 8,
    )  # fmt: skip
    return run_attempt(workloads.get, spec).rows


def _tree(folder: Path) -> Path:
    """Results of three invented submissions on four workloads."""
    rng = np.random.default_rng(0)
    times = {
        (name, workload, study, trial): round(float(speed * factor * rng.lognormal(0, 0.25)), 3)
        for name, speed in zip(NAMES, (12.0, 5.0, 7.0), strict=True)
        for workload, factor in zip("abcd", (1.0, 2.0, 0.7 if name != "hare" else 2.5, 4.0),
                                    strict=True)
        for study in range(3)
        for trial in range(1, 6)
    }  # fmt: skip
    return write_tree(folder / "tree", times)


def _board() -> Leaderboard:
    import chronograd

    with tempfile.TemporaryDirectory() as folder:
        return chronograd.score(chronograd.read(_tree(Path(folder))))._board


def draw(name: str, folder: Path) -> Path:
    """Draws a picture; returns its file."""
    paint, inches = PICTURES[name]
    fixed = {"svg.hashsalt": name, "svg.fonttype": "path"}
    with rc_context(fixed):
        figure = Figure(inches, layout="constrained")
        figure.patch.set_facecolor("white")  # readable on the dark theme too
        paint(figure)
        file = folder / f"{name}.svg"
        figure.savefig(file, metadata={"Date": None})
    return file


def main() -> None:
    """Draws all pictures."""
    FOLDER.mkdir(exist_ok=True)
    _trial(clock="steps", seed=0)  # the first one also loads modules
    for name in PICTURES:
        print(draw(name, FOLDER))


if __name__ == "__main__":
    main()
