"""The outcomes of tests on a board at a fixed step, in words."""

from __future__ import annotations

import math

from scoring.fixed_step import FixedStepBoard
from scoring.loss_tests import Result
from scoring.noise import p_equals


def verdict(board: FixedStepBoard, result: Result) -> str:
    """The outcome of the entry test in words."""
    p, test = board.runs.rules.p, result.test
    if test is None:
        return f"not tested: {result.refused}"
    if test.passed and test.p < p:
        return f"valid at p < {p:g}"
    if test.passed:
        return f"valid by the threshold {board.tester.threshold:g} (p = {test.p:.2g})"
    if not math.isfinite(result.mean):
        return "not valid: a run diverged"
    if test.more_runs is None:
        return f"not valid: the mean loss does not meet {board.runs.goal.condition}"
    return (
        f"not valid, {p_equals(test.p)}: {test.more_runs:,} more "
        f"run{'s' * (test.more_runs > 1)} with this mean would decide"
    )


def pair_verdict(board: FixedStepBoard, first: str, second: str) -> str:
    """Whether the first entry is better or worse than the second, in words."""
    test = board.pairs.get((first, second))
    if test is None:
        return f"not compared with {second}"
    if test.passed:
        return f"better than {second}, {p_equals(test.p)}"
    reverse = board.pairs[second, first]
    if reverse.passed:
        return f"worse than {second}, {p_equals(reverse.p)}"
    text = f"not shown to be better than {second}, {p_equals(test.p)}"
    if test.more_runs is None:
        return f"{text}: no number of runs would show it at this difference"
    return f"{text}: {test.more_runs:,} more run{'s' * (test.more_runs > 1)} per side would decide"
