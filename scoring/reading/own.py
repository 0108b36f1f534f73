"""Reads the trials of a results tree of this harness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from scoring.experiment import Criteria, Experiment, PlannedSubmission
from scoring.integrity import findings
from scoring.reading.evaluations import MOST, read_evaluations
from scoring.reading.results import Run, Scope, Submission, Trial
from scoring.reading.verification import read_verification
from scoring.records import ClockKind, RecordError, TrialResult, TrialSpec
from scoring.tree import EVALUATIONS_FILE, read_ending, trial_folders


def read_own(
    out: Path, experiment: Experiment, scope: Scope, criteria: Mapping[str, Criteria]
) -> tuple[dict[str, Submission], list[Trial], list[str]]:
    """Reads the trials of the results tree `out`.

    Args:
        out: The results tree.
        experiment: The plan of the tree.
        scope: The workloads, and the numbers of studies and trials.
        criteria: The goal and budget of workloads that are not judged by those in trial.json.

    Returns:
        The submissions by name, their trials of the workloads in scope, and warnings.

    Raises:
        RecordError: The tree has both trials on the step clock and measured ones.
    """
    trials: list[Trial] = []
    warnings = [
        f"{out}: {name} is not among the workloads scored"
        for name in experiment.workloads
        if name not in scope.workloads and scope.suite is None
    ]
    for folder in trial_folders(out):
        try:
            spec, ending, measured = read_ending(folder)
            if not _is_planned(spec, folder, experiment):
                warnings.append(f"{folder}: not a trial that experiment.json plans; left out")
                continue
            if spec.workload not in scope.workloads:
                continue
            _refuse_other_goal(spec, folder, experiment)
            judged_by = criteria.get(spec.workload)
            initialises = scope.ruleset.own_initialisation
            trial, faults = _trial(spec, ending, measured, folder, judged_by, initialises)
        except RecordError as error:
            warnings.append(f"{error}; the trial counts as missing")
            continue
        if spec.clock != experiment.options.clock:
            raise RecordError(
                f"{folder}: ran with --clock {spec.clock}, the tree with "
                f"{experiment.options.clock}; measured and counted times are not "
                "ranked together: score them separately"
            )
        if spec.workload not in criteria and trial.criteria != experiment.criteria[spec.workload]:
            planned = _words(experiment.criteria[spec.workload])
            faults.append(f"ran for {_words(trial.criteria)}, experiment.json plans {planned}")
        beyond = scope.beyond_plan(trial.study, trial.trial)
        warnings += [f"{folder}: {fault}" for fault in [*faults, beyond] if fault]
        trials.append(replace(trial, extra=bool(beyond)))
    submissions = {
        name: Submission(
            tree=str(out), folder=out / "submissions" / name, facts=_facts(planned, experiment)
        )
        for name, planned in experiment.submissions.items()
    }
    return submissions, trials, warnings


def _facts(planned: PlannedSubmission, experiment: Experiment) -> dict[str, str]:
    """What the plan states about a submission."""
    return {
        "path": planned.path, "hash": planned.hash, "search_space": experiment.search_space,
    }  # fmt: skip


def _refuse_other_goal(spec: TrialSpec, folder: Path, experiment: Experiment) -> None:
    """Raises RecordError if a trial ran for another goal than the plan of its tree."""
    goal = experiment.criteria[spec.workload].goal
    if spec.goal != goal:
        raise RecordError(
            f"{folder}: refused: it ran for {spec.goal}, experiment.json plans {goal}"
        )


def _is_planned(spec: TrialSpec, folder: Path, experiment: Experiment) -> bool:
    """Whether a trial belongs to the plan and is in the right folder."""
    place = (spec.submission, f"study_{spec.study}", f"{spec.workload}_pytorch")
    return (
        (*place, f"trial_{spec.trial}") == folder.parts[-4:]
        and spec.submission in experiment.submissions
        and spec.workload in experiment.workloads
        and spec.study in range(experiment.planned(spec.submission, spec.workload))
        and spec.trial in range(1, experiment.trials_per_study + 1)
    )


def _trial(
    spec: TrialSpec,
    ending: TrialResult,
    measured: int,
    folder: Path,
    criteria: Criteria | None,
    own_initialisation: bool,
) -> tuple[Trial, list[str]]:
    """One trial and its faults; `criteria` replaces the goal and budget that it ran with."""
    applied = Criteria(goal=spec.goal, budget_seconds=spec.budget_seconds)
    criteria = criteria or applied
    read = read_evaluations(folder / EVALUATIONS_FILE, criteria.goal)
    faults = [f"{EVALUATIONS_FILE} {fault}" for fault in read.faults]
    held = len(read.lines)
    if (held, measured) == (1, 0):  # a single row of NaN means none
        held = 0
    if held != measured:
        faults.append(f"{EVALUATIONS_FILE} has {held} evaluations, trial.json has {measured}")
    seconds = ending.submission_seconds
    if not 0 <= seconds < MOST:
        faults.append(f"trial.json gives its time as {seconds} s; its last evaluation counts")
        seconds = max(read.seconds, default=0.0)
    if criteria != applied:
        faults.append(
            f"ran for {_words(applied)}, is judged by {_words(criteria)}; it may have ended before "
            "it could meet that"
        )
    met = None
    if (spec.goal.metric, spec.goal.direction) == (criteria.goal.metric, criteria.goal.direction):
        met = read.first_hit(spec.goal) is not None
    found = findings(spec, ending, met, own_initialisation=own_initialisation)
    again = read_verification(folder, ending.global_step)
    contradictions = again.contradictions(spec) if again else []
    trial = Trial(
        submission=spec.submission,
        workload=spec.workload,
        study=spec.study,
        trial=spec.trial,
        folder=folder,
        criteria=criteria,
        status=ending.status.value,
        failure=ending.failure.value if ending.failure else "",
        message=str(ending.message),
        submission_seconds=seconds,
        evaluations=held,
        hit=read.first_hit(criteria.goal),
        findings=(*found, *contradictions),
        verified=(again and ("contradicted" if contradictions else "confirmed")) or "",
        work=ending.work,
        run=_run(spec, ending),
    )
    return trial, faults


def _run(spec: TrialSpec, ending: TrialResult) -> Run:
    """How a trial ran; anything but a number in a damaged record is left out."""
    host = ending.environment.get("host", "") if isinstance(ending.environment, dict) else ""
    return Run(
        seed=_count(spec.seed),
        batch_size=_count(ending.batch_size),
        steps=_count(ending.global_step),
        attempts=_count(ending.attempts),
        cpu_seconds=_seconds(ending.cpu_seconds) if spec.clock == ClockKind.WALL else None,
        cpus=(_count(spec.cpus_per_trial) or 1) * (_count(spec.processes) or 1)
        if spec.device == "cpu"
        else None,
        eval_seconds=_seconds(ending.eval_seconds),
        total_seconds=_seconds(ending.total_seconds),
        host=str(host),
        proof=_proof(ending.proof),
    )


def _proof(proof: object) -> tuple[dict[str, object], ...]:
    """The facts of a proof; damaged ones are left out."""
    facts = [fact for fact in proof if isinstance(fact, dict)] if isinstance(proof, list) else []
    times = ("met_at", "not_met_before")
    return tuple(f for f in facts if all(isinstance(f.get(t, 0), int | float) for t in times))


def _count(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value < MOST else None


def _seconds(value: float) -> float | None:
    return value if 0 <= value < MOST else None


def _words(criteria: Criteria) -> str:
    return f"{criteria.goal} within {criteria.budget_seconds:,.0f} s"
