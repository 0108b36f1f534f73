"""The leaderboard: scores, ranks, and all that they are made of."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from scoring.contention import contended
from scoring.efficiency import mixed_frameworks
from scoring.profiles import Stages, apply_rules, scores
from scoring.proofs import check, refused_by
from scoring.pruning import MEDIANS
from scoring.reading.results import Results, Scope, Submission, Trial
from scoring.records import RecordError
from scoring.reference import Reference
from scoring.remarks import (
    PRUNED_LEAVES_OPEN,
    differences,
    failed,
    heavy_steps,
    missing,
    predicted,
    ties,
    unrepeated,
)
from scoring.times import RULES, Method, StudyTimes, medians, study_times
from scoring.uncertainty import RESAMPLES, Uncertainty, bootstrap, repeated


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One submission on one workload, scored or held out.

    Attributes:
        seconds: Median time to target over the studies, infinite for a miss.
        at_least: What it is at least: less than `seconds` only where trials were pruned, and
            infinite for a miss.
        steps: Median steps to target, infinite for a miss; a step is a call of `update_params`.
        work: Median training work to target, infinite for a miss, in batches of the workload's
            size.
        ratio: Time over the fastest, infinite where it does not count; NaN for a held-out variant.
        reached: In how many studies the target was reached.
        studies: Of how many.
        reason: Why the ratio is infinite, "" where it is not.
        counted: By study the trial that counts, None for a miss.
    """

    seconds: float
    at_least: float
    steps: float
    work: float
    ratio: float
    reached: int
    studies: int
    reason: str
    counted: list[Trial | None]

    @property
    def pruned(self) -> bool:
        """Whether the time is only known to be more than `at_least`."""
        return math.isinf(self.seconds) and math.isfinite(self.at_least)


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """One submission on the leaderboard.

    Attributes:
        name: Its name.
        rank: From 1; ties share one.
        score: From 0 to 1.
        low: Lower end of the score's 95% interval.
        high: Upper end.
        sampling: Both ends where pruned trials are taken for misses.
        ranks: The probability of rank 1, 2, ...; pruned trials are taken for misses.
        ranks_low: What these probabilities are at least, whatever pruned trials would have given.
        ranks_high: And at most.
        beats: By name the probability of scoring above it.
        reference_score: Against the frozen reference, None without one.
        hours: On the submission clock over all trials read, failed ones included.
        trials: How many were `planned`, ended in each status, and are `missing`.
        cells: By workload, held-out variants last.
        source: Where it comes from.
    """

    name: str
    rank: int
    score: float
    low: float
    high: float
    sampling: tuple[float, float]
    ranks: list[float]
    ranks_low: list[float]
    ranks_high: list[float]
    beats: dict[str, float]
    reference_score: float | None
    hours: float
    trials: dict[str, int]
    cells: dict[str, Cell]
    source: Submission


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaderboard:
    """A scored set of results.

    Attributes:
        results: What was scored.
        method: How.
        standings: From best to worst; submissions that tie stand in order of name.
        studies: Time to target of every study.
        stages: The times after each rule; submissions in the order of `studies`.
        uncertainty: What resampling says.
        reference: What `reference_score` is relative to, if anything.
        differences: By submission how the official method scores it, where otherwise, and why.
        warnings: A line for all that makes the results incomplete, and what it does.
        remarks: A line for all else that a reader must know: what several folders do to a
            leaderboard, ties that the official method leaves to the file system.
    """

    results: Results
    method: Method
    standings: list[Standing]
    studies: StudyTimes
    stages: Stages
    uncertainty: Uncertainty
    reference: Reference | None
    differences: dict[str, str]
    warnings: list[str]
    remarks: list[str]

    @property
    def repeated(self) -> bool:
        """Whether intervals and rank probabilities say anything."""
        return repeated(self.results.scope, self.uncertainty.resampled)


