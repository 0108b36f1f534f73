"""Finds trials that did not have their CPUs to themselves, so that their times are unreliable."""

from __future__ import annotations

from scoring.reading.results import Results, Trial
from scoring.records import ClockKind

ENOUGH = 0.9  # of the CPUs that a trial should have while the submission clock runs
SHORTEST = 1.0  # seconds: a shorter trial has too few ticks of the CPU's clock


def contended(results: Results) -> list[str]:
    """A line per submission and workload with trials that had less than 90% of their CPUs.

    Only measured times are affected: there are no lines on the step clock. Trials on GPUs are left
    out, since their processes wait for the device.
    """
    if results.scope.clock != ClockKind.WALL:
        return []
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in results.trials:
        if trial.cpu_share is not None and trial.submission_seconds >= SHORTEST:
            groups.setdefault((trial.submission, trial.workload), []).append(trial)
    lines = []
    for (submission, workload), trials in groups.items():
        shares = [trial.cpu_share or 0.0 for trial in trials]
        short = [share for share in shares if share < ENOUGH]
        if short:
            lines.append(
                f"{submission} on {workload}: {len(short)} of {len(trials)} trials had less than "
                f"{ENOUGH:.0%} of their CPUs (the lowest {min(short):.0%}): other work slowed them "
                "down, so ratios of their times are unreliable"
            )
    return lines
