"""Speedup over one submission: the geometric mean of time ratios, also in AlgoPerf's own form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scoring import rulesets
from scoring.names import known_names
from scoring.profiles import Floats
from scoring.proofs import check, refused_by
from scoring.pruning import MEDIANS
from scoring.reading.results import Results, Scope
from scoring.records import RecordError
from scoring.times import OFFICIAL, Method, medians, study_times


@dataclass(frozen=True, slots=True)
class Speedup:
    """How much faster one submission is than another, over all scored workloads.

    Attributes:
        ratio: Geometric mean of its time over the other's; below 1 is faster. A miss counts as the
            budget plus one second.
        official: The same as `compute_speedups.py` computes it: medians by the official method,
            the script's budgets, and NaN if a workload was not run at all or a trial that this
            method needs was pruned.
    """

    ratio: float
    official: float


def speedups(results: Results, method: Method, baseline: str) -> dict[str, Speedup]:
    """The speedup of every submission over `baseline`, by name.

    Neither the cap at r_max nor the rule for held-out variants applies: raw medians are compared.

    Raises:
        RecordError: There is no submission `baseline`, or a pruned trial could change a median.
    """
    check(results, MEDIANS, "--speedup")
    names = list(results.submissions)
    if baseline not in names:
        known = known_names(baseline, names)
        raise RecordError(f"no submission {baseline!r} to compare with. {known}")
    scope, place = results.scope, names.index(baseline)
    budgets = np.array([scope.workloads[name].budget_seconds for name in scope.scored])
    ratio_s = _geometric_means(_medians(results, method), budgets, place)
    official_sb = _medians(results, OFFICIAL)
    absent_s = np.any(np.isnan(official_sb), axis=1)
    official_s = _geometric_means(official_sb, _official_budgets(scope, budgets), place)
    official_s[absent_s | absent_s[place] | bool(refused_by(OFFICIAL, results))] = np.nan
    return {name: Speedup(float(ratio_s[s]), float(official_s[s])) for s, name in enumerate(names)}


def _medians(results: Results, method: Method) -> Floats:
    """Median seconds of the scored workloads: (S, B)."""
    times_sw = medians(study_times(results, method).seconds_swk)
    return times_sw[:, : len(results.scope.scored)]


def _geometric_means(times_sb: Floats, budgets_b: Floats, place: int) -> Floats:
    """The mean ratio to row `place`, where a miss is the budget plus one second: (S,)."""
    finite = np.where(np.isfinite(times_sb), times_sb, budgets_b + 1)
    means: Floats = np.exp(np.log(finite / finite[place]).mean(axis=1))
    return means


def _official_budgets(scope: Scope, budgets_b: Floats) -> Floats:
    """The budgets that the official script would use: (B,)."""
    name = scope.ruleset.official_speedup_ruleset
    if name is None:
        return budgets_b
    rules = rulesets.load(name)
    held = [rules.budget(workload, scope.tuning) for workload in scope.scored]
    return np.array([b if h is None else h for h, b in zip(held, budgets_b, strict=True)])
