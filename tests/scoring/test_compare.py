"""Two submissions side by side: paired by study, infinities included."""

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.compare import compare
from scoring.records import RecordError
from scoring.times import METHODS, OFFICIAL, RULES
from scoring.uncertainty import RESAMPLES, study_draws
from tests.scoring import oracle
from tests.scoring.boards import INF, drawn_boards, make_board, make_results, one_trial, single

BOTH = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def compared(times, method=RULES, **changes):
    """a against b on w, from the seconds of their studies."""
    studies = max(len(seconds) for seconds in times.values())
    rules = single("w", studies=studies, **changes)
    trials = one_trial({(name, "w"): seconds for name, seconds in times.items()})
    (row,) = compare(make_results(rules, trials), "a", "b", method).workloads
    return row


def ways(first, second):
    """The difference of the medians of every resample of both, taken together."""
    for drawn in itertools.product(range(len(first)), repeat=len(first)):
        a, b = (sorted(times[k] for k in drawn)[len(first) // 2] for times in (first, second))
        yield 0.0 if a == b == INF else a - b


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([10.0, 13.0, 30.0], [11.0, 12.0, 14.0]),
        ([10.0, 13.0, INF], [11.0, INF, 14.0]),
        ([10.0, INF, INF], [11.0, INF, INF]),
        ([10.0, 11.0, 12.0], [10.0, 11.0, 12.0]),
        ([10.0, 11.0, 12.0], [INF, INF, INF]),
    ],
)
def test_the_odds_are_those_of_all_resamples(first, second):
    row = compared({"a": first, "b": second})
    faster = [(d < 0) + (d == 0) / 2 for d in ways(first, second)]
    assert row.faster == pytest.approx(sum(faster) / len(faster), abs=0.02)
    assert {row.low, row.high} <= set(ways(first, second))


def test_what_two_studies_share_cancels():
    """b is a second slower in every study, however much the studies differ."""
    first = [10.0, 95.0, 31.0, 72.0, 54.0]
    row = compared({"a": first, "b": [seconds + 1 for seconds in first]})
    assert row.seconds == (54.0, 55.0)
    assert (row.difference, row.low, row.high, row.faster) == (-1.0, -1.0, -1.0, 1.0)


@BOTH
@pytest.mark.parametrize(
    ("first", "second", "difference", "faster"),
    [
        ([1.0] * 3, [INF] * 3, -INF, 1.0),
        ([INF] * 3, [1.0] * 3, INF, 0.0),
        ([INF] * 3, [INF] * 3, math.nan, 0.5),
        ([2.0] * 3, [2.0] * 3, 0.0, 0.5),
        ([3.0] * 3, [2.0] * 3, 1.0, 0.0),
    ],
)
def test_who_misses_is_infinitely_slower(method, first, second, difference, faster):
    row = compared({"a": first, "b": second}, method)
    assert row.difference == pytest.approx(difference, nan_ok=True)
    assert row.faster == faster
    assert row.low == row.high == (0.0 if math.isnan(difference) else difference)


@BOTH
def test_who_was_not_run_misses(method):
    trials = one_trial({("a", "w"): [1.0] * 2, ("b", "v"): [1.0] * 2, ("a", "v"): [1.0] * 2})
    rows = compare(make_results(single(studies=2), trials), "a", "b", method).workloads
    row = {row.workload: row for row in rows}["w"]
    assert row.seconds == (1.0, INF)
    assert (row.difference, row.faster) == (-INF, 1.0)


def test_one_study_has_neither_intervals_nor_odds():
    results = make_results(single("w"), one_trial({("a", "w"): 1.0, ("b", "w"): 2.0}))
    comparison = compare(results, "a", "b", RULES)
    (row,) = comparison.workloads
    assert row.difference == -1.0
    assert all(map(math.isnan, (row.low, row.high, row.faster, comparison.above)))


def test_an_interval_may_end_in_infinity():
    row = compared({"a": [1.0, 2.0, INF], "b": [5.0, 5.0, 5.0]})
    assert (row.difference, row.low, row.high) == (-3.0, -4.0, INF)
    assert not math.isnan(row.faster)


