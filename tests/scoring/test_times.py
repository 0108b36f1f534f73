"""Time to target by both methods: worked by hand, and against the slow reference."""

import math
import random
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.times import METHODS, OFFICIAL, RULES, medians, study_times
from tests.scoring import oracle
from tests.scoring.boards import INF, NAN, drawn_boards, make_results, single
from tests.scoring.logs import make_rules

BOTH = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def times_of(trials, method=RULES, **changes):
    """The times of one submission's studies on one workload."""
    rules = single("w", **{"trials": 5, **changes})
    return study_times(make_results(rules, trials, ["a"]), method)


def seconds_of(trials, method=RULES, **changes):
    return times_of(trials, method, **changes).seconds_swk[0, 0].tolist()


@BOTH
@pytest.mark.parametrize(
    ("curve", "seconds"),
    [
        ([(1, 0.9), (2, 0.5), (3, 0.4)], 2),  # meeting it exactly is meeting it
        ([(1, 0.9), (2, 0.4), (3, 0.9)], 2),  # leaving it again changes nothing
        ([(1, NAN), (2, 0.4)], 2),  # NaN meets nothing, but ends nothing
        ([(1, -INF), (2, 0.4)], 2),  # nor does an infinity
        ([(100.0, 0.4)], 100),  # at the budget is within it
        ([(1, 0.9), (2, NAN)], INF),
        ([], INF),
    ],
)
def test_the_first_evaluation_that_meets_the_goal_counts(curve, seconds, method):
    assert seconds_of({("a", "w", 0, 1): curve}, method) == [seconds]


@BOTH
def test_a_metric_to_maximise_is_met_from_above(method):
    goal = {"metric": "accuracy", "direction": "max", "validation_target": 0.9}
    rules = make_rules(scored=("w",), held_out={}, workloads={"w": {**goal, "budget_seconds": 9}})
    results = make_results(rules, {("a", "w", 0, 1): [(1, NAN), (2, 0.8), (3, 0.9), (4, 0.95)]})
    assert study_times(results, method).seconds_swk[0, 0, 0] == 3


def test_only_the_rules_enforce_the_budget():
    late = {("a", "w", 0, 1): [(100.5, 0.4)]}
    assert seconds_of(late, RULES) == [INF]
    assert seconds_of(late, OFFICIAL) == [100.5]


def test_a_late_hit_does_not_hide_another_trial():
    trials = {("a", "w", 0, 1): [(100.5, 0.4)], ("a", "w", 0, 2): [(50, 0.9), (90, 0.4)]}
    assert seconds_of(trials, RULES) == [90]
    assert seconds_of(trials, OFFICIAL) == [100.5]  # the earlier evaluation, wherever the budget


def test_the_fastest_counts_by_time_and_officially_by_the_number_of_its_evaluation():
    one_evaluation = [(8, 0.5, 10)]
    three_evaluations = [(1, 0.9, 50), (2, 0.8, 70), (3, 0.5, 90)]
    trials = {("a", "w", 0, 1): one_evaluation, ("a", "w", 0, 2): three_evaluations}
    for method, trial, seconds, steps in [(RULES, 2, 3, 90), (OFFICIAL, 1, 8, 10)]:
        times = times_of(trials, method)
        assert times.seconds_swk.item() == seconds
        assert times.steps_swk.item() == steps
        assert times.counted["a", "w", 0].trial == trial


def test_the_tie_that_the_published_board_of_v06_hangs_on():
    """shampoo on fastmri, study 0: the published score needs trial 5 at 640.8 s."""
    misses = [(90.0 * place, 0.7) for place in range(1, 7)]
    trials = {
        ("a", "w", 0, 2): [*misses, (841.2, 0.4)],
        ("a", "w", 0, 5): [*misses, (640.8, 0.4)],
    }
    times = times_of(trials, OFFICIAL)
    assert times.seconds_swk.item() == 640.8
    assert times.counted["a", "w", 0].trial == 5
    assert {trial.trial for trial in times.ties["a", "w", 0]} == {2, 5}


@pytest.mark.parametrize(
    ("tied", "counts"), [((1, 2, 3, 4, 5), 5), ((1, 2, 3, 4), 3), ((1, 2, 4), 1), ((2, 4), 4)]
)
def test_of_trials_that_tie_officially_one_order_decides(tied, counts):
    trials = {("a", "w", 0, n): [(10.0 + n, 0.4)] for n in tied}
    times = times_of(trials, OFFICIAL)
    assert times.counted["a", "w", 0].trial == counts
    assert [trial.trial for trial in times.ties["a", "w", 0]] == list(tied)


def test_a_tie_at_a_later_evaluation_is_none():
    trials = {
        ("a", "w", 0, 1): [(5, 0.4)],
        **{("a", "w", 0, n): [(1, 0.9), (2, 0.4)] for n in (2, 3)},
    }
    assert times_of(trials, OFFICIAL).ties == {}


