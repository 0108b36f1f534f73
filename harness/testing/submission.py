"""What every submission must keep: what `chronograd check` checks."""

from __future__ import annotations

from pathlib import Path

import workloads
from harness.commands.check import findings
from harness.submission import loading
from workloads import tiny


class SubmissionContract:
    """Tests that a submission keeps the contract; give a fixture `submission`, its name or path."""

    def test_the_contract_is_kept(self, submission: str | Path) -> None:
        """As `chronograd check`: what breaks it, where, and how to fix it."""
        place = loading.find(str(submission))
        broken = [
            f"{finding.check} ({finding.where}): {finding.what}; fix: {finding.fix}"
            for finding in findings(place, tiny.workloads, workloads.names())
            if not finding.passed
        ]
        assert not broken, "\n".join(broken)
