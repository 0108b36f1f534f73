"""Explains a score, down to the evaluations that it is computed from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scoring.cells import Cell
from scoring.escaping import one_line
from scoring.leaderboard import Leaderboard, Standing
from scoring.names import known_names
from scoring.plain import to_plain
from scoring.profiles import credit
from scoring.reading.results import Trial
from scoring.records import Goal, RecordError, Status
from scoring.report.tables import pair_row
from scoring.tree import EVALUATIONS_FILE

_MOST_FACTS = 5  # of a proof that are shown; --json has all


@dataclass(frozen=True, slots=True)
class Reason:
    """One step of an explanation: a sentence, its numbers, and the reasons for it.

    `against` is what the tests of a submission's differences from the others say.
    """

    text: str
    facts: dict[str, Any]
    because: list[Reason] = field(default_factory=list)
    against: list[Reason] = field(default_factory=list)

    def to_plain(self) -> dict[str, Any]:
        """The reason as plain data, for --json."""
        because = [reason.to_plain() for reason in self.because]
        against = [reason.to_plain() for reason in self.against]
        plain = {"text": self.text, **to_plain(self.facts), "because": because}
        return plain | ({"against": against} if against else {})


def explain(board: Leaderboard, submission: str, workload: str | None = None) -> Reason:
    """Explains a submission's score: workloads, medians, studies, trials, evaluation rows.

    Args:
        board: The leaderboard.
        submission: The name of a submission on it.
        workload: The only workload to explain, scored or held out; None for all.

    Raises:
        RecordError: There is no such submission or workload on the leaderboard.
    """
    standings = {standing.name: standing for standing in board.standings}
    if submission not in standings:
        raise RecordError(f"no submission {submission!r}. {known_names(submission, standings)}")
    scope, standing = board.results.scope, standings[submission]
    if workload is not None:
        if workload not in scope.workloads:
            known = known_names(workload, scope.workloads)
            raise RecordError(f"no workload {workload!r} on this leaderboard. {known}")
        return _workload(board, standing, workload)
    count = len(scope.scored)
    credits = {name: _credit(board, standing.cells[name]) for name in scope.scored}
    text = (
        f"{submission}: score {standing.score:.6f}, rank {standing.rank} of "
        f"{len(board.standings)} ({scope.ruleset.name}, {scope.tuning} tuning, method "
        f"{board.method.name}) = {math.fsum(credits.values()):.6f} / {count} workloads"
    )
    facts = {
        "submission": submission,
        "score": standing.score,
        "rank": standing.rank,
        "ruleset": scope.ruleset.name,
        "tuning": scope.tuning,
        "method": board.method.name,
    }
    because = [_workload(board, standing, name) for name in scope.scored]
    return Reason(text, facts, because, _against_others(board, submission))


def _against_others(board: Leaderboard, submission: str) -> list[Reason]:
    """Whether the submission is faster or slower than each other one."""
    tests = [test.seen_from(submission) for test in board.pairs if submission in test.names]
    return [Reason(test.in_words, pair_row(test)) for test in tests]


def _credit(board: Leaderboard, cell: Cell) -> float:
    """The credit of a workload; the score is the mean of these."""
    r_max = board.results.scope.ruleset.r_max
    return float(credit(np.array(cell.ratio), r_max, board.method.exact_area))


def _workload(board: Leaderboard, standing: Standing, workload: str) -> Reason:
    """A workload's credit: ratio, fastest, median, and the held-out variant."""
    scope, cell = board.results.scope, standing.cells[workload]
    w = board.studies.workloads.index(workload)
    facts: dict[str, Any] = {"workload": workload, "seconds": cell.seconds}
    facts |= {"steps": cell.steps, "training_work": cell.work}
    because = [_median(board, standing, workload)]
    if workload in scope.held_out:
        counts = f"does not count ({cell.reason})" if cell.reason else "counts"
        text = f"{workload}: held-out variant of {scope.held_out[workload]}, {counts}"
        return Reason(text, {**facts, "reason": cell.reason}, because)
    value = _credit(board, cell)
    facts |= {"ratio": cell.ratio, "credit": value, "reason": cell.reason}
    if cell.reason:
        text = f"{workload}: credit 0: {cell.reason}"
    else:
        fastest, r_max = float(board.stages.fastest[w]), scope.ruleset.r_max
        holders = [s.name for s in board.standings if s.cells[workload].ratio == 1]
        exact = f"({r_max:g} - {cell.ratio:.6f}) / {r_max - 1:g}"
        how = exact if board.method.exact_area else "100 trapezoids"
        text = (
            f"{workload}: credit {value:.6f} = {how}; ratio {cell.ratio:.6f} = "
            f"{cell.seconds:,.3f} s / {fastest:,.3f} s ({', '.join(holders)})"
        )
        facts |= {"fastest_seconds": fastest, "fastest": holders}
    variants = [v for v, base in scope.held_out.items() if base == workload]
    return Reason(text, facts, because + [_workload(board, standing, v) for v in variants])


