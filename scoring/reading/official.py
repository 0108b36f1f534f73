"""Reads logs in AlgoPerf's layout, from AlgoPerf's own runner or another.

    LOGS[/external_tuning]/<submission>/study_<k>/<workload>_<framework>/trial_<n>/
        eval_measurements.csv

They contain neither goals nor a plan: both come from the ruleset. Their tuning is given by a folder
`external_tuning` or `self_tuning`, inside LOGS or above it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scoring.experiment import Criteria
from scoring.files import is_hidden, without_links
from scoring.reading.evaluations import STEP, Evaluations, read_evaluations
from scoring.reading.results import Run, Scope, Submission, Trial
from scoring.records import RecordError
from scoring.tree import EVALUATIONS_FILE

_FOLDERS = {"external": "external_tuning", "self": "self_tuning"}
_DEPTH = 3  # how far below LOGS a submission may be
_STUDY = re.compile(r"study_(0|[1-9]\d{0,17})")
_WORKLOAD = re.compile(r"(.+)_(jax|pytorch)")
_TRIAL = re.compile(r"trial_(0|[1-9]\d{0,17})")


def tuning_of(root: Path, asked: str | None) -> str:
    """Finds the tuning of the logs under `root`: "external" or "self".

    Args:
        root: The folder of submissions, or of one submission.
        asked: The user's choice; needed only if no folder name gives it, or there are both kinds.

    Raises:
        RecordError: It is unknown, or the user's choice contradicts the folder names.
    """
    folders = list(_submission_folders(root, None, _DEPTH, []))
    if not folders:
        raise _no_logs(root)
    found = {_tuning_in_path(root, folder) for folder in folders}
    named = sorted(found - {None}, key=str)
    if asked is None and len(named) == 1:
        return str(named[0])
    if asked is None:
        what = (
            "contains logs of both kinds of tuning" if named
            else "no folder external_tuning or self_tuning shows how these logs were tuned"
        )  # fmt: skip
        raise RecordError(f"{root}: {what}; choose one: --tuning external or --tuning self")
    if not found & {asked, None}:
        raise RecordError(
            f"{root}: contains logs of {named[0]} tuning, by the folder {_FOLDERS[str(named[0])]}; "
            f"--tuning {asked} contradicts that: leave it out, or give other logs"
        )
    return asked


def _tuning_in_path(root: Path, folder: Path) -> str | None:
    """The tuning by the nearest folder above a submission, up to a few folders above `root`."""
    inside = folder.relative_to(root).parts
    for above in (root.absolute(), root.resolve()):
        for part in reversed([*above.parts[-1 - _DEPTH :], *inside]):
            for tuning, name in _FOLDERS.items():
                if part == name:
                    return tuning
    return None


def _no_logs(root: Path) -> RecordError:
    return RecordError(
        f"{root}: neither a results tree (no experiment.json) nor logs in AlgoPerf's layout (no "
        "<submission>/study_<k>); give the --out folder of a sweep, or the folder that contains "
        "the submissions"
    )


def read_logs(root: Path, scope: Scope) -> tuple[dict[str, Submission], list[Trial], list[str]]:
    """Reads the logs under `root`.

    Args:
        root: The folder of submissions, or of one submission.
        scope: The workloads and goals, and the numbers of studies and trials.

    Returns:
        The submissions by name, their trials, and warnings. If two folders have the same name, it
        is preceded by the folders above them.

    Raises:
        RecordError: There is no submission under `root`.
    """
    warnings: list[str] = []
    folders = list(_submission_folders(root, scope.tuning, _DEPTH, warnings))
    if not folders:
        raise _no_logs(root)
    same_name = Counter(folder.name for folder in folders)
    submissions: dict[str, Submission] = {}
    trials: list[Trial] = []
    for folder in folders:
        name = folder.name if folder != root else root.resolve().name
        if same_name[name] > 1:
            name = folder.relative_to(root).as_posix()
            warnings.append(
                f"{name}: another submission is called {folder.name} too; both are kept"
            )
        submissions[name] = Submission(tree=str(root), folder=folder, facts={})
        trials += _Log(name, folder, scope, warnings).trials()
    return submissions, trials, warnings


def _submission_folders(
    folder: Path, tuning: str | None, depth: int, warnings: list[str]
) -> Iterator[Path]:
    """The folders that contain studies, in order of name; warns of folders without any.

    Those of the other tuning are left out; none are if `tuning` is None.
    """
    others = {name for kind, name in _FOLDERS.items() if tuning not in (kind, None)}
    children = _folders(folder, warnings)
    if any(_STUDY.fullmatch(child.name) for child in children):
        yield folder
    elif depth:
        for child in children:
            if child.name in others:
                continue  # the other kind of tuning is scored separately
            strays: list[str] = []
            below = list(_submission_folders(child, tuning, depth - 1, strays))
            if not below:
                strays = [f"{child}: contains no study_<k> folder and is left out"]
            warnings += strays
            yield from below


@dataclass(frozen=True, slots=True)
class _Log:
    """One submission's logs; adds a warning for everything that is out of place."""

    name: str
    folder: Path
    scope: Scope
    warnings: list[str]

    def trials(self) -> Iterator[Trial]:
        """All trials of the workloads in scope that can be read."""
        studies = self._matching(self.folder, _STUDY, "study_<k>")
        numbers = _from_zero({int(match[1]) for _, match in studies}, self.scope.studies)
        places = [
            (numbers[int(match[1])], child, name[1], name[2])
            for folder, match in studies
            for child, name in self._matching(folder, _WORKLOAD, "<workload>_<framework>")
        ]
        frameworks = self._one_framework(Counter(place[2:] for place in places))
        left_out = set(self.scope.ruleset.workloads if self.scope.suite else ())
        unscored = Counter(
            child.name
            for _, child, workload, _ in places
            if workload not in frameworks and workload not in left_out
        )
        for name, count in sorted(unscored.items()):
            self.warnings.append(
                f"{self.folder}: {name} ({count} studies) is not among the workloads scored"
            )
        for study, folder, workload, framework in places:
            if frameworks.get(workload) == framework:
                yield from self._study(study, folder, workload)

    def _one_framework(self, studies: Counter[tuple[str, ...]]) -> dict[str, str]:
        """The framework that counts per workload in scope: the one of most studies, or pytorch."""
        kept: dict[str, str] = {}
        for workload, framework in sorted(studies, key=lambda key: (studies[key], key)):
            if workload not in self.scope.workloads:
                continue
            if workload in kept:
                self.warnings.append(
                    f"{self.folder}: has {workload} in two frameworks; {framework} counts, "
                    f"{kept[workload]} is left out"
                )
            kept[workload] = framework
        return kept

    def _study(self, study: int, folder: Path, workload: str) -> Iterator[Trial]:
        """The trials of one study on one workload."""
        criteria = self.scope.workloads[workload]
        for child, match in self._matching(folder, _TRIAL, "trial_<n>"):
            number = int(match[1])
            try:
                read = read_evaluations(child / EVALUATIONS_FILE, criteria.goal)
            except RecordError as error:
                self.warnings.append(f"{error}; the trial counts as missing")
                continue
            self.warnings.extend(f"{child / EVALUATIONS_FILE}: {fault}" for fault in read.faults)
            beyond = self.scope.beyond_plan(study, number)
            if beyond:
                self.warnings.append(f"{child}: {beyond}")
            yield _trial(self.name, workload, study, number, child, criteria, read, bool(beyond))

    def _matching(
        self, folder: Path, pattern: re.Pattern[str], form: str
    ) -> list[tuple[Path, re.Match[str]]]:
        """The folders in `folder` whose name matches; warns of the others."""
        found, stray = [], []
        for child in _folders(folder, self.warnings):
            match = pattern.fullmatch(child.name)
            if match is None:
                stray.append(child.name)
            else:
                found.append((child, match))
        if stray:
            self.warnings.append(f"{folder}: {', '.join(stray)}: no {form} folder, left out")
        return found


