"""The workloads of a suite under a ruleset."""

from __future__ import annotations

import workloads
from scoring.names import known_names
from scoring.rulesets import Ruleset


def members(suite: str, rules: Ruleset) -> list[str]:
    """Returns the workloads of a suite.

    They are those that the ruleset lists for the suite; if it lists none, those that declare the
    suite themselves and that the ruleset scores; if there are none, all that declare it.

    Raises:
        WorkloadNotFoundError: There is no such suite.
    """
    if listed := rules.suite(suite):
        return list(listed)
    if suite not in (known := workloads.suites()) and rules.suites:
        both = sorted({*known, *rules.suites})
        raise workloads.WorkloadNotFoundError(f"no suite {suite!r}. {known_names(suite, both)}")
    found = workloads.suite(suite)
    return [name for name in found if name in rules.scored] or found
