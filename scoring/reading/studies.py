"""The planned studies: their number, where results decided it, and which trials are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scoring.experiment import Experiment
from scoring.reading.results import Scope, Submission, Trial


def study_counts(
    experiments: Mapping[str, Experiment], submissions: Mapping[str, Submission], scope: Scope
) -> dict[tuple[str, str], int]:
    """The number of studies by submission and workload, if results decided it in a tree."""
    if all(experiment.counts is None for experiment in experiments.values()):
        return {}
    counts = {}
    for name, submission in submissions.items():
        experiment = experiments.get(submission.tree)
        for workload in scope.workloads:
            if experiment is None:  # of logs
                counts[name, workload] = scope.ruleset.studies
            elif workload in experiment.workloads:
                counts[name, workload] = experiment.planned(submission.folder.name, workload)
            else:
                counts[name, workload] = 1  # missing
    return counts


def chosen_by_results(experiments: Mapping[str, Experiment]) -> list[str]:
    """A remark for each tree in which results decided how many studies to run."""
    return [
        f"{tree}: --studies auto chose the number of studies, {shown} by submission and "
        "workload: more where the order was undecided. Each median is over the studies that were "
        "run; intervals of submissions with few studies are the least reliable"
        for tree, experiment in experiments.items()
        if experiment.counts is not None
        for counts in [{n for by in experiment.counts.values() for n in by.values()}]
        for shown in [" to ".join(map(str, sorted({min(counts), max(counts)})))]
    ]


def missing_trials(
    submissions: Mapping[str, Submission], trials: Sequence[Trial], scope: Scope
) -> dict[tuple[str, str], dict[int, list[int]]]:
    """The planned trials that were not read: by submission and workload, then by study."""
    read = {(t.submission, t.workload, t.study, t.trial) for t in trials}
    missing: dict[tuple[str, str], dict[int, list[int]]] = {}
    for name in sorted(submissions):
        for workload in scope.workloads:
            for study in range(scope.planned(name, workload)):
                absent = [
                    trial
                    for trial in range(1, scope.trials + 1)
                    if (name, workload, study, trial) not in read
                ]
                if absent:
                    missing.setdefault((name, workload), {})[study] = absent
    return missing
