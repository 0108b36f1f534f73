"""A board's history: its versions, and what changed between them and why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scoring.leaderboard import Leaderboard
from scoring.plain import read_json, to_plain, write_json
from scoring.records import RecordError
from scoring.report.hashes import measurements_hash, ruleset_hash
from scoring.report.public import Public

HISTORY_FILE = "history.json"
Version = dict[str, Any]


def read_history(file: Path) -> list[Version]:
    """The versions that a site already has, the oldest first; none if there is no file.

    Raises:
        RecordError: The file is damaged; it is not overwritten.
    """
    if not file.exists():
        return []
    versions = read_json(file).get("versions")
    if not isinstance(versions, list) or not all(isinstance(v, dict) for v in versions):
        raise RecordError(f"{file}: damaged; restore it, or remove it to start a new history")
    return versions


def extend(file: Path, board: Leaderboard, made: str) -> list[Version]:
    """Adds a board to its history if measurements or rules have changed.

    Args:
        file: The history, which is only appended to.
        board: The board as it is now.
        made: The date.

    Returns:
        All versions, the oldest first.
    """
    versions = read_history(file)
    now = version_of(board, made)
    same = ("measurements", "ruleset", "method")
    if not versions or any(versions[-1].get(key) != now[key] for key in same):
        versions.append(now)
        write_json(file, {"versions": versions})
    return versions


def version_of(board: Leaderboard, made: str) -> Version:
    """The record of a board in its history."""
    results, public = board.results, Public.of(board.results)
    scored = results.scope.scored
    version: Version = to_plain(
        {
            "made": made,
            "measurements": measurements_hash(results),
            "ruleset": ruleset_hash(results),
            "method": board.method.name,
            "standings": [
                {
                    "name": public.text(standing.name),
                    "rank": standing.rank,
                    "score": standing.score,
                    "reference_score": standing.reference_score,
                    "code": standing.source.facts.get("hash", ""),
                    "times": {name: standing.cells[name].seconds for name in scored},
                }
                for standing in board.standings
            ],
        }
    )
    return version


def moves(before: Version, after: Version) -> list[str]:
    """A line for each submission that is new, left or moved between two versions, and why."""
    old = {entry["name"]: entry for entry in before["standings"]}
    new = {entry["name"]: entry for entry in after["standings"]}
    rules = []
    if before["ruleset"] != after["ruleset"] or before["method"] != after["method"]:
        rules = ["the rules changed: earlier and later scores cannot be compared"]
    lines = [f"{name} is new, at rank {new[name]['rank']}" for name in new if name not in old]
    lines += [f"{name} left" for name in old if name not in new]
    faster = _faster(old, new)
    for name in new.keys() & old.keys():
        lines += _move(name, old[name], new[name], faster)
    return rules + sorted(lines)


def _move(
    name: str, old: Mapping[str, Any], new: Mapping[str, Any], faster: Mapping[str, str]
) -> list[str]:
    """The line of a submission on both boards; none if it did not change."""
    own = [w for w in new["times"] if new["times"][w] != old["times"].get(w)]
    if new["rank"] == old["rank"] and abs(new["score"] - old["score"]) < 5e-7 and not own:
        return []
    reasons = [f"its own time on {', '.join(own)} changed"] if own else []
    reasons += [
        f"{holder} set the fastest time on {workload}"
        for workload, holder in faster.items()
        if holder != name
    ]
    if old["code"] != new["code"]:
        reasons.insert(0, "its code changed")
    moved = f"rank {old['rank']} to {new['rank']}, " if old["rank"] != new["rank"] else ""
    change = new["score"] - old["score"]
    why = "; ".join(reasons) or "other submissions were added or left"
    return [f"{name}: {moved}score {new['score']:.4f} ({change:+.4f}): {why}"]


def _faster(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """The submission with the fastest time, by workload, if that time has changed."""
    found = {}
    workloads = next(iter(new.values()))["times"] if new else {}
    for workload in workloads:
        before = min((_time(entry, workload) for entry in old.values()), default=float("inf"))
        holder = min(new, key=lambda name: _time(new[name], workload))
        if _time(new[holder], workload) != before:
            found[workload] = holder
    return found


def _time(entry: Mapping[str, Any], workload: str) -> float:
    return float(entry["times"].get(workload, "inf"))
