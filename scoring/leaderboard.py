"""The leaderboard: scores, ranks, and everything that they are computed from."""

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
    """The result of one submission on one workload, scored or held out.

    Attributes:
        seconds: Median time to target over the studies, infinite for a miss.
        at_least: A lower bound of the median: below `seconds` only if trials were pruned;
            infinite for a miss.
        steps: Median steps to target, infinite for a miss; a step is a call of `update_params`.
        work: Median training work to target, infinite for a miss, in batches of the workload's
            size.
        ratio: Time over the fastest; infinite if it does not count, NaN for a held-out variant.
        reached: Number of studies in which the target was reached.
        studies: Number of all studies.
        reason: Why the ratio is infinite; "" if it is finite.
        counted: The trial that counts in each study; None for a miss.
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
        """Whether the time is only known to be above `at_least`."""
        return math.isinf(self.seconds) and math.isfinite(self.at_least)


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """One submission on the leaderboard.

    Attributes:
        name: Its name.
        rank: The rank from 1; submissions that tie share one.
        score: The score, from 0 to 1.
        low: Lower end of the score's 95% interval.
        high: Upper end.
        sampling: Both ends if pruned trials are taken as misses.
        ranks: The probability of rank 1, 2, ...; pruned trials are taken as misses.
        ranks_low: Lower bounds of these probabilities, whatever pruned trials would have measured.
        ranks_high: Upper bounds.
        beats: The probability of scoring above each submission, by name.
        reference_score: The score relative to the frozen reference, None without one.
        hours: Hours on the submission clock of all trials read, including failed ones.
        trials: The number of trials `planned`, of those in each status, and of those `missing`.
        cells: The result per workload, held-out variants last.
        source: Where the submission comes from.
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
        results: The results that were scored.
        method: How they were scored.
        standings: The submissions from best to worst; those that tie are in order of name.
        studies: Time to target of every study.
        stages: The times after each rule; submissions in the order of `studies`.
        uncertainty: The result of resampling.
        reference: What `reference_score` is relative to, if anything.
        differences: How the official method scores a submission and why, where scores differ.
        warnings: A line for each thing that is missing from the results, with its effect.
        remarks: A line for everything else that a reader must know, such as the effect of several
            folders, or ties that the official method leaves to the file system.
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
        """Whether intervals and rank probabilities are meaningful."""
        return repeated(self.results.scope, self.uncertainty.resampled)


def make_leaderboard(
    results: Results,
    method: Method = RULES,
    reference: Reference | None = None,
    resampled: str = "studies",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Leaderboard:
    """Scores and ranks the submissions relative to each other, and to a reference if given.

    Args:
        results: From `scoring.reading.read.read`.
        method: How to score.
        reference: Best times that a second score is relative to.
        resampled: What is resampled for the intervals: "studies", or "workloads" for both.
        seed: Seed for drawing the resamples.
        resamples: Number of resamples.

    Raises:
        RecordError: The reference was made under other rules, or a trial that matters was pruned.
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
    """Lists what else readers of the scores must know."""
    scope, resampled = results.scope, uncertainty.resampled
    lines = [*results.remarks, *mixed_frameworks(results), *failed(results), *contended(results)]
    lines += unrepeated(scope, resampled)
    lines += heavy_steps(studies, scope)
    if repeated(scope, resampled) and uncertainty.is_open:
        lines.append(PRUNED_LEAVES_OPEN)
    return lines + ties(studies, method, scope)


def _check_pruned(results: Results, method: Method, reference: Reference | None) -> None:
    """Raises RecordError if a pruned trial could have mattered."""
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
    """The results of submission number `s`, by workload."""
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
    """Why a time does not count; "" if it does.

    Args:
        scope: What the score is computed over.
        stages: The times after each rule.
        s: The index of the submission.
        w: The index of the workload.
        present: The number of studies of which trials were read.
        least: A lower bound of the median, infinite for a certain miss.
        later: The cells of the variants.
    """
    if present == 0:
        return "no trial read"
    if math.isinf(stages.median[s, w]) and math.isfinite(least):
        return "pruned: it could no longer count"
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