def _trial(
    submission: str,
    workload: str,
    study: int,
    number: int,
    folder: Path,
    criteria: Criteria,
    read: Evaluations,
    extra: bool,
) -> Trial:
    """A trial of the logs, of which only is known whether it met its goal."""
    hit = read.first_hit(criteria.goal)
    reached = hit is not None and hit.submission_seconds <= criteria.budget_seconds
    return Trial(
        submission=submission,
        workload=workload,
        study=study,
        trial=number,
        folder=folder,
        criteria=criteria,
        status="reached" if reached else "missed",
        failure="",
        message="",
        submission_seconds=max(read.seconds, default=0.0),
        evaluations=len(read.lines),
        hit=hit,
        extra=extra,
        run=Run(
            steps=_last(read, STEP),
            attempts=_last(read, "preemption_count", 1),
            eval_seconds=read.last("accumulated_eval_time"),
            total_seconds=read.last("total_duration"),
        ),
    )


def _last(read: Evaluations, column: str, more: int = 0) -> int | None:
    """The integer in the last row of a column plus `more`; None if there is none."""
    number = read.last(column)
    return None if number is None else int(number) + more


def _from_zero(numbers: set[int], planned: int) -> dict[int, int]:
    """Maps the numbers in folders' names, which may count from 1, to studies from 0.

    Those beyond the plan follow without gaps: a folder may be called study_20260101.
    """
    first = 1 if 0 not in numbers and planned in numbers else 0
    beyond = sorted(number for number in numbers if number - first >= planned)
    return {
        **{number: number - first for number in numbers},
        **{number: planned + place for place, number in enumerate(beyond)},
    }


def _folders(folder: Path, warnings: list[str]) -> list[Path]:
    """The folders in `folder`, except hidden ones, sorted by name."""
    try:
        children = sorted(folder.iterdir(), key=lambda child: child.name)
        found = without_links(c for c in children if c.is_dir() and not is_hidden(c.name))
    except OSError as error:
        warnings.append(f"{folder}: cannot be listed ({error}); everything in it is missing")
        return []
    for child in found:
        if not child.name.isprintable():
            warnings.append(f"{folder}: {child.name!a}: cannot be printed, left out")
    return [child for child in found if child.name.isprintable()]
