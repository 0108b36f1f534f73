"""Remarks on a board: what is missing, what depends on the method or on the file system."""

import dataclasses
import re

import pytest
from hypothesis import given

from scoring.leaderboard import make_leaderboard
from scoring.remarks import difference_lines, differences, missing, ties
from scoring.times import OFFICIAL, RULES, study_times
from tests.scoring import oracle
from tests.scoring.boards import INF, drawn_boards, make_board, make_results, one_trial, single

ONE, ALL = [2], [1, 2, 3]


@pytest.mark.parametrize(
    ("absent", "told"),
    [
        ({0: ALL}, "no study 0: a missing study is infinite"),
        ({0: ALL, 2: ALL, 3: ALL, 4: ALL}, "no study 0, 2-4: a missing study is infinite"),
        ({1: ONE, 2: ONE}, "no study 1-2 trial 2: a missing trial is a miss"),
        ({1: [1, 3]}, "no study 1 trial 1, 3: a missing trial is a miss"),
        (
            {0: ONE, 1: ALL},
            "no study 0 trial 2; no study 1: "
            "a missing study is infinite, a missing trial is a miss",
        ),
    ],
)
def test_what_is_missing_is_named_with_its_effect(absent, told):
    rules = single("w", studies=5, trials=3)
    results = dataclasses.replace(make_results(rules, {}, ["a"]), missing={("a", "w"): absent})
    assert missing(results, RULES) == [f"a on w: {told}"]
    assert make_leaderboard(results, resamples=10).warnings == [f"a on w: {told}"]


def test_officially_a_missing_study_is_left_out():
    results = make_results(single("w", trials=3), {}, ["a"])
    results = dataclasses.replace(results, missing={("a", "w"): {0: ALL}})
    (line,) = missing(results, OFFICIAL)
    assert line == "a on w: no study 0: a missing study is left out of the median"


def test_a_submission_with_equal_scores_by_both_methods_has_no_remark():
    assert differences(make_results(single("w"), {("a", "w", 0, 1): 5.0})) == {}


def test_each_difference_of_the_methods_is_named_with_its_workload():
    rules = single("vwxy", studies=2, trials=2)
    trials = one_trial({(s, w): [4.0, 4.0] for s in "ab" for w in "vwxy"})
    trials["b", "v", 0, 1] = trials["b", "v", 1, 1] = [(8.0, 0.5)]
    trials["b", "v", 0, 2] = trials["b", "v", 1, 2] = [(1.0, 0.9), (6.5, 0.5)]  # later, but faster
    del trials["b", "w", 1, 1]
    trials["b", "x", 0, 1] = trials["b", "x", 1, 1] = [(101.0, 0.4)]
    trials["a", "x", 0, 1] = trials["a", "x", 1, 1] = 50.0
    told = differences(make_results(rules, trials))
    assert set(told) == {"b"}
    parts = re.split(r", (?=[+-]\d)", told["b"].split(": ", 1)[1])
    for part, reason, workload in zip(
        parts,
        ["fastest trial", "missing study", "after the budget", "area"],
        ["(on v)", "(on w)", "(on x)", "trapezoids"],
        strict=True,
    ):
        assert reason in part
        assert part.endswith(workload)


@given(drawn_boards())
def test_the_parts_of_a_difference_add_up(board):
    rules, submissions, trials = board
    told = differences(make_results(rules, trials, submissions))
    plain = rules.model_dump()
    by_rules, officially = (oracle.scores(plain, trials, submissions, o) for o in (False, True))
    for name in submissions:
        if name not in told:
            assert by_rules[name] == pytest.approx(officially[name], abs=3e-6)
            continue
        both, parts = told[name].split(": ", 1)
        shown = [float(number) for number in re.findall(r"\d\.\d{6}", both)]
        assert shown == pytest.approx([by_rules[name], officially[name]], abs=6e-7)
        change = sum(float(number) for number in re.findall(r"[+-]\d\.\d{6}", parts))
        assert change == pytest.approx(by_rules[name] - officially[name], abs=4e-6)


