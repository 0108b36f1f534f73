"""The leaderboard: scores, ranks, and everything that they are computed from."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from scoring.cells import Cell, make_cells
from scoring.contention import contended
from scoring.efficiency import mixed_frameworks
from scoring.profiles import Floats, Stages, apply_rules, scores
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
from scoring.significance import PairTest, pair_tests
from scoring.times import RULES, Method, StudyTimes, medians, study_times
from scoring.uncertainty import RESAMPLES, Uncertainty, bootstrap, repeated


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
        beats: The probability of scoring above each submission, by name; pruned trials are taken
            as misses.
        beats_low: Lower bounds of these probabilities.
        beats_high: Upper bounds.
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
    beats_low: dict[str, float]
    beats_high: dict[str, float]
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
        pairs: For every two submissions, whether one of them is faster.
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
    pairs: list[PairTest]
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
    times_sw = medians(studies.seconds_swk)
    stages = apply_rules(times_sw, scope)
    score_s = scores(stages, scope.ruleset.r_max, method.exact_area).round(12)
    uncertainty = bootstrap(studies, scope, method, resampled, seed, resamples)
    frozen_s = None if reference is None else reference.scores(times_sw, scope, method)
    return Leaderboard(
        results=results,
        method=method,
        standings=_standings(results, method, studies, stages, score_s, uncertainty, frozen_s),
        studies=studies,
        stages=stages,
        uncertainty=uncertainty,
        pairs=pair_tests(studies, scope),
        reference=reference,
        differences=differences(results) if method is RULES and not scope.asked else {},
        warnings=[*results.warnings, *missing(results, method), *predicted(results)],
        remarks=_remarks(results, studies, method, uncertainty),
    )


def _standings(
    results: Results,
    method: Method,
    studies: StudyTimes,
    stages: Stages,
    score_s: Floats,
    uncertainty: Uncertainty,
    frozen_s: Floats | None,
) -> list[Standing]:
    """The submissions from best to worst; `frozen_s` are the scores relative to a reference."""
    by_name = {
        name: list(trials) for name, trials in groupby(results.trials, lambda t: t.submission)
    }

    def by_other(values_s: Floats) -> dict[str, float]:
        return dict(zip(studies.submissions, values_s.tolist(), strict=True))

    standings = []
    for s, name in enumerate(studies.submissions):
        hours, trials = _effort(results.scope, name, by_name.get(name, []))
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
                beats=by_other(uncertainty.beats[s]),
                beats_low=by_other(uncertainty.beats_low[s]),
                beats_high=by_other(uncertainty.beats_high[s]),
                reference_score=None if frozen_s is None else float(frozen_s[s]),
                hours=hours,
                trials=trials,
                cells=make_cells(results, method, studies, stages, s),
                source=results.submissions[name],
            )
        )
    return sorted(standings, key=lambda standing: (standing.rank, standing.name))


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


def _effort(scope: Scope, name: str, trials: list[Trial]) -> tuple[float, dict[str, int]]:
    """Hours and outcomes of a submission's trials."""
    planned = sum(scope.planned(name, workload) for workload in scope.workloads) * scope.trials
    outcomes = Counter(trial.status for trial in trials)
    missing = planned - sum(not trial.extra for trial in trials)
    hours = math.fsum(trial.submission_seconds for trial in trials) / 3600
    return hours, {"planned": planned, **dict(sorted(outcomes.items())), "missing": missing}
