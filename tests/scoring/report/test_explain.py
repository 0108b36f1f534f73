"""Explanations of scores: every number can be recomputed, every line of a file is right."""

import csv
import json
import math
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings

from scoring.leaderboard import make_leaderboard
from scoring.reading.read import read
from scoring.records import Failure, RecordError, Status
from scoring.report.explain import explain
from scoring.times import METHODS, RULES
from scoring.tree import write_trial
from tests.scoring.boards import INF, NAN, curve_of, drawn_boards, one_trial, single
from tests.scoring.logs import log_folder, write_logs
from tests.scoring.trees import make_result, make_row, make_spec, write_tree

BOTH = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def board_of(root, rules, trials, method=RULES):
    write_logs(root, {key: curve_of(curve) for key, curve in trials.items()})
    return make_leaderboard(read([root], rules, "external"), method, resamples=5)


def explained(root, rules, trials, workload="w", submission="a", method=RULES):
    return explain(board_of(root, rules, trials, method), submission, workload).to_plain()


def line_of(row):
    """The cells of the line of a CSV file that a reason names."""
    with Path(row["file"]).open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    return dict(zip(header, lines[row["line"] - 2], strict=True))


def check_rows(study):
    for row in study["because"]:
        cells = line_of(row)
        assert float(cells["accumulated_submission_time"]) == row["seconds"]
        assert float(cells["validation/loss"]) == pytest.approx(float(row["value"]), nan_ok=True)
        assert f"{row['file']}:{row['line']}" in row["text"]
        assert ("after the budget of 100.000 s" in row["text"]) == (row["seconds"] > 100)
    if "seconds" in study:
        (row,) = study["because"]
        assert row["seconds"] == study["seconds"]
        assert row["trial"] == study["trial"]
        assert row["value"] <= 0.5
        assert "does not meet" not in row["text"]


def check_workload(workload, rules_count_missing):
    median, *variants = workload["because"]
    studies = [
        float(study.get("seconds", INF))
        for study in median["because"]
        if study["trials"] or rules_count_missing
    ]
    assert statistics.median(studies or [INF]) == float(workload["seconds"])
    assert median["studies"] == len(studies)
    assert median["reached"] == sum(seconds < INF for seconds in studies)
    for study in median["because"]:
        check_rows(study)
    for variant in variants:
        check_workload(variant, rules_count_missing)


@BOTH
@settings(max_examples=20)
@given(drawn_boards())
def test_every_number_of_an_explanation_recomputes(method, board):
    rules, submissions, trials = board
    assume({key[0] for key in trials} == set(submissions))
    with tempfile.TemporaryDirectory() as folder:
        board = board_of(Path(folder), rules, trials, method)
        for standing in board.standings:
            plain = explain(board, standing.name).to_plain()
            assert json.loads(json.dumps(plain, allow_nan=False)) == plain
            assert plain["score"] == standing.score
            assert [workload["workload"] for workload in plain["because"]] == list(rules.scored)
            credits = [workload["credit"] for workload in plain["because"]]
            assert math.fsum(credits) / len(rules.scored) == pytest.approx(plain["score"], abs=1e-9)
            for workload in plain["because"]:
                check_workload(workload, method.missing_is_infinite)
                ratio = float(workload["ratio"])
                assert (workload["reason"] == "") == (ratio < INF)
                if ratio < INF:
                    assert ratio == workload["seconds"] / workload["fastest_seconds"]
                    assert workload["fastest"]
                if method is RULES:
                    assert workload["credit"] == pytest.approx(max(0, (4 - ratio) / 3))
                variants = [v for v, base in rules.held_out.items() if base == workload["workload"]]
                assert [v["workload"] for v in workload["because"][1:]] == variants


def test_the_texts_say_what_the_numbers_are(tmp_path):
    rules = single("vw", {"h": "w"}, studies=3)
    times = {("a", "v"): INF, ("a", "w"): [10.0, 30.0, INF], ("a", "h"): [2.0] * 3}
    times |= {("b", "v"): INF, ("b", "w"): [20.0] * 3, ("b", "h"): [1.0] * 3}
    plain = explain(board_of(tmp_path, rules, one_trial(times)), "a").to_plain()
    assert plain["text"].startswith("a: score 0.416667, rank 2 of 2 (toy, external tuning, ")
    assert plain["text"].endswith("= 0.833333 / 2 workloads")
    missed, reached = plain["because"]
    assert missed["text"].startswith("v: credit 0: ")
    assert "credit 0.833333 = (4 - 1.500000) / 3; ratio 1.500000 = " in reached["text"]
    assert "30.000 s / 20.000 s (b)" in reached["text"]
    median, variant = reached["because"]
    assert median["text"] == "median of 3 studies: 30.000 s; 2 reached the target"
    assert variant["text"].startswith("h: held-out variant of w, counts")
    first, _, last = median["because"]
    assert first["text"].startswith("study 0: 10.000 s by trial 1 (fastest)")
    assert last["text"].startswith("study 2: a miss")


