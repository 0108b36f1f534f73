"""Whether the pruned trials of results could indeed not change what the results are used for."""

from __future__ import annotations

import numpy as np

from scoring.pruning import Bounds, Rules, deadlines
from scoring.reading.results import Results
from scoring.records import RecordError, Status
from scoring.times import RULES, Method


def rules_of(results: Results) -> Rules:
    """Those that the results are scored by."""
    return Rules(results.grid.held_out, results.scope.ruleset.r_max)


def check(results: Results, rules: Rules | None, purpose: str) -> None:
    """Raises RecordError where `refusal` has a reason; the arguments are the same."""
    if reason := refusal(results, rules, purpose):
        raise RecordError(reason)


def refused_by(method: Method, results: Results) -> str:
    """Why results cannot be scored by a method, "" where they can."""
    rules = rules_of(results) if method is RULES else None
    return refusal(results, rules, f"--method {method.name}")


def refusal(results: Results, rules: Rules | None, purpose: str) -> str:
    """Why results are not good for a purpose: a pruned trial could have mattered; "" if none could.

    Args:
        results: With pruned trials or without.
        rules: What they are used for; None for what needs every trial in full.
        purpose: That in words, for the message.
    """
    pruned = [trial for trial in results.trials if trial.status == Status.PRUNED]
    if not pruned:
        return ""
    grid = results.grid
    if rules is not None:
        stop = deadlines(bounds_of(results), rules.held_out, rules.r_max).stop
    for trial in pruned:
        if trial.extra and rules is not None:  # beyond the plan: only the official method counts it
            continue
        deadline = np.inf if rules is None else stop[grid.place(trial)]
        if trial.ended < deadline:
            unit = results.scope.by.removesuffix("s")
            until = "its end" if np.isinf(deadline) else f"{unit} {deadline:,.2f}"
            return (
                f"{trial.folder}: was pruned at {unit} {trial.ended:,.2f}, but for "
                f"{purpose} it matters up to {until}; `chronograd resume` runs it on, or "
                "run the sweep with --pruning off"
            )
    return ""


def bounds_of(results: Results) -> Bounds:
    """What results say of every trial; nothing of those that were not read."""
    grid = results.grid
    bounds = Bounds.unknown(grid.shape)
    for trial in results.trials:
        if trial.extra:
            continue
        place = grid.place(trial)
        met = trial.hit is not None and trial.within_budget
        met_at = trial.hit.submission_seconds if met and trial.hit else None
        bounds.learn(place, met_at, trial.ended if trial.status == Status.PRUNED else None)
    return bounds
