"""Which workloads a suite has under a ruleset."""

from __future__ import annotations

import workloads
from scoring.rulesets import Ruleset


def members(suite: str, rules: Ruleset) -> list[str]:
    """The workloads of a suite: those that the ruleset lists, or that say so themselves.

    Of the latter only those that the ruleset scores, if it scores any of them.

    Raises:
        WorkloadNotFoundError: There is no such suite.
    """
    if listed := rules.suite(suite):
        return list(listed)
    found = workloads.suite(suite)
    return [name for name in found if name in rules.scored] or found
