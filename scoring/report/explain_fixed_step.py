"""Explains the test of an entry at a fixed step, down to the lines of the logs."""

from __future__ import annotations

import math
from typing import Any

from scoring.fixed_step import FixedStepBoard, common_steps, losses_at
from scoring.loss_tests import Result
from scoring.noise import p_equals
from scoring.report.explain import Reason
from scoring.report.fixed_step import row
from scoring.verdicts import pair_verdict, verdict

_MOST_STEPS = 12  # of the steps at which the entry might have stopped


def explain(board: FixedStepBoard, result: Result) -> Reason:
    """Explains an entry: its verdict, mean, each run's line, other steps and other entries."""
    ranked = f", rank {result.rank} of {len(board.results)}" if result.rank else ""
    text = f"{result.name}: {verdict(board, result)}{ranked} ({board.runs.ruleset.name})"
    because = [] if result.test is None else [_test(board, result), _mean(result)]
    because += [_run(result, place) for place in range(len(result.entry.runs))]
    if not result.refused:
        because.append(_steps(board, result))
    if result in board.compared:
        because.append(_pairs(board, result))
    return Reason(text, row(board, result), because)


def _test(board: FixedStepBoard, result: Result) -> Reason:
    """The entry test with its numbers."""
    tester, test = board.tester, result.test
    assert test is not None
    target, n = board.runs.goal.target, len(result.losses)
    lead = f"{target:g} - {result.mean:.5f}"
    if board.runs.goal.direction == "max":
        lead = f"{result.mean:.5f} - {target:g}"
    relation = ">=" if test.passed else "<"
    by = "normal" if tester.noise.df is None else f"t with {tester.noise.df} degrees of freedom"
    text = (
        f"statistic ({lead}) * sqrt({n}) = {test.statistic:.6f} {relation} "
        f"{tester.threshold:.6g}; {p_equals(test.p)} (one-sided, {by}, sigma "
        f"{tester.noise.sigma:.5g})"
    )
    return Reason(text, {"statistic": test.statistic, "threshold": tester.threshold, "p": test.p})


def _mean(result: Result) -> Reason:
    text = f"mean of {len(result.losses)} runs at step {result.steps:,}: {result.mean:.6f}"
    if math.isfinite(result.deviation):
        text += f", standard deviation {result.deviation:.5f}"
    return Reason(text, {"mean_loss": result.mean, "steps": result.steps})


def _run(result: Result, place: int) -> Reason:
    """The line of a run at the stopping step, or its last line."""
    run = result.entry.runs[place]
    at = len(run.steps) - 1 if result.steps is None else run.at(result.steps)
    assert at is not None
    facts: dict[str, Any] = {"run": run.name, "loss": run.losses[at], "step": run.steps[at]}
    facts |= {"file": str(run.file), "line": run.lines[at], "planned_steps": run.planned}
    planned = f" of {run.planned:,} planned" if run.planned is not None else ""
    text = (
        f"{run.name}: loss {run.losses[at]:.5f} at step {run.steps[at]:,}{planned} "
        f"({run.file}:{run.lines[at]})"
    )
    details = [Reason(run.made_with, {})] if run.made_with else []
    return Reason(text, facts, details)


def _steps(board: FixedStepBoard, result: Result) -> Reason:
    """The last steps at which all runs were evaluated, and whether the entry passes there."""
    entry, lines = result.entry, []
    for step in common_steps(entry)[-_MOST_STEPS:]:
        losses = losses_at(entry, step)
        test = board.tester.entry(losses)
        passes = "passes" if test.passed else "does not pass"
        text = f"step {step:,}: mean loss {board.tester.mean(losses):.5f}, {passes}"
        lines.append(Reason(text, {"step": step, "passed": test.passed, "p": test.p}))
    text = (
        f"valid from step {result.valid_from:,}"
        if result.valid_from is not None
        else "valid at no step"
    )
    text += f", of the {result.looked_at} at which all runs were evaluated"
    return Reason(text, {"valid_from": result.valid_from}, lines)


def _pairs(board: FixedStepBoard, result: Result) -> Reason:
    """The tests against the other entries."""
    others = [other.name for other in board.compared if other is not result]
    lines = [Reason(pair_verdict(board, result.name, other), {"other": other}) for other in others]
    better = board.better[result.name]
    return Reason(f"better than {better} of {len(others)} other entries", {"better": better}, lines)
