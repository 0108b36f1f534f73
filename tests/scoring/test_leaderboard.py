"""Scores, ranks and their parts, against a slow and obvious reference."""

import math
import os
import random
import shutil
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scoring.leaderboard import make_leaderboard
from scoring.reading.read import read
from scoring.report.tables import to_csv, to_json
from scoring.times import METHODS, OFFICIAL, RULES
from tests.scoring import oracle
from tests.scoring.boards import INF, drawn_boards, make_board, make_results, one_trial, single
from tests.scoring.logs import write_logs

BOTH = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def by_name(board, field):
    return {standing.name: getattr(standing, field) for standing in board.standings}


def cell(board, submission, workload):
    return {standing.name: standing for standing in board.standings}[submission].cells[workload]


@contextmanager
def shuffled_scandir(rng, scandir, path):
    with scandir(path) as entries:
        listed = list(entries)
    rng.shuffle(listed)
    yield listed


def close(value):
    return pytest.approx(value, abs=1e-11)


@BOTH
@given(drawn_boards())
def test_scores_and_cells_are_those_of_the_reference(method, board):
    rules, submissions, trials = board
    standings = make_board(rules, trials, method, submissions).standings
    official, plain = method is OFFICIAL, rules.model_dump()
    table = oracle.study_table(plain, trials, submissions, official)
    times = oracle.medians(plain, table, submissions)
    after = oracle.stages(plain, times, submissions)
    scores = oracle.scores(plain, trials, submissions, official)
    assert sorted(standing.name for standing in standings) == submissions
    for standing in standings:
        assert standing.score == close(scores[standing.name])
        better = sum(other > scores[standing.name] + 1e-11 for other in scores.values())
        assert standing.rank == 1 + better
        for workload, shown in standing.cells.items():
            key = (standing.name, workload)
            assert shown.seconds == (INF if times[key] is None else times[key])
            numbers = [n and n.trial for n in shown.counted]
            expected = [table.get((*key, k), (None,))[0] for k in range(len(numbers))]
            assert numbers == expected
            assert shown.reached == sum(number is not None for number in expected)
            if workload in rules.scored:
                assert shown.ratio == after["ratios"][key]
                assert (shown.reason == "") == math.isfinite(shown.ratio)
            else:
                assert math.isnan(shown.ratio)
                assert (shown.reason == "") == math.isfinite(after["capped"][key])


@BOTH
@settings(max_examples=15)
@given(drawn_boards(), st.integers(0, 99))
def test_neither_the_order_of_writing_nor_of_listing_matters(method, board, seed):
    rules, _, trials = board
    assume(trials)
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root = Path(folder)
        texts = []
        for _ in range(2):
            write_logs(root, trials)
            board = make_leaderboard(read([root], rules, "external"), method, resamples=20)
            texts.append((to_json(board), to_csv(board)))
            shutil.rmtree(root / "external_tuning")
            trials = dict(rng.sample(list(trials.items()), len(trials)))
            patch.setattr(os, "scandir", partial(shuffled_scandir, rng, os.scandir))
    assert texts[0] == texts[1]


@BOTH
@settings(max_examples=30)
@given(drawn_boards())
def test_renaming_moves_no_number(method, board):
    rules, submissions, trials = board
    names = dict(zip(submissions, ["z", "y", "x"], strict=False))
    renamed = {(names[s], *key): curve for (s, *key), curve in trials.items()}
    one = make_board(rules, trials, method, submissions)
    other = make_board(rules, renamed, method, [names[s] for s in submissions])
    for field in ("rank", "score", "low", "high", "ranks"):
        values = by_name(one, field)
        assert by_name(other, field) == {names[name]: values[name] for name in submissions}


@BOTH
@settings(max_examples=30)
@given(drawn_boards(), st.permutations([0, 1, 2]))
def test_the_order_of_workloads_moves_no_number(method, board, order):
    rules, submissions, trials = board
    scored = [rules.scored[place] for place in order if place < len(rules.scored)]
    held_out = dict(reversed(rules.held_out.items()))
    shuffled = rules.model_copy(update={"scored": tuple(scored), "held_out": held_out})
    one = make_board(rules, trials, method, submissions)
    other = make_board(shuffled, trials, method, submissions)
    for field in ("rank", "score", "low", "high", "ranks"):
        assert by_name(one, field) == by_name(other, field)


@settings(max_examples=30)
@given(drawn_boards())
def test_a_submission_that_reaches_nothing_moves_no_score(board):
    rules, submissions, trials = board
    one = make_board(rules, trials, RULES, submissions)
    other = make_board(rules, trials, RULES, [*submissions, "idle"])
    expected = {**by_name(one, "score"), "idle": 0.0}
    assert by_name(other, "score") == expected


def test_ties_share_a_rank_and_are_in_order_of_name():
    board = make_board(single("w"), one_trial({("c", "w"): 2.0, ("b", "w"): 1.0, ("a", "w"): 2.0}))
    assert by_name(board, "rank") == {"b": 1, "a": 2, "c": 2}
    assert [standing.name for standing in board.standings] == ["b", "a", "c"]


def test_after_a_tie_a_rank_is_left_out():
    times = {("a", "w"): 1.0, ("b", "w"): 1.0, ("c", "w"): 2.0}
    assert by_name(make_board(single("w"), one_trial(times)), "rank") == {"a": 1, "b": 1, "c": 3}


