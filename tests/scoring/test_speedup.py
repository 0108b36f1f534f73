"""Mean time ratios to one submission, by the rules and as AlgoPerf's script computes them."""

import math

import pytest
from hypothesis import given

from scoring import rulesets
from scoring.records import RecordError
from scoring.speedup import speedups
from scoring.times import OFFICIAL, RULES
from tests.scoring import oracle
from tests.scoring.boards import INF, drawn_boards, make_results, one_trial, single


def ratios(rules, trials, baseline, method=RULES, submissions=None, **scope):
    """By name the ratio and its official form."""
    results = make_results(rules, trials, submissions, **scope)
    return {
        name: (speedup.ratio, speedup.official)
        for name, speedup in speedups(results, method, baseline).items()
    }


def test_the_geometric_mean_of_the_time_ratios():
    times = {("a", "v"): 2.0, ("a", "w"): 30.0, ("b", "v"): 8.0, ("b", "w"): 15.0}
    found = ratios(single(), one_trial(times), "b")
    assert found["a"] == pytest.approx((math.sqrt(1 / 4 * 2),) * 2)
    assert found["b"] == (1.0, 1.0)


def test_a_miss_is_the_budget_and_a_second():
    times = {("a", "v"): 2.0, ("a", "w"): INF, ("b", "v"): 2.0, ("b", "w"): 10.1}
    found = ratios(single(), one_trial(times), "b")
    assert found["a"] == pytest.approx((math.sqrt(10),) * 2)
    assert ratios(single(), one_trial(times), "a")["b"] == pytest.approx((math.sqrt(1 / 10),) * 2)


def test_a_workload_that_was_not_run_is_a_miss_but_officially_undefined():
    times = {("a", "v"): 2.0, ("b", "v"): 2.0, ("b", "w"): 10.1, ("c", "v"): 4.0, ("c", "w"): 10.1}
    found = ratios(single(), one_trial(times), "b")
    assert found["a"][0] == pytest.approx(math.sqrt(10))
    assert math.isnan(found["a"][1])
    assert found["c"] == pytest.approx((math.sqrt(2),) * 2)
    against_a = ratios(single(), one_trial(times), "a")
    assert against_a["a"][0] == 1.0
    assert all(math.isnan(official) for _, official in against_a.values())


def test_neither_the_cap_nor_held_out_variants_concern_it():
    times = {("a", "w"): 90.0, ("a", "h"): INF, ("b", "w"): 1.0, ("b", "h"): 1.0}
    found = ratios(single("w", {"h": "w"}), one_trial(times), "b")
    assert found["a"] == pytest.approx((90.0, 90.0))


def test_the_official_form_has_official_medians():
    trials = one_trial({("a", "w"): [4.0, 8.0], ("b", "w"): [5.0, 5.0, 5.0]})
    found = ratios(single("w", studies=3), trials, "b")
    assert found["a"] == pytest.approx((8 / 5, 6 / 5))  # a missing study is infinite, or left out
    found = ratios(single("w", studies=3), trials, "b", OFFICIAL)
    assert found["a"] == pytest.approx((6 / 5, 6 / 5))


def test_under_v06_the_official_script_keeps_the_budgets_of_v05():
    rules = rulesets.load("algoperf-0.6")
    old = rulesets.load("algoperf-0.5")
    score = {"direction": {"min": 0.0, "max": 1e9}}["direction"]
    hits = {
        ("b", w, k, 1): [(100.0, score[rules.goal(w).direction])]
        for w in rules.scored
        for k in range(3)
    }
    missed = {
        ("a", w, k, 1): curve if w != "fastmri" else [(100.0, -1.0)]
        for (_, w, k, _), curve in hits.items()
    }
    for tuning, factor, old_factor in [("external", 1.0, 1.0), ("self", 1.5, 3.0)]:
        ratio, official = ratios(rules, {**hits, **missed}, "b", tuning=tuning)["a"]
        assert rules.workloads["fastmri"].budget_seconds == 4430
        assert old.workloads["fastmri"].budget_seconds == 8859
        assert ratio**8 == pytest.approx((factor * 4430 + 1) / 100)
        assert official**8 == pytest.approx((old_factor * 8859 + 1) / 100)


@given(drawn_boards())
def test_ratios_are_those_of_the_reference(board):
    rules, submissions, trials = board
    base, plain = submissions[0], rules.model_dump()
    expected = {}
    for official in (False, True):
        table = oracle.study_table(plain, trials, submissions, official)
        times = oracle.medians(plain, table, submissions)
        for name in submissions:
            logs = []
            for workload in rules.scored:
                pair = [times[s, workload] for s in (name, base)]
                if None in pair:
                    logs.append(math.nan if official else None)
                    continue
                mine, other = (101.0 if seconds == INF else seconds for seconds in pair)
                logs.append(math.log(mine) - math.log(other))
            expected[name, official] = math.exp(sum(logs) / len(logs))
    found = ratios(rules, trials, base, RULES, submissions)
    for name in submissions:
        assert found[name][0] == pytest.approx(expected[name, False])
        assert found[name][1] == pytest.approx(expected[name, True], nan_ok=True)


@given(drawn_boards())
def test_the_other_way_round_it_is_the_reciprocal(board):
    rules, submissions, trials = board
    first, last = submissions[0], submissions[-1]
    forth = ratios(rules, trials, last, RULES, submissions)[first]
    back = ratios(rules, trials, first, RULES, submissions)[last]
    assert forth[0] * back[0] == pytest.approx(1.0)
    assert math.isnan(forth[1]) == math.isnan(back[1])


def test_an_unknown_baseline_is_refused_with_what_there_is():
    results = make_results(single("w"), one_trial({("a", "w"): 1.0, ("b", "w"): 1.0}))
    with pytest.raises(RecordError, match=r"no submission 'c' .*: a, b"):
        speedups(results, RULES, "c")
