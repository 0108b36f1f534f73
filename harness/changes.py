"""What may differ between a results tree's plan and what is asked for or found now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness import submission
from harness.plan import Experiment, PlanError, PlannedSubmission


def extend(old: Experiment, new: Experiment, out: Path) -> Experiment:
    """The plan of `out` with what `new` adds: submissions, workloads, studies.

    Raises:
        PlanError: They disagree on something that cannot be mixed in one tree, or a submission's
            code or search space changed since.
    """
    may_differ = {"submissions", "workloads", "studies", "environment", "only"}
    fixed = set(Experiment.model_fields) - may_differ
    for name in sorted(fixed):
        before, now = getattr(old, name), getattr(new, name)
        if before != now:
            shown = ("its rules", "other rules") if name == "ruleset" else (before, now)
            raise PlanError(
                f"{out}: was planned with {name} {shown[0]}, not {shown[1]}; choose another --out"
            )
    for name in sorted(old.submissions.keys() & new.submissions.keys()):
        _refuse_changes(name, old.submissions[name], new.submissions[name], out)
    if new.studies > old.studies:
        submissions = {**old.submissions, **new.submissions}
    else:
        submissions = {**new.submissions, **old.submissions}
    return old.model_copy(
        update={
            "submissions": submissions,
            "workloads": {**new.workloads, **old.workloads},
            "studies": max(old.studies, new.studies),
            "only": new.only,
        }
    )


def _refuse_changes(name: str, old: PlannedSubmission, new: PlannedSubmission, out: Path) -> None:
    """Raises PlanError where a submission is no longer what `out` was planned with."""
    if old.hash != new.hash:
        raise PlanError(
            f"{out}: the code of submission {name} changed since (SHA-256 {old.hash[:12]}, now "
            f"{new.hash[:12]}); restore it, or choose another --out"
        )
    in_both = zip(old.points or [], new.points or [], strict=False)  # one may have more studies
    if any(before != now for before, now in in_both):
        raise PlanError(
            f"{out}: was planned with other hyperparameter points of {name}; choose another --out"
        )


def refuse_foreign_code(planned: Experiment, out: Path) -> None:
    """Refuses code that a tree names by its path, where only the tree says that it is meant.

    Raises:
        PlanError: A submission is neither in `out` nor in the working directory nor the library's,
            or its code is not that which was planned.
    """
    known = (out.resolve(), Path.cwd(), submission.library().resolve())
    foreign = [p.path for p in planned.submissions.values() if not _is_in(Path(p.path), known)]
    if foreign:
        raise PlanError(
            f"{out}: names code outside it and the working directory ({', '.join(foreign)}); if "
            "you want to run that, add --trust"
        )
    for name, old in planned.submissions.items():
        if submission.file_of(Path(old.path)).is_file():  # else it is said which is missing
            now = old.model_copy(update={"hash": submission.content_hash(Path(old.path))})
            _refuse_changes(name, old, now, out)


def _is_in(place: Path, roots: Sequence[Path]) -> bool:
    return any(place.resolve().is_relative_to(root) for root in roots)