def test_equal_credit_in_another_order_is_a_tie():
    """0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 in floating point; the ranks must not know."""
    times = {"a": (1.1, 1.7, 2.3), "b": (2.3, 1.1, 1.7), "c": (1.0, 1.0, 1.0)}
    trials = {(s, w, 0, 1): t for s in times for w, t in zip("vwx", times[s], strict=True)}
    assert by_name(make_board(single("vwx"), trials), "rank") == {"c": 1, "a": 2, "b": 2}


def test_a_workload_that_no_submission_solves_gives_no_credit_but_counts():
    times = {("a", "v"): 1.0, ("a", "w"): INF, ("b", "v"): 2.0, ("b", "w"): INF}
    board = make_board(single(), one_trial(times))
    assert by_name(board, "score") == close({"a": 1 / 2, "b": 1 / 3})
    assert by_name(board, "rank") == {"a": 1, "b": 2}


def test_one_submission_alone_is_the_fastest_everywhere():
    board = make_board(single(), one_trial({("a", "v"): 7.0, ("a", "w"): INF}))
    (only,) = board.standings
    assert (only.rank, only.score, only.cells["v"].ratio) == (1, 0.5, 1.0)
    assert only.beats == {"a": 0.5}


def test_an_even_number_of_studies_has_the_mean_of_the_middle_two():
    times = {("a", "w"): [1.0, 2.0], ("b", "w"): [1.0, INF], ("c", "w"): [3.0, 1.0]}
    board = make_board(single("w", studies=2), one_trial(times))
    assert [cell(board, name, "w").seconds for name in "abc"] == [1.5, INF, 2.0]
    assert by_name(board, "score") == close({"a": 1.0, "b": 0.0, "c": (4 - 4 / 3) / 3})


def test_a_variant_four_times_slower_than_the_fastest_loses_its_workload():
    times = {("a", "w"): 1.0, ("a", "h"): 41.0, ("b", "w"): 3.0, ("b", "h"): 10.0}
    board = make_board(single("w", {"h": "w"}), one_trial(times))
    assert by_name(board, "score") == {"a": 0.0, "b": 1.0}
    assert cell(board, "a", "w").seconds == 1.0  # the time remains, the ratio does not
    assert cell(board, "a", "w").ratio == INF
    assert "h" in cell(board, "a", "w").reason
    assert cell(board, "a", "h").reason in cell(board, "a", "w").reason
    assert "4" in cell(board, "a", "h").reason
    assert "10.0 s" in cell(board, "a", "h").reason


def test_a_variant_does_not_count_without_its_workload():
    times = {("a", "w"): INF, ("a", "h"): 1.0, ("b", "w"): 3.0, ("b", "h"): 10.0}
    board = make_board(single("w", {"h": "w"}), one_trial(times))
    assert by_name(board, "score") == {"a": 0.0, "b": 1.0}  # b's variant is not 10 times slower
    assert "workload" in cell(board, "a", "h").reason
    assert cell(board, "b", "h").reason == ""


def test_a_reason_names_the_variant_that_was_missed():
    held_out = {"other": "v", "good": "w", "bad": "w"}
    times = {("a", w): 1.0 for w in ["v", "w", "good"]} | {("a", "bad"): INF, ("a", "other"): INF}
    board = make_board(single("vw", held_out), one_trial(times))
    assert "bad" in cell(board, "a", "w").reason
    assert "other" in cell(board, "a", "v").reason


def test_reasons_distinguish_the_ways_to_lose_a_workload():
    times = {("a", "w"): 1.0, ("b", "w"): 5.0, ("c", "w"): INF}
    board = make_board(single("w"), one_trial(times), submissions="abcd")
    reasons = [cell(board, name, "w").reason for name in "abcd"]
    assert reasons[0] == ""
    assert "fastest" in reasons[1]
    assert "missed" in reasons[2]
    assert "read" in reasons[3]


def test_steps_are_shown_beside_seconds():
    trials = {("a", "w", k, 1): [(10.0 - k, 0.5, 100 * k)] for k in range(3)}
    assert cell(make_board(single("w", studies=3), trials), "a", "w").steps == 100
    assert cell(make_board(single("w", studies=7), trials), "a", "w").steps == INF


def test_the_methods_differ_in_what_counts_as_a_study():
    trials = one_trial({("a", "w"): [1.0, 3.0, INF]})
    rules, official = (make_board(single("w", studies=5), trials, m) for m in (RULES, OFFICIAL))
    assert (cell(rules, "a", "w").seconds, cell(official, "a", "w").seconds) == (INF, 3.0)
    assert (cell(rules, "a", "w").studies, cell(official, "a", "w").studies) == (5, 3)
    assert (cell(rules, "a", "w").reached, cell(official, "a", "w").reached) == (2, 2)


def test_hours_and_outcomes_count_every_trial():
    rules = single("w", studies=3, trials=2)
    trials = {("a", "w", 0, 1): 36.0, ("a", "w", 0, 2): [(72.0, 0.9)], ("a", "w", 3, 1): 36.0}
    (standing,) = make_board(rules, trials).standings
    assert standing.hours == close(0.04)
    assert standing.trials == {"planned": 6, "missed": 1, "reached": 2, "missing": 4}


def test_a_board_without_a_single_trial_scores_nothing():
    board = make_board(single(), {}, submissions=["a", "b"])
    assert by_name(board, "score") == {"a": 0.0, "b": 0.0}
    assert by_name(board, "rank") == {"a": 1, "b": 1}
    assert by_name(board, "hours") == {"a": 0.0, "b": 0.0}


def test_a_board_is_scored_by_the_rules_by_default():
    board = make_leaderboard(make_results(single("w"), {("a", "w", 0, 1): 1.0}))
    assert board.method is RULES
    assert board.uncertainty.resamples == 10_000
