"""Remarks for readers of a leaderboard: what is missing, and what depends on the method."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from scoring.escaping import one_line
from scoring.names import counted
from scoring.profiles import Floats, apply_rules, scores
from scoring.proofs import refused_by
from scoring.reading.results import Results, Scope, Trial
from scoring.records import Status
from scoring.times import OFFICIAL, Method, StudyTimes, medians, study_times
from scoring.uncertainty import repeated

_REASONS = {  # from the official method to the written rules, one difference at a time
    "fastest_by_time": "a study's fastest trial counts, not that of the earliest evaluation",
    "missing_is_infinite": "a missing study is infinite, one beyond the plan does not count",
    "budget_enforced": "a target met after the budget is a miss",
    "exact_area": "the area is exact, not 100 trapezoids",
}


_AREA_ALONE = re.compile(rf".* method: [+-][\d.]+ as {re.escape(_REASONS['exact_area'])}")
PRUNED_LEAVES_OPEN = (
    "a pruned trial is only known to need more time than it ran for: the 95% intervals and the "
    "ranges of P(rank) span all possible times; the interval from sampling alone takes pruned "
    "trials as misses"
)


def missing(results: Results, method: Method) -> list[str]:
    """A line for each submission and workload with planned trials that were not read."""
    effect = "infinite" if method.missing_is_infinite else "left out of the median"
    lines = []
    for (submission, workload), absent in results.missing.items():
        studies: dict[tuple[int, ...], list[int]] = {}  # by the trials that are missing
        for study, trials in absent.items():
            studies.setdefault(tuple(trials), []).append(study)
        every = tuple(range(1, results.scope.trials + 1))
        parts = [
            f"study {_ranges(numbers)}" + ("" if trials == every else f" trial {_ranges(trials)}")
            for trials, numbers in studies.items()
        ]
        effects = [f"a missing study is {effect}"] if every in studies else []
        effects += ["a missing trial is a miss"] if studies.keys() - {every} else []
        lines.append(f"{submission} on {workload}: no {'; no '.join(parts)}: {', '.join(effects)}")
    return lines


def failed(results: Results) -> list[str]:
    """A line for each submission, or workload of one, of which every started trial failed."""
    began: dict[tuple[str, str], list[Trial]] = {}
    for trial in results.trials:
        if trial.status != Status.PRUNED:
            began.setdefault((trial.submission, trial.workload), []).append(trial)
    broken = {place: found for place, found in began.items() if all(t.failure for t in found)}
    lines = []
    for name in results.submissions:
        everywhere = [found for place, found in began.items() if place[0] == name]
        mine = {place[1]: found for place, found in broken.items() if place[0] == name}
        if everywhere and len(mine) == len(everywhere):
            mine = {"": [trial for found in everywhere for trial in found]}
        for workload, found in mine.items():
            where = f"{name} on {workload}" if workload else name
            ((failure, message), count), *_ = Counter(
                (trial.failure, one_line(trial.message)) for trial in found
            ).most_common()
            share = "all" if count == len(found) else f"{count} of them"
            lines.append(
                f"{where}: every trial that started failed ({len(found)}), {share} with {failure}: "
                f"{message}"
            )
    return lines


def predicted(results: Results) -> list[str]:
    """A line for each submission with trials that were stopped on a prediction."""
    given_up = Counter(t.submission for t in results.trials if t.status == Status.PREDICTED)
    return [
        f"{name}: {counted(count, 'trial')} stopped on a prediction (--pruning predict) count as "
        "misses: scores may differ from those of complete trials"
        for name, count in sorted(given_up.items())
    ]


def heavy_steps(studies: StudyTimes, scope: Scope) -> list[str]:
    """A line if steps on the step clock do more than one batch of training work."""
    if scope.clock == "wall":
        return []
    heavy = {}
    for name, steps_wk, work_wk in zip(
        studies.submissions, studies.steps_swk, studies.work_swk, strict=True
    ):
        known = np.isfinite(steps_wk) & np.isfinite(work_wk) & (steps_wk > 0)
        most = float((work_wk[known] / steps_wk[known]).max(initial=1.0))
        if most > 1.0:
            heavy[name] = f"{name} (up to {most:.3g} per step)"
    if not heavy:
        return []
    return [
        "the step clock charges training work, in batches of the workload's size; a step (a call "
        f"of update_params) does more than one batch in {', '.join(heavy.values())}"
    ]


def unrepeated(scope: Scope, resampled: str) -> list[str]:
    """A line if there is nothing to resample."""
    if repeated(scope, resampled):
        return []
    return [
        "one study: nothing was repeated, so how much of a score is luck is unknown; --studies 3 "
        "would show it, and --resample workloads shows the effect of the choice of workloads"
    ]


def _ranges(numbers: Sequence[int]) -> str:
    """[0, 2, 3, 4] as "0, 2-4"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def differences(results: Results) -> dict[str, str]:
    """How the official method scores each submission and why, where the score differs.

    Empty if the official method refuses the results because trials were pruned. The methods are
    compared in four steps, one rule after another, so that the parts add up.
    """
    if refused_by(OFFICIAL, results):
        return {}
    scope = results.scope
    method, (times, score) = OFFICIAL, _score(results, OFFICIAL)
    official = score
    reasons: dict[str, list[str]] = {name: [] for name in results.submissions}
    for attribute, reason in _REASONS.items():
        method = replace(method, **{attribute: True})  # type: ignore[arg-type]
        new_times, new_score = _score(results, method)
        for s, name in enumerate(results.submissions):
            moved = [
                w for w, workload in enumerate(scope.workloads) if times[s, w] != new_times[s, w]
            ]
            change = new_score[s] - score[s]
            if abs(change) >= 5e-7:
                where = ", ".join(list(scope.workloads)[w] for w in moved)
                where = f" (on {where})" if where else ""
                reasons[name].append(f"{change:+.6f} as {reason}{where}")
        times, score = new_times, new_score
    return {
        name: f"{score[s]:.6f} by the rules, {official[s]:.6f} by the official method: "
        + ", ".join(reasons[name])
        for s, name in enumerate(results.submissions)
        if reasons[name]
    }


