"""Tests of two submissions' difference: against scipy, literal loops, and every possible time."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scoring import significance
from scoring.leaderboard import make_leaderboard
from scoring.reading.read import read
from scoring.records import Status
from scoring.report.explain import explain
from scoring.report.page import About, render
from scoring.report.parquet import write_pairs
from scoring.report.tables import pairs_csv, to_json
from scoring.significance import holm, more_studies, pair_tests, sign_flip_p, sums_at_most_0
from scoring.times import OFFICIAL, RULES, study_times
from tests.scoring.boards import INF, make_board, make_results, one_trial, single
from tests.scoring.trees import write_tree

thousandths = st.integers(-1400, 1400).map(lambda n: n / 1000)
values = st.lists(
    st.sampled_from([0.0, 0.25, -0.25, 1.0, -1.0]) | thousandths, min_size=1, max_size=9
)


def pair_of(times, r_max=4.0, method=RULES):
    """The only test of a board, from {(submission, workload): seconds of each study}."""
    studies = max(len(seconds) for seconds in times.values())
    rules = single(sorted({w for _, w in times}), studies=studies, r_max=r_max)
    results = make_results(rules, one_trial(times))
    (test,) = pair_tests(study_times(results, method), results.scope)
    return test


def literal(ratios):
    """The two-sided p-value by a loop over all signs."""
    observed = abs(sum(ratios)) - 1e-9
    flipped = itertools.product((1, -1), repeat=len(ratios))
    sums = [abs(sum(sign * r for sign, r in zip(signs, ratios, strict=True))) for signs in flipped]
    return sum(value >= observed for value in sums) / len(sums)


@given(values)
def test_the_p_value_is_the_share_of_all_signs(ratios):
    low, high = sign_flip_p(np.array(ratios), np.array(ratios))
    assert low == high == pytest.approx(literal(ratios))


def test_the_p_value_is_that_of_scipy():
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.1, -0.3):
        a = rng.lognormal(shift, 0.3, (2, 6))
        b = rng.lognormal(0.0, 0.3, (2, 6))
        expected = stats.permutation_test(
            (np.log(a).ravel(), np.log(b).ravel()),
            lambda x, y, axis: (x - y).mean(axis=axis),
            permutation_type="samples", n_resamples=np.inf, vectorized=True,
        ).pvalue  # fmt: skip
        times = {(name, w): t[row].tolist() for name, t in (("a", a), ("b", b))
                 for row, w in enumerate("vw")}  # fmt: skip
        test = pair_of(times, r_max=100.0)
        assert test.p == pytest.approx((expected, expected))
        assert test.pairs == 12
        assert test.ratio == pytest.approx(stats.gmean((a / b).ravel()))


def test_many_values_are_counted_on_a_grid(monkeypatch):
    rng = np.random.default_rng(1)
    for shift in (0.0, 0.1, 0.4):
        ratios = rng.normal(shift, 0.4, 24)
        exact = sums_at_most_0(ratios)
        with monkeypatch.context() as patch:
            patch.setattr(significance, "_ENUMERATED", 1)
            assert sums_at_most_0(ratios) == pytest.approx(exact, rel=5e-3)
    steady = np.full(200, 0.1)  # only the empty subset has no positive sum
    assert sums_at_most_0(steady) == pytest.approx(2.0**-200)
    assert sums_at_most_0(rng.normal(0, 1, 300)) == pytest.approx(0.5, abs=0.5)


ranges = st.lists(
    st.tuples(thousandths, st.sampled_from([0.0, 0.0, 0.3, 2.8])), min_size=1, max_size=6
)


@settings(max_examples=60)
@given(ranges, st.randoms(use_true_random=False))
def test_a_range_of_p_values_holds_that_of_every_possible_ratio(pairs, rng):
    low = np.array([value for value, _ in pairs])
    high = np.array([min(1.4, value + width) for value, width in pairs])
    least, most = sign_flip_p(low, high)
    inside = [[rng.uniform(a, b) for a, b in zip(low, high, strict=True)] for _ in range(20)]
    corners = [[a if rng.random() < 0.5 else b for a, b in zip(low, high, strict=True)]
               for _ in range(20)]  # fmt: skip
    for ratios in [low, high, *inside, *corners]:
        assert least - 1e-9 <= literal(ratios) <= most + 1e-9
    assert least == pytest.approx(min(literal(low), literal(high)))


@pytest.mark.parametrize(
    ("first", "second", "ratios"),
    [
        ([10.0, 10.0], [20.0, 5.0], [-math.log(2), math.log(2)]),
        ([10.0, INF], [INF, 10.0], [-math.log(4), math.log(4)]),  # a miss counts as r_max
        ([10.0, INF], [90.0, INF], [-math.log(4), 0.0]),  # two misses are a tie
        ([10.0, 30.0], [10.0, 10.0], [0.0, math.log(3)]),
    ],
)
def test_what_misses_and_ratios_over_r_max_count(first, second, ratios):
    test = pair_of({("a", "w"): first, ("b", "w"): second})
    assert test.p == pytest.approx((literal(ratios), literal(ratios)))
    assert math.log(test.ratio) == pytest.approx(np.mean(ratios))


def prune(results, place, second):
    """The same results with a trial pruned before it could meet the target."""
    trials = [
        replace(t, status=Status.PRUNED, hit=None, submission_seconds=second)
        if (t.submission, t.workload, t.study) == place
        else t
        for t in results.trials
    ]
    return replace(results, trials=trials)


def test_a_pruned_time_is_a_range():
    rules = single("w", studies=3)
    times = {("a", "w"): [10.0, 10.0, 10.0], ("b", "w"): [20.0, 20.0, 30.0]}
    results = prune(make_results(rules, one_trial(times)), ("b", "w", 2), 5.0)
    (test,) = pair_tests(study_times(results, RULES), results.scope)
    two = math.log(2)
    # b's last time is above 5: a's is at most twice, at least a fourth of it
    assert test.p == pytest.approx((literal([two, two, math.log(4)]), literal([two, two, -two])))
    assert test.p[0] < test.p[1]
    assert test.ratio == pytest.approx(math.exp(-(2 * two + math.log(4)) / 3))  # as a miss
    assert not test.faster


def test_a_study_that_was_never_started_may_be_anything():
    rules = single("w", studies=3)
    times = {("a", "w"): [10.0, 10.0, 10.0], ("b", "w"): [20.0, 20.0, 30.0]}
    results = prune(make_results(rules, one_trial(times)), ("b", "w", 2), 0.0)
    (test,) = pair_tests(study_times(results, RULES), results.scope)
    two, four = math.log(2), math.log(4)
    assert test.p == pytest.approx((literal([two, two, four]), 1.0))  # [two, two, -four] sums to 0


def test_a_missing_study_is_a_miss_by_the_rules_and_left_out_by_the_script():
    times = {("a", "w"): [10.0, 10.0, 10.0], ("b", "w"): [20.0, 20.0]}
    assert pair_of(times).pairs == 3
    assert pair_of(times, method=OFFICIAL).pairs == 2


def test_held_out_variants_are_left_out():
    rules = single("w", {"h": "w"}, studies=2)
    times = {(s, w): [1.0 + (s == "b")] * 2 for s in "ab" for w in "wh"}
    results = make_results(rules, one_trial(times))
    (test,) = pair_tests(study_times(results, RULES), results.scope)
    assert test.pairs == 2


def literal_holm(p):
    """Holm (1979): reject from the smallest on while p <= level / (those that are left)."""
    adjusted = [1.0] * len(p)
    for level in sorted({min(1.0, value * n) for value in p for n in range(1, len(p) + 1)}):
        left = sorted(range(len(p)), key=p.__getitem__)
        while left and p[left[0]] * len(left) <= level * (1 + 1e-12):
            adjusted[left[0]] = min(adjusted[left[0]], level)
            left.pop(0)
    return adjusted


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_is_the_smallest_level_that_rejects(p):
    assert holm(p) == pytest.approx(literal_holm(p))


def test_holm_of_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_about_as_many_more_studies_as_estimated_decide_when_ratios_repeat_themselves():
    for seed, mean in ((0, 0.03), (1, 0.06), (2, 0.1)):
        ratios = np.random.default_rng(seed).normal(0, 0.3, 12)
        ratios += mean - ratios.mean()  # three studies of four workloads
        estimate = more_studies(ratios, 4, 0.05)
        needed = 3
        while sign_flip_p(*[np.tile(ratios, needed)] * 2)[1] > 0.05:  # repeats all three
            needed += 1
        assert estimate is not None
        assert 3 + estimate == pytest.approx(3 * needed, rel=0.3, abs=3)


def test_no_estimate_without_a_chance_and_never_fewer_than_signs_need():
    assert more_studies(np.array([0.1]), 1, 0.05) == 5  # 2 * 2^-6 is the first below 0.05
    assert more_studies(np.zeros(5), 1, 0.05) is None
    assert more_studies(np.array([1.0, -0.999]), 1, 0.05) is None


def test_without_a_difference_as_few_are_significant_as_stated():
    """The share of boards of four alike submissions with any significant pair."""
    rng, wrong, boards = np.random.default_rng(5), 0, 400
    for _ in range(boards):
        ratios = np.log(rng.lognormal(0, 0.3, (4, 10)))
        pairs = [ratios[a] - ratios[b] for a, b in itertools.combinations(range(4), 2)]
        wrong += min(holm([sign_flip_p(pair, pair)[1] for pair in pairs])) <= 0.05
    assert wrong <= stats.binom.ppf(0.999, boards, 0.05)


def three():
    """Two that tie, and one that is slower by a half in every study."""
    shape = {"a": 10.0, "b": 10.0, "c": 15.0}
    return {
        (s, w): [seconds * (1 + 0.01 * ((k * 7 + len(w) + ord(s)) % 5)) for k in range(5)]
        for s, seconds in shape.items()
        for w in ("v", "ww")
    }


def test_the_tests_are_shown_in_every_output(tmp_path):
    trials = {
        (s, w, k, 1): seconds
        for (s, w), times in three().items()
        for k, seconds in enumerate(times)
    }
    board = make_leaderboard(read([write_tree(tmp_path / "tree", trials)]), resamples=20)
    found = {test.names: test for test in board.pairs}
    assert found["a", "c"].faster == "a"
    assert found["b", "c"].faster == "b"
    assert found["a", "b"].faster == ""
    rows = {(row["first"], row["second"]): row for row in to_json(board)["pairs"]}
    assert rows["a", "c"]["faster"] == "a"
    assert rows["a", "b"]["faster"] is None
    assert rows["a", "c"]["adjusted_high"] == found["a", "c"].adjusted[1]
    json.dumps(rows["a", "b"], allow_nan=False)
    assert len(pairs_csv(board).splitlines()) == 4
    page = render(board, About())
    assert 'id="pairs"' in page
    assert "c is slower than a: 1.5" in page
    write_pairs(board.pairs, tmp_path)
    assert pyarrow.parquet.read_table(tmp_path / "pairs.parquet").to_pylist() == [*rows.values()]
    against, _ = explain(board, "c").to_plain()["against"]
    assert against["text"].startswith("c is slower than a: 1.5")
    assert (against["first"], against["second"], against["faster"]) == ("c", "a", "a")


def test_one_submission_has_no_pairs():
    board = make_board(single("w"), one_trial({("a", "w"): 1.0}))
    assert board.pairs == []
    assert pairs_csv(board) == ""
    assert to_json(board)["pairs"] == []