def test_of_trials_equally_fast_the_first_counts_by_the_rules():
    times = times_of({("a", "w", 0, n): 4.0 for n in (3, 2)})
    assert times.counted["a", "w", 0].trial == 2
    assert times.ties == {}


def test_trials_and_studies_beyond_the_plan_count_only_officially():
    trials = {("a", "w", 0, 1): 9.0, ("a", "w", 0, 6): [(4.0, 0.5)], ("a", "w", 1, 1): 5.0}
    assert seconds_of(trials, RULES) == [9]
    assert seconds_of(trials, OFFICIAL) == [4, 5]


def test_a_missing_study_is_a_miss_by_the_rules_and_unknown_to_the_script():
    trials = {("a", "w", 0, 1): 9.0, ("a", "w", 1, 1): INF}
    assert seconds_of(trials, RULES, studies=3) == [9, INF, INF]
    assert seconds_of(trials, OFFICIAL, studies=3) == pytest.approx([9, INF, NAN], nan_ok=True)


def test_a_missing_trial_leaves_the_study_to_the_others():
    assert seconds_of({("a", "w", 0, 3): 7.0}, RULES) == [7]


@pytest.mark.parametrize(
    ("studies", "rules", "official"),
    [
        ([3, 1, 2], 2, 2),
        ([1, 2], 1.5, 1.5),  # the mean of the middle two
        ([1, 2, 3, 10], 2.5, 2.5),
        ([1, 2, INF], 2, 2),
        ([1, INF], INF, INF),
        ([1, 2, INF, INF], INF, INF),
        ([INF, INF], INF, INF),
        ([1, 2, NAN], 2, 1.5),  # missing: infinite, or left out
        ([1, NAN, NAN], INF, 1),
        ([1, INF, NAN], INF, INF),
    ],
)
def test_the_median_over_studies(studies, rules, official):
    for order in (studies, studies[::-1]):
        found = {("a", "w", k, 1): seconds for k, seconds in enumerate(order) if seconds == seconds}
        results = make_results(single("w", studies=len(order)), found, "a")
        for method, expected in ((RULES, rules), (OFFICIAL, official)):
            median = medians(study_times(results, method).seconds_swk)[0, 0]
            assert median == pytest.approx(expected, nan_ok=True)


@given(st.lists(st.floats(0, 1e6) | st.just(INF), min_size=1, max_size=7), st.randoms())
def test_the_median_is_that_of_statistics(values, rng):
    expected = statistics.median(values)
    rng.shuffle(values)
    assert medians(np.array(values)) == pytest.approx(expected, rel=1e-15)
    assert medians(np.array([NAN, *values])) == pytest.approx(expected, rel=1e-15)
    assert np.isnan(medians(np.full(3, NAN)))


@BOTH
@given(drawn_boards())
def test_study_times_are_those_of_the_reference(method, board):
    rules, submissions, trials = board
    times = study_times(make_results(rules, trials, submissions), method)
    table = oracle.study_table(rules.model_dump(), trials, submissions, method is OFFICIAL)
    for s, name in enumerate(times.submissions):
        for w, workload in enumerate(times.workloads):
            for k, seconds in enumerate(times.seconds_swk[s, w]):
                number, expected = table.get((name, workload, k), (None, None))
                counted = times.counted.get((name, workload, k))
                assert (counted and counted.trial) == number
                if math.isnan(seconds):  # not there: by the rules that is a miss as well
                    assert expected is None if method is OFFICIAL else expected == INF
                else:
                    assert seconds == expected
    highest = times.seconds_swk.shape[2]
    assert all(study < highest for *_, study in table)


@BOTH
@given(drawn_boards(), st.integers(0, 99))
def test_the_order_of_trials_does_not_matter(method, board, seed):
    rules, submissions, trials = board
    keys = list(trials)
    random.Random(seed).shuffle(keys)
    one = study_times(make_results(rules, trials, submissions), method)
    other = study_times(make_results(rules, {k: trials[k] for k in keys}, submissions), method)
    np.testing.assert_array_equal(one.seconds_swk, other.seconds_swk)
    np.testing.assert_array_equal(one.steps_swk, other.steps_swk)
    assert one.counted == other.counted
    assert one.ties.keys() == other.ties.keys()


def test_steps_are_those_of_the_trial_that_counts():
    trials = {("a", "w", 0, 1): [(3.0, 0.4, 900)], ("a", "w", 0, 2): [(5.0, 0.4, 100)]}
    assert times_of(trials).steps_swk.item() == 900
    missed = times_of({("a", "w", 0, 1): INF}, studies=2).steps_swk[0, 0]
    assert missed.tolist() == [INF, INF]