def difference_lines(found: Mapping[str, str]) -> list[str]:
    """`differences` as lines; those due to the exact area alone share one."""
    lines = [f"{name}: {text}" for name, text in found.items() if not _is_area_alone(text)]
    alone = [name for name, text in found.items() if _is_area_alone(text)]
    if alone:
        lines.append(
            f"{_REASONS['exact_area']}: {', '.join(alone)} differ from the official method only "
            "by this"
        )
    return lines


def _is_area_alone(text: str) -> bool:
    return _AREA_ALONE.fullmatch(text) is not None


def _score(results: Results, method: Method) -> tuple[Floats, Floats]:
    """Median times (S, W) and scores (S,) by a method."""
    times_sw = medians(study_times(results, method).seconds_swk)
    r_max = results.scope.ruleset.r_max
    times_sw = np.where(np.isnan(times_sw), np.inf, times_sw)
    return times_sw, scores(apply_rules(times_sw, results.scope), r_max, method.exact_area)


def ties(studies: StudyTimes, method: Method, scope: Scope) -> list[str]:
    """A line for each median that depends on the order in which a file system lists folders.

    Among the trials that meet the target at the earliest evaluation index, the official script
    takes the first in that order.
    """
    lines: list[str] = []
    base_sw = medians(studies.seconds_swk)
    base_s = scores(apply_rules(base_sw, scope), scope.ruleset.r_max, method.exact_area)
    for (name, workload, study), trials in studies.ties.items():
        place = (studies.submissions.index(name), studies.workloads.index(workload))
        shift = move = 0.0
        for trial in trials:
            seconds_k = studies.seconds_swk[place].copy()
            seconds_k[study] = trial.hit.submission_seconds if trial.hit else np.inf
            times_sw = base_sw.copy()
            times_sw[place] = medians(seconds_k)
            if times_sw[place] != base_sw[place]:
                shift = max(shift, abs(times_sw[place] - base_sw[place]))
                other_s = scores(
                    apply_rules(times_sw, scope), scope.ruleset.r_max, method.exact_area
                )
                move = max(move, float(np.abs(other_s - base_s).max()))
        if shift:
            lines.append(_tie(trials, studies.counted[name, workload, study], shift, move))
    harmless = len(studies.ties) - len(lines)
    if harmless:
        lines.append(
            f"{harmless} {'more ' if lines else ''}tie{'s' * (harmless > 1)} between trials that "
            "meet the target at the same evaluation: whichever counts, no median changes"
        )
    return lines


def _tie(trials: list[Trial], counted: Trial, shift: float, move: float) -> str:
    """Describes a tie that matters."""
    shown = " and ".join(
        f"trial {trial.trial} ({trial.hit.submission_seconds:,.1f} s)"
        for trial in trials
        if trial.hit is not None
    )
    effect = f"a score by {move:.6f}" if move >= 5e-7 else "no score"
    return (
        f"tie: {counted.submission} on {counted.workload}, study {counted.study}: {shown} meet the "
        f"target at the same evaluation, and the file system's order decides: trial "
        f"{counted.trial} as on the published boards; another would change the median by "
        f"{shift:,.1f} s and {effect}"
    )