def _median(board: Leaderboard, standing: Standing, workload: str) -> Reason:
    """The median over studies."""
    cell = standing.cells[workload]
    text = (
        f"median of {cell.studies} studies: {_seconds(cell.seconds)}; "
        f"{cell.reached} reached the target"
    )
    goal = board.results.scope.workloads[workload].goal
    by_study: dict[int, list[Trial]] = {}
    for trial in board.results.trials:
        counts = not (trial.extra and board.method.missing_is_infinite)
        if counts and (trial.submission, trial.workload) == (standing.name, workload):
            by_study.setdefault(trial.study, []).append(trial)
    studies = [
        _study(board, k, by_study.get(k, []), cell.counted[k], goal)
        for k in range(len(cell.counted))
    ]
    facts = {"studies": cell.studies, "reached": cell.reached, "seconds": cell.seconds}
    return Reason(text, facts, studies)


def _study(
    board: Leaderboard, study: int, trials: list[Trial], counted: Trial | None, goal: Goal
) -> Reason:
    """The trial that counts, or the closest evaluation of a study that missed."""
    facts: dict[str, Any] = {"study": study, "trials": len(trials)}
    if not trials:
        infinite = board.method.missing_is_infinite
        effect = "infinite" if infinite else "left out of the median"
        return Reason(f"study {study}: no trial was read: {effect}", facts)
    read = f"{len(trials)} of {board.results.scope.trials} trials read"
    if counted is None or counted.hit is None:
        because = [*_closest(trials, goal), *_endings(trials), *_found(trials)]
        return Reason(f"study {study}: a miss; {read}", facts, because)
    how = "fastest" if board.method.fastest_by_time else "earliest evaluation"
    hit = counted.hit
    facts |= {"seconds": hit.submission_seconds, "trial": counted.trial}
    facts |= {"steps": hit.global_step, "training_work": hit.work}
    seconds = _seconds(hit.submission_seconds)
    text = f"study {study}: {seconds} by trial {counted.trial} ({how}){hit.effort}; {read}"
    row = _row(counted, hit.line, hit.submission_seconds, hit.value, goal)
    return Reason(text, facts, [row, *_endings(trials), *_found(trials)])


def _endings(trials: list[Trial]) -> list[Reason]:
    """How each trial of a study ended and ran; unknown for logs of other harnesses."""
    return [_ending(trial) for trial in trials if trial.run.seed is not None]


def _ending(trial: Trial) -> Reason:
    """How a trial ended and ran, and why it was pruned, if it was."""
    facts = {"trial": trial.trial, "status": trial.status, "failure": trial.failure}
    facts |= {"message": trial.message, "hyperparameters": _hyperparameters(trial)}
    facts |= {**to_plain(trial.run), "cpu_share": trial.cpu_share}
    if trial.status == Status.PRUNED:
        how = (
            f"stopped after {_seconds(trial.submission_seconds)}, when it could no longer count"
            if trial.submission_seconds
            else "never started, since it could no longer count"
        )
    else:
        failure = f" ({trial.failure})" if trial.failure else ""
        message = f": {one_line(trial.message)}" if trial.message else ""
        how = f"{trial.status}{failure} after {_seconds(trial.submission_seconds)}{message}"
    return Reason(f"trial {trial.trial}: {how}", facts, [*_details(trial), *_proof(trial)])