def test_a_variant_that_does_not_count_is_explained_below_its_workload(tmp_path):
    times = {("a", "w"): 10.0, ("a", "h"): 9.0, ("b", "w"): 10.0, ("b", "h"): 1.0}
    plain = explained(tmp_path, single("w", {"h": "w"}), one_trial(times))
    variant = plain["because"][1]
    assert plain["credit"] == 0
    assert "h" in plain["reason"]
    assert variant["reason"] in plain["reason"]
    assert "does not count" in variant["text"]
    assert "credit" not in variant


@pytest.mark.parametrize(
    ("curves", "trial", "line"),
    [
        ([[(1, 0.9), (2, 0.6), (3, 0.8)]], 1, 3),  # the closest, not the last
        ([[(1, 0.9)], [(1, 0.8), (2, NAN)]], 2, 2),
        ([[(1, NAN)], [(1, 3.0)]], 2, 2),
        ([[(1, NAN)]], 1, 2),
        ([[(1, 0.51)], [(50, 0.9), (120, 0.4)]], 2, 3),  # met, but too late
    ],
)
def test_a_miss_is_explained_by_the_evaluation_that_came_closest(tmp_path, curves, trial, line):
    trials = {("a", "w", 0, n): curve for n, curve in enumerate(curves, 1)}
    plain = explained(tmp_path, single("w", trials=2), trials)
    (study,) = plain["because"][0]["because"]
    (row,) = study["because"]
    assert (row["trial"], row["line"]) == (trial, line)
    assert "seconds" not in study
    check_rows(study)
    late = row["seconds"] > 100
    assert ("does not meet" in row["text"]) == (not late)


def test_the_closest_to_a_target_to_maximise_is_the_highest(tmp_path):
    goal = {"metric": "loss", "direction": "max", "validation_target": 9, "budget_seconds": 100}
    rules = single("w", workloads={"w": goal})
    plain = explained(tmp_path, rules, {("a", "w", 0, 1): [(1, 2.0), (2, 8.0), (3, 4.0)]})
    (row,) = plain["because"][0]["because"][0]["because"]
    assert (row["value"], row["line"]) == (8.0, 3)
    assert "does not meet >= 9" in row["text"]


def test_what_only_the_official_method_counts_explains_nothing_by_the_rules(tmp_path):
    trials = {("a", "w", 0, 1): [(5.0, 0.9)], ("a", "w", 0, 2): [(4.0, 0.4)]}
    rules = single("w", trials=1)
    by_rules = explained(tmp_path, rules, trials)["because"][0]["because"][0]
    assert by_rules["trials"] == 1
    assert [row["trial"] for row in by_rules["because"]] == [1]
    official = explained(tmp_path, rules, trials, method=METHODS["official"])
    (study,) = official["because"][0]["because"]
    assert (study["trial"], study["seconds"], study["trials"]) == (2, 4.0, 2)
    assert "earliest evaluation" in study["text"]


def test_a_study_of_which_only_more_than_planned_was_read_was_not_read(tmp_path):
    trials = {("a", "w", 0, 7): [(4.0, 0.4)]}
    (study,) = explained(tmp_path, single("w"), trials)["because"][0]["because"]
    assert study["trials"] == 0
    assert study["because"] == []
    assert "no trial was read: infinite" in study["text"]


def test_a_missing_study_is_shown_with_its_effect_on_the_median(tmp_path):
    trials = {("a", "w", 0, 1): 3.0}
    for method, effect in [("rules", "infinite"), ("official", "left out of the median")]:
        plain = explained(tmp_path, single("w", studies=2), trials, method=METHODS[method])
        _, *missing = plain["because"][0]["because"]
        assert all(study["text"].endswith(effect) for study in missing)
        assert len(missing) == 1


def test_an_own_trial_without_evaluation_names_no_line(tmp_path):
    tree = write_tree(tmp_path, {("a", "w", 0, 1): [], ("b", "w", 0, 1): 5.0})
    board = make_leaderboard(read([tree]), resamples=5)
    (study,) = explain(board, "a", "w").because[0].because
    assert [reason.text for reason in study.because] == ["trial 1: out_of_time after 0.000 s"]
    assert study.facts["trials"] == 1


