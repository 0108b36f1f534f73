"""Checks that the pruned trials of results could not change what the results are used for."""

from __future__ import annotations

import numpy as np

from scoring.pruning import Bounds, Rules, deadlines
from scoring.reading.results import Results
from scoring.records import RecordError, Status
from scoring.times import RULES, Method


def rules_of(results: Results) -> Rules:
    """The rules that the results are scored by."""
    return Rules(results.grid.held_out, results.scope.ruleset.r_max)


def check(results: Results, rules: Rules | None, purpose: str) -> None:
    """Raises RecordError if `refusal` returns a reason; takes the same arguments."""
    if reason := refusal(results, rules, purpose):
        raise RecordError(reason)


def refused_by(method: Method, results: Results) -> str:
    """Why results cannot be scored by a method; "" if they can."""
    rules = rules_of(results) if method is RULES else None
    return refusal(results, rules, f"--method {method.name}")


def refusal(results: Results, rules: Rules | None, purpose: str) -> str:
    """Why results cannot be used for a purpose: a pruned trial could have mattered; else "".

    Args:
        results: Results with or without pruned trials.
        rules: The rules that decide whether a trial matters; None if all trials are needed.
        purpose: The purpose in words, for the message.
    """
    pruned = [trial for trial in results.trials if trial.status == Status.PRUNED]
    if not pruned:
        return ""
    grid = results.grid
    if rules is not None:
        stop = deadlines(bounds_of(results), rules.held_out, rules.r_max).stop
    for trial in pruned:
        if trial.extra and rules is not None:  # only the official method counts it
            continue
        deadline = np.inf if rules is None else stop[grid.place(trial)]
        if trial.ended < deadline:
            unit = results.scope.by.removesuffix("s")
            until = "its end" if np.isinf(deadline) else f"{unit} {deadline:,.2f}"
            return (
                f"{trial.folder}: was pruned at {unit} {trial.ended:,.2f}, but for "
                f"{purpose} it matters up to {until}; continue it with `chronograd resume`, or "
                "run the sweep with --pruning off"
            )
    return ""


def bounds_of(results: Results) -> Bounds:
    """The bounds of every trial's time to target; trials that were not read are unknown."""
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