def _details(trial: Trial) -> list[Reason]:
    """The hyperparameters of a trial, and how it ran."""
    run, point = trial.run, trial.hyperparameters
    lines = [f"hyperparameters: {point_in_words(point)}"] if point else []
    if trial.submission_seconds:
        parts = [f"{run.steps:,} steps" if run.steps is not None else ""]
        parts.append(f"batch size {run.batch_size}" if run.batch_size else "")
        share = trial.cpu_share
        parts.append(
            "" if share is None else f"{share:.0%} of {run.cpus} CPU{'s' * (run.cpus != 1)}"
        )
        parts.append(f"attempt {run.attempts}" if (run.attempts or 1) > 1 else "")
        parts.append(f"host {run.host}" if run.host else "")
        lines.append("ran with " + ", ".join(filter(None, parts)))
    return [Reason(line, {}) for line in lines]


def point_in_words(point: Mapping[str, Any]) -> str:
    """Hyperparameters as "learning_rate 0.01, beta2 0.999"."""
    return ", ".join(
        f"{name} {f'{value:.6g}' if isinstance(value, float) else value}"
        for name, value in point.items()
    )


def _proof(trial: Trial) -> list[Reason]:
    """The facts for which a pruned trial could no longer count."""
    lines = []
    for fact in trial.run.proof:
        name = f"{fact.get('submission')} on {fact.get('workload')}, study {fact.get('study')}"
        where = name if fact.get("submission") != trial.submission else f"study {fact.get('study')}"
        if fact.get("workload") != trial.workload:
            where = name
        known = (
            f"met the target at {_seconds(fact['met_at'])}"
            if "met_at" in fact
            else f"had not met it before {_seconds(fact.get('not_met_before', math.nan))}"
        )
        lines.append(f"{where}, trial {fact.get('trial')} {known}")
    more = [f"and {len(lines) - _MOST_FACTS} more"] if len(lines) > _MOST_FACTS else []
    shown = [*lines[:_MOST_FACTS], *more]
    return [Reason(f"it could no longer count, since {'; '.join(shown)}", {})] if shown else []


def _found(trials: list[Trial]) -> list[Reason]:
    """The findings of the trials that a reviewer should look at."""
    return [
        Reason(f"trial {trial.trial}, for reviewers: {finding}", {"finding": finding})
        for trial in trials
        for finding in trial.findings
    ]


def _closest(trials: list[Trial], goal: Goal) -> list[Reason]:
    """The best evaluation of trials that all missed, or one that met the goal too late."""
    best: tuple[float, Trial, int, float] | None = None
    for trial in trials:
        if trial.hit is not None:
            late = trial.hit
            return [_row(trial, late.line, late.submission_seconds, late.value, goal)]
        read = trial.read()
        for line, seconds, value in zip(read.lines, read.seconds, read.values, strict=True):
            if best is None or goal.better(value, best[0]):
                best = (value, trial, line, seconds)
    if best is None:
        return []
    value, trial, line, seconds = best
    return [_row(trial, line, seconds, value, goal)]


def _row(trial: Trial, line: int, seconds: float, value: float, goal: Goal) -> Reason:
    """One evaluation, with its file and line."""
    met = "meets" if goal.met_by(value) else "does not meet"
    budget = trial.criteria.budget_seconds
    late = f", after the budget of {_seconds(budget)}" if seconds > budget else ""
    file = trial.folder / EVALUATIONS_FILE
    text = (
        f"trial {trial.trial} at {_seconds(seconds)}{late}: {goal.metric} {value:.6g} {met} "
        f"{goal.condition} ({file}:{line})"
    )
    facts: dict[str, Any] = {"trial": trial.trial, "seconds": seconds, "value": value}
    facts |= {"file": str(file), "line": line, "hyperparameters": _hyperparameters(trial)}
    return Reason(text, facts)


def _hyperparameters(trial: Trial) -> Any:
    """The content of hparams.json; None if there is none that can be read."""
    return trial.hyperparameters or None


def _seconds(value: Any) -> str:
    try:
        value = float(value)
    except (TypeError, ValueError):  # of a damaged record
        return "an unknown time"
    return f"{value:,.3f} s" if math.isfinite(value) else "infinite"