@pytest.mark.parametrize(
    ("content", "shown"),
    [('{"learning_rate": 0.5}', {"learning_rate": 0.5}), ("{", None), ("\xff", None), (None, None)],
)
def test_a_trial_is_shown_with_its_hyperparameters(tmp_path, content, shown):
    trials = {("a", "w", 0, 1): 3.0}
    if content is not None:
        folder = log_folder(tmp_path, "a", "w", 0, 1)
        folder.mkdir(parents=True)
        (folder / "hparams.json").write_text(content, encoding="latin-1")
    plain = explained(tmp_path, single("w"), trials)
    (row,) = plain["because"][0]["because"][0]["because"]
    assert row["hyperparameters"] == shown


@pytest.mark.parametrize(
    ("clock", "ran"),
    [("wall", "ran with 90 steps, 50% of 1 CPU"), ("steps", "ran with 90 steps")],
)
def test_how_a_trial_ran_has_its_cpu_time_only_if_it_was_measured(tmp_path, clock, ran):
    rows = [make_row(9.0, 1.0)]
    write_tree(tmp_path, {("a", "w", 0, 1): rows}, clock=clock)
    ending = make_result(rows, Status.OUT_OF_TIME, global_step=90)
    cpu = 4.5 if clock == "wall" else 0.0
    spec = make_spec("a", "w", 0, 1, clock=clock)
    write_trial(tmp_path, spec, replace(ending, cpu_seconds=cpu))
    board = make_leaderboard(read([tmp_path]), resamples=5)
    *_, trial = explain(board, "a", "w").because[0].because[0].because
    assert ran in [reason.text for reason in trial.because]


def test_the_explanation_of_one_workload_is_part_of_the_complete_one(tmp_path):
    rules = single("vw", {"h": "w"})
    board = board_of(tmp_path, rules, one_trial({("a", w): 3.0 for w in "vwh"}))
    whole = explain(board, "a").to_plain()
    assert explain(board, "a", "w").to_plain() == whole["because"][1]
    assert explain(board, "a", "h").to_plain() == whole["because"][1]["because"][1]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("c", None), "no submission 'c'. There are: a"),
        (("a", "x"), "no workload 'x' .*: v, w"),
    ],
)
def test_what_is_not_on_the_board_is_refused(tmp_path, names, told):
    board = board_of(tmp_path, single(), one_trial({("a", "v"): 3.0}))
    with pytest.raises(RecordError, match=told):
        explain(board, *names)


def test_a_miss_is_explained_by_the_ends_of_its_trials(tmp_path):
    """Study 0: one trial crashed, one was stopped, one never began, one ran out of time."""
    rows = [make_row(5.0, 1.0)]
    write_tree(tmp_path, {("a", "w", 0, n): rows for n in (1, 2, 3, 4)} | {("b", "w", 0, 1): 9.0})
    endings = {
        1: make_result([], Status.FAILED, failure=Failure.SUBMISSION_ERROR, message="boom: lr < 0"),
        2: make_result(rows, Status.PRUNED),
        3: make_result([], Status.PRUNED),
        4: make_result(rows, Status.OUT_OF_TIME),
    }
    for number, result in endings.items():
        write_trial(tmp_path, make_spec("a", "w", 0, number), result)
    results = read([tmp_path])
    board = make_leaderboard(
        replace(results, trials=[t for t in results.trials if t.status != "pruned"]), resamples=5
    )
    everything = replace(board, results=results)
    (study,) = explain(everything, "a", "w").because[0].because
    said = [reason.text for reason in study.because]
    assert said[1:] == [
        "trial 1: failed (submission_error) after 0.000 s: boom: lr < 0",
        "trial 2: stopped after 5.000 s, when it could no longer count",
        "trial 3: never started, since it could no longer count",
        "trial 4: out_of_time after 5.000 s",
    ]


def test_a_submission_that_fails_everywhere_or_on_a_workload_is_named(tmp_path):
    trials = {("a", w, k, 1): 9.0 for w in "vw" for k in (0, 1)}
    write_tree(tmp_path, {**trials, **{("b", *key[1:]): 9.0 for key in trials}})
    broken = {"failure": Failure.SUBMISSION_ERROR}
    for workload, study, message in (("v", 0, "boom"), ("v", 1, "bang"), ("w", 0, "boom")):
        spec = make_spec("b", workload, study, 1)
        write_trial(tmp_path, spec, make_result([], Status.FAILED, message=message, **broken))
    (line,) = (r for r in make_leaderboard(read([tmp_path])).remarks if "every trial" in r)
    assert line == (
        "b on v: every trial that started failed (2), 1 of them with submission_error: boom"
    )
    spec = make_spec("b", "w", 1, 1)
    write_trial(tmp_path, spec, make_result([], Status.FAILED, message="boom", **broken))
    (line,) = (r for r in make_leaderboard(read([tmp_path])).remarks if "every trial" in r)
    assert line == ("b: every trial that started failed (4), 3 of them with submission_error: boom")
