"""Hashes of the rules and of the measurements of a board, to compare boards."""

from __future__ import annotations

import hashlib
import json

from scoring.files import read_bytes
from scoring.plain import to_plain
from scoring.reading.results import Results
from scoring.tree import EVALUATIONS_FILE


def measurements_hash(results: Results) -> str:
    """SHA-256 of the names, numbers and bytes of every eval_measurements.csv that was read."""
    digest = hashlib.sha256()
    for trial in results.trials:
        key = [trial.submission, trial.workload, trial.study, trial.trial]
        digest.update(json.dumps(key).encode())
        digest.update(hashlib.sha256(read_bytes(trial.folder / EVALUATIONS_FILE)).digest())
    return digest.hexdigest()


def ruleset_hash(results: Results) -> str:
    """SHA-256 of the ruleset and of all goals and budgets as applied."""
    scope = results.scope
    content = [scope.ruleset.model_dump(), to_plain(scope.workloads), scope.tuning, scope.studies]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
