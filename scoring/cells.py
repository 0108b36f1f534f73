"""The result of each submission on each workload, and why it does not count."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scoring.profiles import Stages
from scoring.reading.results import Results, Scope, Trial
from scoring.times import Method, StudyTimes, medians


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


def make_cells(
    results: Results, method: Method, studies: StudyTimes, stages: Stages, s: int
) -> dict[str, Cell]:
    """The results of submission number `s`, by workload."""
    scope, name = results.scope, studies.submissions[s]
    steps_w, work_w = (medians(of[s]) for of in (studies.steps_swk, studies.work_swk))
    least_w = medians(studies.floor_swk[s])
    cells: dict[str, Cell] = {}
    for w, workload in reversed(list(enumerate(studies.workloads))):  # variants before workloads
        planned, read = int(studies.planned_sw[s, w]), int(studies.read_sw[s, w])
        counted = [studies.counted.get((name, workload, k)) for k in range(planned)]
        cells[workload] = Cell(
            seconds=float(stages.median[s, w]),
            at_least=float(np.nan_to_num(least_w[w], nan=np.inf, posinf=np.inf)),
            steps=float(np.nan_to_num(steps_w[w], nan=np.inf, posinf=np.inf)),
            work=float(np.nan_to_num(work_w[w], nan=np.inf, posinf=np.inf)),
            ratio=float(stages.ratios[s, w]) if w < len(scope.scored) else math.nan,
            reached=sum(trial is not None for trial in counted),
            studies=planned if method.missing_is_infinite else read,
            reason=_reason(scope, stages, s, w, read, least_w[w], cells),
            counted=counted,
        )
    return {workload: cells[workload] for workload in studies.workloads}


def _reason(
    scope: Scope, stages: Stages, s: int, w: int, read: int, least: float, later: dict[str, Cell]
) -> str:
    """Why a time does not count; "" if it does.

    Args:
        scope: What the score is computed over.
        stages: The times after each rule.
        s: The index of the submission.
        w: The index of the workload.
        read: The number of studies of which trials were read.
        least: A lower bound of the median, infinite for a certain miss.
        later: The cells of the variants.
    """
    if read == 0:
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
