"""Boards for the tests, made in memory: the curves of `tests.scoring.logs` without their files."""

from pathlib import Path

from hypothesis import strategies as st

from scoring.experiment import Criteria
from scoring.leaderboard import make_leaderboard
from scoring.reading.evaluations import SECONDS, STEP, Evaluations
from scoring.reading.results import Results, Scope, Submission, Trial
from scoring.times import RULES
from tests.scoring.logs import WORKLOAD, make_rules

NAN, INF = float("nan"), float("inf")


def make_scope(rules, tuning="external", clock="wall") -> Scope:
    return Scope(
        ruleset=rules,
        tuning=tuning,
        clock=clock,
        studies=rules.studies,
        trials=1 if tuning == "self" else rules.trials,
        workloads={
            name: Criteria(goal=rules.goal(name), budget_seconds=rules.budget(name, tuning))
            for name in [*rules.scored, *rules.held_out]
        },
        held_out=rules.held_out,
    )


def curve_of(seconds):
    """A curve that reaches its target at its second evaluation, after `seconds`; inf never does."""
    if isinstance(seconds, list):
        return seconds
    return [(1.0, 1.0)] if seconds == INF else [(seconds / 2, 1.0), (seconds, 0.5)]


def make_trial(scope, submission, workload, study, trial, curve) -> Trial:
    criteria = scope.workloads[workload]
    steps = [row[2] if len(row) > 2 else round(10 * row[0]) for row in curve]
    seconds, values = [row[0] for row in curve], [row[1] for row in curve]
    read = Evaluations(
        lines=[place + 2 for place in range(len(curve))],
        seconds=seconds,
        values=values,
        faults=[],
        header=[SECONDS, STEP],
        rows=[[str(time), str(step)] for time, step in zip(seconds, steps, strict=True)],
    )
    hit = read.first_hit(criteria.goal)
    return Trial(
        submission=submission,
        workload=workload,
        study=study,
        trial=trial,
        folder=Path("nowhere"),
        criteria=criteria,
        status="missed" if hit is None else "reached",
        failure="",
        message="",
        submission_seconds=max(seconds, default=0.0),
        evaluations=len(curve),
        hit=hit,
        extra=study >= scope.studies or trial not in range(1, scope.trials + 1),
    )


def make_results(rules, trials, submissions=None, **scope) -> Results:
    """Results from {(submission, workload, study, trial): curve, or seconds to the target}."""
    judged = make_scope(rules, **scope)
    names = sorted({key[0] for key in trials} if submissions is None else submissions)
    return Results(
        scope=judged,
        submissions={n: Submission(tree="logs", folder=Path(n), facts={}) for n in names},
        trials=[make_trial(judged, *key, curve_of(trials[key])) for key in sorted(trials)],
    )


def make_board(rules, trials, method=RULES, submissions=None, reference=None, **options):
    results = make_results(rules, trials, submissions)
    return make_leaderboard(results, method, reference, **{"resamples": 20, **options})


def one_trial(times):
    """Trials from {(submission, workload): seconds of each study, or of the one study}."""
    return {
        (submission, workload, study, 1): curve_of(seconds)
        for (submission, workload), studies in times.items()
        for study, seconds in enumerate(studies if isinstance(studies, list) else [studies])
    }


def single(scored="vw", held_out=None, **changes):
    """Rules of one study and one trial."""
    workloads = dict.fromkeys([*scored, *(held_out or {})], WORKLOAD)
    rules = {"scored": tuple(scored), "held_out": held_out or {}, "workloads": workloads}
    return make_rules(**{**rules, "studies": 1, "trials": 1, "suites": {}, **changes})


_CURVES = [
    None,  # not there
    *[[(seconds, 0.5)] for seconds in (1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 9.0, 13.0, 40.0)],
    *[[(seconds / 2, 0.9), (seconds, 0.4)] for seconds in (1.0, 2.5, 4.0, 8.0, 13.0, 40.0)],
    [(1.0, 0.9), (1.5, NAN), (2.0, 0.5), (3.0, 0.9)],
    [(1.0, NAN), (100.0, 0.5)],
    [(1.0, 0.9), (100.5, 0.4)],  # over the budget
    [(120.0, 0.4)],
    [(9.0, 0.7)],
    [(9.0, NAN)],
    [],
]


@st.composite
def drawn_boards(draw):
    """Rules with up to three workloads and their trials: misses, ties, gaps, more than planned."""
    scored = "vwx"[: draw(st.integers(1, 3))]
    held_out = {f"{name}_held": name for name in scored if draw(st.booleans())}
    rules = single(
        scored, held_out, studies=draw(st.integers(1, 3)), trials=draw(st.integers(1, 2))
    )
    submissions = "abc"[: draw(st.integers(1, 3))]
    studies, trials = range(rules.studies + draw(st.integers(0, 1))), range(1, rules.trials + 1)
    if draw(st.booleans()):
        trials = [0, *trials, 6]
    keys = [
        (s, w, k, n)
        for s in submissions
        for w in [*scored, *held_out]
        for k in studies
        for n in trials
    ]
    curves = draw(st.lists(st.sampled_from(_CURVES), min_size=len(keys), max_size=len(keys)))
    found = {key: curve for key, curve in zip(keys, curves, strict=True) if curve is not None}
    return rules, list(submissions), found
