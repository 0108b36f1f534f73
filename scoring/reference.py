"""A frozen reference: best times to score against, so that a new entry changes no other score."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from scoring.plain import read_json, to_plain, write_json
from scoring.profiles import Floats, Stages, apply_rules, scores
from scoring.reading.results import Scope
from scoring.records import RecordError
from scoring.times import Method


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """Best times of a leaderboard, and the rules that they were found under.

    Attributes:
        best: The seconds that the cap at r_max is relative to, by workload and held-out variant.
        fastest: The seconds that ratios are relative to, by scored workload; infinite if no
            submission reached the target: one that does so later has ratio 1.
        rules: Ruleset, method, goals and budgets: they must be equal for scoring.
        made: The date, as YYYY-MM-DD.
        hash: SHA-256 of all of this.
    """

    best: dict[str, float]
    fastest: dict[str, float]
    rules: dict[str, Any]
    made: str
    hash: str

    def scores(self, times_sw: Floats, scope: Scope, method: Method) -> Floats:
        """Scores relative to the reference: (S,), each independent of the other submissions.

        Raises:
            RecordError: The reference was made under other rules.
        """
        mine = to_plain(_rules(scope, method))
        if self.rules != mine:
            key, theirs, ours = _difference(self.rules, mine)
            raise RecordError(
                f"the reference of {self.made} was made under another {key} ({_short(theirs)}, "
                f"here {_short(ours)}); save one from a leaderboard under these rules"
            )
        best = np.array([self.best[name] for name in scope.workloads])
        fastest = np.array([self.fastest[name] for name in scope.scored])
        stages = apply_rules(times_sw, scope, best, fastest)
        return scores(stages, scope.ruleset.r_max, method.exact_area).round(12)


def save_reference(path: Path, stages: Stages, scope: Scope, method: Method) -> None:
    """Writes the best times of a leaderboard to `path`."""
    content = {
        "rules": _rules(scope, method),
        "best": dict(zip(scope.workloads, stages.best.tolist(), strict=True)),
        "fastest": dict(zip(scope.scored, stages.fastest.tolist(), strict=True)),
        "made": date.today().isoformat(),
    }
    write_json(path, {**content, "hash": _hash(content)})


def load_reference(path: Path) -> Reference:
    """Reads what `save_reference` wrote.

    Raises:
        RecordError: It is not a reference file, or was changed after it was saved.
    """
    data = read_json(path)
    try:
        written = data.pop("hash")
        if written != _hash(data):
            raise RecordError(
                f"{path}: was changed after it was saved (its hash does not match); restore it"
            )
        best, fastest = (
            {str(name): float(seconds) for name, seconds in data[key].items()}
            for key in ("best", "fastest")
        )
        return Reference(
            best=best,
            fastest=fastest,
            rules=dict(data["rules"]),
            made=str(data["made"]),
            hash=written,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise RecordError(
            f"{path}: is not a reference ({reason}); write one with --save-reference"
        ) from None


def _rules(scope: Scope, method: Method) -> dict[str, Any]:
    """Everything that must be equal for scoring against a reference."""
    return {
        "ruleset": scope.ruleset.name,
        "tuning": scope.tuning,
        "method": method.name,
        "clock": scope.clock,
        "r_max": scope.ruleset.r_max,
        "studies": scope.studies,
        "held_out": scope.held_out,
        "workloads": scope.workloads,
    }


def _difference(theirs: Any, ours: Any, key: str = "") -> tuple[str, Any, Any]:
    """The first value in nested dicts that differs, as "workloads.ogbg.goal.target", and both."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        name = next(name for name in {**ours, **theirs} if theirs.get(name) != ours.get(name))
        return _difference(theirs.get(name), ours.get(name), f"{key}.{name}".lstrip("."))
    return key, theirs, ours


def _hash(content: dict[str, Any]) -> str:
    text = json.dumps(to_plain(content), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