def make_leaderboard(
    results: Results,
    method: Method = RULES,
    reference: Reference | None = None,
    resampled: str = "studies",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Leaderboard:
    """Scores and ranks the submissions against each other, and against a reference if given.

    Args:
        results: From `scoring.reading.read.read`.
        method: How.
        reference: Best times that a second score is relative to.
        resampled: What the intervals come from: "studies", or "workloads" for both.
        seed: Of the resamples.
        resamples: How many.

    Raises:
        RecordError: The reference was made under other rules, or a trial was pruned that matters.
    """
    scope = results.scope
    _check_pruned(results, method, reference)
    studies = study_times(results, method)
    times_sw = medians(studies.seconds_swk, method)
    stages = apply_rules(times_sw, scope)
    score_s = scores(stages, scope.ruleset.r_max, method.exact_area).round(12)
    uncertainty = bootstrap(studies, scope, method, resampled, seed, resamples)
    frozen_s = None
    if reference is not None:
        frozen_s = reference.scores(times_sw, scope, method)
    by_name = {
        name: list(trials) for name, trials in groupby(results.trials, lambda t: t.submission)
    }
    standings = []
    for s, name in enumerate(studies.submissions):
        hours, trials = _effort(scope, by_name.get(name, []))
        standings.append(
            Standing(
                name=name,
                rank=1 + int(np.count_nonzero(score_s > score_s[s])),
                score=float(score_s[s]),
                low=float(uncertainty.low[s]),
                high=float(uncertainty.high[s]),
                sampling=(float(uncertainty.sampling_low[s]), float(uncertainty.sampling_high[s])),
                ranks=uncertainty.ranks[s].tolist(),
                ranks_low=uncertainty.ranks_low[s].tolist(),
                ranks_high=uncertainty.ranks_high[s].tolist(),
                beats=dict(zip(studies.submissions, uncertainty.beats[s].tolist(), strict=True)),
                reference_score=None if frozen_s is None else float(frozen_s[s]),
                hours=hours,
                trials=trials,
                cells=_cells(results, method, studies, stages, s),
                source=results.submissions[name],
            )
        )
    standings.sort(key=lambda standing: (standing.rank, standing.name))
    return Leaderboard(
        results=results,
        method=method,
        standings=standings,
        studies=studies,
        stages=stages,
        uncertainty=uncertainty,
        reference=reference,
        differences=differences(results) if method is RULES and not scope.asked else {},
        warnings=[*results.warnings, *missing(results, method), *predicted(results)],
        remarks=_remarks(results, studies, method, uncertainty),
    )


def _remarks(
    results: Results, studies: StudyTimes, method: Method, uncertainty: Uncertainty
) -> list[str]:
    """What else readers of the scores must know."""
    scope, resampled = results.scope, uncertainty.resampled
    lines = [*results.remarks, *mixed_frameworks(results), *failed(results), *contended(results)]
    lines += unrepeated(scope, resampled)
    lines += heavy_steps(studies, scope)
    if repeated(scope, resampled) and uncertainty.is_open:
        lines.append(PRUNED_LEAVES_OPEN)
    return lines + ties(studies, method, scope)


def _check_pruned(results: Results, method: Method, reference: Reference | None) -> None:
    """Raises RecordError where a trial was pruned that could have mattered."""
    if reason := refused_by(method, results):
        raise RecordError(reason)
    if reference is not None:
        check(results, MEDIANS, "--reference")


def _effort(scope: Scope, trials: list[Trial]) -> tuple[float, dict[str, int]]:
    """Hours and outcomes of a submission's trials."""
    planned = len(scope.workloads) * scope.studies * scope.trials
    outcomes = Counter(trial.status for trial in trials)
    missing = planned - sum(not trial.extra for trial in trials)
    hours = math.fsum(trial.submission_seconds for trial in trials) / 3600
    return hours, {"planned": planned, **dict(sorted(outcomes.items())), "missing": missing}


def _cells(
    results: Results, method: Method, studies: StudyTimes, stages: Stages, s: int
) -> dict[str, Cell]:
    """What a leaderboard shows of submission number `s`, by workload."""
    scope, name = results.scope, studies.submissions[s]
    steps_w, work_w = (medians(of[s], method) for of in (studies.steps_swk, studies.work_swk))
    least_w = medians(studies.floor_swk[s], method)
    cells: dict[str, Cell] = {}
    for w, workload in reversed(list(enumerate(studies.workloads))):  # variants before workloads
        seconds_k = studies.seconds_swk[s, w]
        counted = [studies.counted.get((name, workload, k)) for k in range(len(seconds_k))]
        present = int(np.count_nonzero(~np.isnan(seconds_k)))
        cells[workload] = Cell(
            seconds=float(stages.median[s, w]),
            at_least=float(np.nan_to_num(least_w[w], nan=np.inf, posinf=np.inf)),
            steps=float(np.nan_to_num(steps_w[w], nan=np.inf, posinf=np.inf)),
            work=float(np.nan_to_num(work_w[w], nan=np.inf, posinf=np.inf)),
            ratio=float(stages.ratios[s, w]) if w < len(scope.scored) else math.nan,
            reached=sum(trial is not None for trial in counted),
            studies=scope.studies if method.missing_is_infinite else present,
            reason=_reason(scope, stages, s, w, present, least_w[w], cells),
            counted=counted,
        )
    return {workload: cells[workload] for workload in studies.workloads}


def _reason(
    scope: Scope, stages: Stages, s: int, w: int, present: int, least: float, later: dict[str, Cell]
) -> str:
    """Why a time does not count, "" where it does.

    Args:
        scope: What a score is made over.
        stages: The times after each rule.
        s: The submission's number.
        w: The workload's.
        present: Of how many studies trials were read.
        least: The median is at least this, infinite for a sure miss.
        later: The cells of the variants.
    """
    if present == 0:
        return "no trial read"
    if math.isinf(stages.median[s, w]) and math.isfinite(least):
        return "pruned: it could not count any more"
    if math.isinf(stages.median[s, w]):
        return "target missed"
    if math.isinf(stages.entered[s, w]):
        return "its workload missed"
    if math.isinf(stages.capped[s, w]):
        return f"over {scope.ruleset.r_max:g}× the fastest ({stages.best[w]:,.1f} s)"
    if w < len(scope.scored) and math.isinf(stages.counted[s, w]):
        workload = list(scope.workloads)[w]
        variant = next(
            v for v, base in scope.held_out.items() if base == workload and later[v].reason
        )
        return f"held-out {variant}: {later[variant].reason}"
    return ""