def test_only_a_board_by_the_rules_tells_of_the_other_method():
    trials = one_trial({("a", "w"): 1.0, ("b", "w"): 2.6})
    board = make_board(single("w"), trials, RULES)
    assert board.differences.keys() == {"b"}
    assert board.differences == differences(board.results)
    assert make_board(single("w"), trials, OFFICIAL).differences == {}


def tie(seconds_by_trial, others=(), **changes):
    """What is said of a tie in study 0 of w; `others` are the times of further studies."""
    trials = {("a", "w", 0, n): [(s, 0.5)] for n, s in seconds_by_trial.items()}
    trials |= {("a", "w", k, 1): seconds for k, seconds in enumerate(others, 1)}
    trials["b", "w", 0, 1] = 10.0
    board = make_board(single("w", trials=5, **changes), trials, OFFICIAL)
    return [line for line in board.remarks if not line.startswith("one study")]


def test_one_study_alone_is_remarked():
    trials = one_trial({("a", "w"): [1.0, 2.0]})
    (line,) = make_board(single("w"), trials).remarks
    assert line.startswith("one study: nothing was repeated")
    assert make_board(single("w"), trials, resampled="workloads").remarks == []
    assert make_board(single("w", studies=2), trials).remarks == []


def test_a_tie_that_changes_a_score_is_named():
    (line,) = tie({2: 30.0, 5: 20.0})
    assert line.startswith("tie: a on w, study 0: trial 2 (30.0 s) and trial 5 (20.0 s)")
    assert "trial 5 as on the published boards" in line
    assert "the median by 10.0 s" in line
    expected = oracle.area([2.0], 4.0, True) - oracle.area([3.0], 4.0, True)
    assert line.endswith(f"a score by {expected:.6f}")


def test_a_tie_that_changes_a_median_but_no_score_is_named():
    (line,) = tie({2: 45.0, 5: 47.0})  # both over four times the fastest
    assert line.endswith("the median by 2.0 s and no score")


def test_ties_that_move_no_median_are_counted_together():
    (line,) = tie({2: 30.0, 5: 20.0}, others=[5.0, 6.0], studies=3)
    assert line.startswith("1 tie between trials")
    assert line.endswith("no median changes")
    (line,) = tie({2: 20.0, 5: 20.0})
    assert line.startswith("1 tie between trials")
    (line,) = tie({2: 30.0, 5: 20.0}, others=[INF, INF], studies=3)
    assert line.startswith("1 tie between trials")


def test_several_ties_that_move_no_median_are_one_line():
    tied = {("a", "w", k, n): [(9.0, 0.5)] for k in range(2) for n in (1, 2)}
    board = make_board(single("w", studies=2, trials=2), tied, OFFICIAL)
    assert [line.split(" between")[0] for line in board.remarks] == ["2 ties"]
    tied["a", "w", 1, 2] = [(8.0, 0.5)]
    board = make_board(single("w", studies=2, trials=2), tied, OFFICIAL)
    assert board.remarks[0].startswith("tie: a on w, study 1: ")
    assert board.remarks[1].startswith("1 more tie between")


def test_the_rules_know_no_ties():
    results = make_results(single("w", trials=5), {("a", "w", 0, n): [(9.0, 0.5)] for n in (1, 2)})
    assert ties(study_times(results, RULES), RULES, results.scope) == []
    assert len(ties(study_times(results, OFFICIAL), OFFICIAL, results.scope)) == 1


def test_differences_by_the_exact_area_alone_share_a_line():
    area = "0.9 by the rules, 0.8 by the official method: +0.100000 as the area is exact, not 100 "
    other = "0.9 by the rules, 0.8 by the official method: +0.05 as a target met after the budget"
    found = {"a": f"{area}trapezoids", "b": f"{other} is a miss (on w)", "c": f"{area}trapezoids"}
    found["d"] = f"{area}trapezoids, +0.01 as a study's fastest trial counts"
    lines = difference_lines(found)
    assert lines == [
        f"b: {found['b']}",
        f"d: {found['d']}",
        "the area is exact, not 100 trapezoids: a, c differ from the official method only by this",
    ]
    assert difference_lines({}) == []