@BOTH
@settings(max_examples=15)
@given(drawn_boards(), st.integers(0, 5))
def test_the_other_way_round_every_sign_turns(method, board, seed):
    rules, _, trials = board
    results = make_results(rules, trials, "abc")
    forth, back = (compare(results, *pair, method, seed) for pair in ("ab", "ba"))
    assert forth.scores == back.scores[::-1]
    one_study = rules.studies == 1
    assert one_study or forth.above + back.above == pytest.approx(1)
    for one, other in zip(forth.workloads, back.workloads, strict=True):
        assert one.seconds == other.seconds[::-1]
        assert one.difference == pytest.approx(-other.difference, nan_ok=True)
        assert one_study or (one.low, one.high) == (-other.high, -other.low)
        assert one_study or one.faster + other.faster == pytest.approx(1)


def test_an_interval_leaves_one_in_forty_resamples_out_on_either_side():
    """Enough studies that the 10,000 differences are almost all distinct."""
    rng = np.random.default_rng(2)
    times = {(s, "w"): rng.uniform(10, 90, 51).tolist() for s in "ab"}
    results = make_results(single("w", studies=51), one_trial(times))
    (row,) = compare(results, "a", "b", RULES, seed=4).workloads
    differences = []
    (draws,) = study_draws(["w"], np.array([[51], [51]]), 4, RESAMPLES)
    for drawn in draws[51].tolist():
        a, b = (statistics.median([times[s, "w"][k] for k in drawn]) for s in "ab")
        differences.append(a - b)
    for end, below in [(row.low, 0.025), (row.high, 0.975)]:
        assert sum(d < end for d in differences) / RESAMPLES <= below + 1e-4
        assert sum(d <= end for d in differences) / RESAMPLES >= below - 1e-4
    (back,) = compare(results, "b", "a", RULES, seed=4).workloads
    assert (row.low, row.high) == (-back.high, -back.low)


@BOTH
def test_scores_and_odds_are_those_of_the_leaderboard(method):
    times = {
        (s, w): [10.0 + 7 * k % 5 + place for k in range(5)]
        for place, s in enumerate("abc")
        for w in "vw"
    }
    times["b", "v"] = [9.0, 9.5, 30.0, 60.0, INF]
    rules, trials = single(studies=5), one_trial(times)
    comparison = compare(make_results(rules, trials), "b", "a", method, seed=3)
    board = make_board(rules, trials, method, seed=3, resamples=RESAMPLES)
    shown = {standing.name: standing for standing in board.standings}
    assert comparison.names == ("b", "a")
    assert comparison.scores == pytest.approx((shown["b"].score, shown["a"].score), abs=1e-11)
    assert comparison.above == pytest.approx(shown["b"].beats["a"])
    assert 0 < comparison.above < 1


@given(drawn_boards())
@settings(max_examples=15)
def test_medians_are_those_of_the_reference(board):
    rules, _, trials = board
    for method in METHODS.values():
        table = oracle.study_table(rules.model_dump(), trials, "abc", method is OFFICIAL)
        times = oracle.medians(rules.model_dump(), table, "abc")
        for row in compare(make_results(rules, trials, "abc"), "a", "c", method).workloads:
            expected = [times[name, row.workload] for name in "ac"]
            a, b = (INF if seconds is None else seconds for seconds in expected)
            assert row.seconds == (a, b)
            assert row.difference == pytest.approx(
                math.nan if a == b == INF else a - b, nan_ok=True
            )


def test_variants_are_compared_too_but_marked_by_their_place():
    rules = single("v", {"h": "v"})
    results = make_results(rules, one_trial({("a", "v"): 1.0, ("a", "h"): 2.0}), "ab")
    assert [row.workload for row in compare(results, "a", "b", RULES).workloads] == ["v", "h"]


def test_a_seed_fixes_the_comparison():
    rng = np.random.default_rng(0)
    times = {(s, "w"): rng.uniform(10, 20, 15).tolist() for s in "ab"}
    results = make_results(single("w", studies=15), one_trial(times))
    one, same, other = (compare(results, "a", "b", RULES, seed) for seed in (1, 1, 2))
    assert one == same
    assert one.workloads[0].faster != other.workloads[0].faster


@pytest.mark.parametrize(
    ("pair", "told"), [("ac", "no submission 'c'. There are: a, b"), ("aa", "with itself")]
)
def test_what_cannot_be_compared_is_refused(pair, told):
    results = make_results(single("w"), one_trial({("a", "w"): 1.0, ("b", "w"): 1.0}))
    with pytest.raises(RecordError, match=told):
        compare(results, *pair, RULES)
