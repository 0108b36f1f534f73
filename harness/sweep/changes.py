"""Extends the plan of a results tree; refuses changes that trials of one tree may not have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from harness.submission import loading
from harness.submission.files import earlier_hash, is_imported
from harness.sweep.plan import PlanError
from scoring.experiment import Experiment, PlannedSubmission
from scoring.records import RunOptions
from scoring.tree import EXPERIMENT_FILE


def plan_of(out: Path) -> Experiment | None:
    """Returns the plan of a results tree; None if there is none yet."""
    return Experiment.read(out).at(out) if (out / EXPERIMENT_FILE).is_file() else None


def extend(old: Experiment, new: Experiment, out: Path, accepted: Sequence[str] = ()) -> Experiment:
    """Returns the plan of `out` with the submissions, workloads and studies that `new` adds.

    Args:
        old: The plan of `out`.
        new: The requested plan.
        out: The results tree.
        accepted: Files of submissions that may have changed because no trial depends on them.

    Raises:
        PlanError: The plans differ in something that must be the same for all trials of a tree, or
            a submission's code or search space has changed.
    """
    for name, (before, now) in sorted(_fixed(old, new).items()):
        if before != now:
            shown = ("its rules", "other rules") if name == "ruleset" else (before, now)
            raise PlanError(
                f"{out}: was planned with {name} {shown[0]}, not {shown[1]}; choose another --out"
            )
    submissions = {**old.submissions, **new.submissions}
    if new.studies <= old.studies:
        submissions = {**new.submissions, **old.submissions}
    for name in sorted(old.submissions.keys() & new.submissions.keys()):
        before, now = old.submissions[name], new.submissions[name]
        found = _unchanged(name, before, now, out, accepted)
        submissions[name] = found.model_copy(
            update={"points": submissions[name].points, "path": submissions[name].path}
        )
    return old.model_copy(
        update={
            "submissions": submissions,
            "workloads": {**new.workloads, **old.workloads},
            "studies": max(old.studies, new.studies),
            "counts": _counts(old, new),
            "only": new.only,
        }
    )


def _counts(old: Experiment, new: Experiment) -> dict[str, dict[str, int]] | None:
    """The numbers of studies of both plans together, if results decide them in one of these."""
    if old.counts is None and new.counts is None:
        return None
    least = new.studies
    if new.counts is not None:
        least = min(count for counts in new.counts.values() for count in counts.values())
    known = {
        (name, workload): old.planned(name, workload)
        for name in old.submissions
        for workload in old.workloads
    }
    return {
        name: {
            workload: max(least, known.get((name, workload), 0))
            for workload in {**new.workloads, **old.workloads}
        }
        for name in {**old.submissions, **new.submissions}
    }


def _fixed(old: Experiment, new: Experiment) -> dict[str, tuple[Any, Any]]:
    """Returns old and new value, by name, of fields that all trials of a tree must share."""
    may_differ = {"submissions", "workloads", "studies", "counts", "environment", "only", "options"}
    of_both = {n: (getattr(old, n), getattr(new, n)) for n in Experiment.model_fields}
    options = {
        field.name: (getattr(old.options, field.name), getattr(new.options, field.name))
        for field in fields(RunOptions)
    }
    return {name: both for name, both in of_both.items() if name not in may_differ} | options


def _unchanged(
    name: str,
    old: PlannedSubmission,
    new: PlannedSubmission,
    out: Path,
    accepted: Sequence[str],
) -> PlannedSubmission:
    """Returns the plan of a submission that is already in `out`, with its accepted changes.

    Raises:
        PlanError: It differs from what `out` was planned with.
    """
    in_both = zip(old.points or [], new.points or [], strict=False)  # one may have more studies
    if any(before != now for before, now in in_both):
        raise PlanError(
            f"{out}: was planned with other hyperparameter points of {name}; choose another --out"
        )
    if old.hash == new.hash or (not old.files and _has_earlier_hash(old, new)):
        return old.model_copy(update={"files": new.files})
    changed = [
        file
        for file in sorted(old.files.keys() | new.files.keys())
        if old.files.get(file) != new.files.get(file) and (file in old.files or is_imported(file))
    ]
    refused = [file for file in changed if file not in accepted or is_imported(file)]
    if refused or not old.files:
        raise PlanError(f"{out}: {_what_changed(name, refused)}")
    notes = [f"{file}: {old.files[file]}, now {new.files.get(file, 'gone')}" for file in changed]
    return old.model_copy(update={"files": new.files, "accepted": (*old.accepted, *notes)})


def _has_earlier_hash(old: PlannedSubmission, new: PlannedSubmission) -> bool:
    """Whether `old` has the hash that earlier versions of chronograd gave to the same code."""
    return old.hash == earlier_hash(Path(new.path))


def _what_changed(name: str, files: Sequence[str]) -> str:
    """Describes changes and the remedy; `files` is empty if the tree has no digests of files."""
    if not files:
        return f"the code of submission {name} has changed; restore it, or choose another --out"
    code = any(map(is_imported, files))
    shown = ", ".join(files[:5]) + (f" and {len(files) - 5} more" if len(files) > 5 else "")
    advice = "restore them, or choose another --out"
    if not code:
        options = " ".join(f"--accept-change {file}" for file in files[:5])
        advice += f"; if no trial depends on them, pass {options}"
    what = "the code of submission {} has" if code else "files of submission {} have"
    return f"{what.format(name)} changed: {shown}; {advice}"


def refuse_foreign_code(planned: Experiment, out: Path, accepted: Sequence[str] = ()) -> None:
    """Refuses to run code from a path that only the results tree names.

    Raises:
        PlanError: A submission or workload is not in `out`, the working directory or the built-in
            library, or a submission's code differs from what was planned.
    """
    places = [submission.path for submission in planned.submissions.values()]
    places += [rules.folder for rules in planned.workloads.values() if rules.folder]
    foreign = [place for place in places if not is_trusted(Path(place), out)]
    if foreign:
        raise PlanError(
            f"{out}: refers to code outside it and the working directory ({', '.join(foreign)}); "
            "to run it, add --trust"
        )
    for name, old in planned.submissions.items():
        place = Path(old.path)
        if loading.file_of(place).is_file():  # a missing file is reported when it is loaded
            found = {"hash": loading.content_hash(place), "files": loading.digests(place)}
            _unchanged(name, old, old.model_copy(update=found), out, accepted)


def is_trusted(place: Path, out: Path) -> bool:
    """Returns whether a path is in a results tree, the working directory or the library."""
    roots = (out.resolve(), Path.cwd(), loading.library().resolve())
    return any(place.resolve().is_relative_to(root) for root in roots)
