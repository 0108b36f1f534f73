"""The published logs of AlgoPerf v0.5, external tuning: the published board, number by number.

They lie beside the repository and are not part of it; where they are absent these tests skip.
"""

import csv
import json
import os
import random
import statistics
import tarfile
import tomllib
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from scoring import rulesets
from scoring.agreement import agreement
from scoring.calibration import Board, leaving_out_submissions
from scoring.compare import compare
from scoring.leaderboard import make_leaderboard
from scoring.reading.read import read
from scoring.reference import load_reference, save_reference
from scoring.replay import RISKS, Logs, replay, replay_order, replay_predictions
from scoring.replay import logs as logs_of
from scoring.report.explain import explain
from scoring.report.tables import to_csv, to_json
from scoring.short_targets import short_targets
from scoring.speedup import speedups
from scoring.times import METHODS, OFFICIAL, RULES
from tests.scoring import oracle
from tests.scoring.boards import INF

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared" / "algoperf_v05_external"
pytestmark = pytest.mark.skipif(
    not (SHARED / "logs.tar.xz").is_file(), reason=f"no published logs in {SHARED}"
)
BOTH = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@pytest.fixture(scope="session")
def logs(tmp_path_factory):
    root = tmp_path_factory.mktemp("algoperf_v05")
    with tarfile.open(SHARED / "logs.tar.xz") as archive:
        archive.extractall(root, filter="data")
    return root


@pytest.fixture(scope="module")
def results(logs):
    return read([logs], rulesets.load("algoperf-0.5"), "external")


@pytest.fixture(scope="module")
def boards(results):
    return {method: make_leaderboard(results, method) for method in METHODS.values()}


@pytest.fixture(scope="module")
def expected():
    return json.loads((SHARED / "expected_scores.json").read_text())


@pytest.fixture(scope="module")
def official(boards):
    return {s["name"]: s for s in to_json(boards[OFFICIAL])["submissions"]}


@pytest.mark.parametrize(("name", "fraction"), [("sprint", 0.1), ("sprint-qualification", 0.05)])
def test_the_provisional_targets_of_sprint_follow_from_the_logs(results, name, fraction):
    rules = rulesets.load(name)
    found = short_targets(results, fraction, rules.scored)
    assert {target.workload: target.rules for target in found} == rules.workloads


@pytest.fixture(scope="module")
def plain(logs):
    """The ruleset as its file has it, and all evaluations as `csv` reads them."""
    path = ROOT / "scoring" / "rulesets" / "algoperf-0.5.toml"
    rules = tomllib.loads(path.read_text())
    trials = {}
    for file in logs.glob("external_tuning/*/study_*/*/trial_*/eval_measurements.csv"):
        *_, submission, study, workload, trial, _ = file.parts
        workload = workload.removesuffix("_jax").removesuffix("_pytorch")
        if workload not in [*rules["scored"], *rules["held_out"]]:
            continue
        metric = f"validation/{rules['workloads'][workload]['metric']}"
        with file.open(newline="") as lines:
            header, *rows = csv.reader(lines)
        places = header.index("accumulated_submission_time"), header.index(metric)
        curve = [tuple(float(row[place] or "nan") for place in places) for row in rows]
        key = (submission, workload, int(study.split("_")[1]), int(trial.split("_")[1]))
        trials[key] = curve
    return rules, trials


def six_digits(values):
    return {name: pytest.approx(value, abs=1e-6) for name, value in values.items()}


def test_the_official_method_gives_the_published_scores(official, expected):
    assert official.keys() == expected["submissions"].keys()
    for name, submission in expected["submissions"].items():
        assert official[name]["score"] == pytest.approx(submission["score"], abs=5.01e-7)
        assert round(official[name]["score"], 4) == submission["published"]
    by_score = sorted(official, key=lambda name: -expected["submissions"][name]["score"])
    assert [official[name]["rank"] for name in by_score] == list(range(1, 12))


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("median_over_studies", "time_to_target_raw"),
        ("variant_needs_workload", "after_base_to_variant_rule"),
        ("within_r_max", "after_4x_rule"),
        ("workload_needs_variant", "final_after_heldout_rule"),
    ],
)
def test_the_times_after_each_rule_are_the_published_ones(official, expected, mine, theirs):
    for name, submission in expected["submissions"].items():
        times = official[name]["after_rule"][mine]
        assert times.keys() >= submission[theirs].keys()
        assert {w: times[w] for w in submission[theirs]} == six_digits(submission[theirs])
        absent = set(times) - set(submission[theirs])  # a workload that was not run at all
        assert absent <= set(submission["missing_workloads"])
        assert all(times[workload] is None for workload in absent)


def test_the_ratios_are_the_published_ones(official, expected):
    for name, submission in expected["submissions"].items():
        assert official[name]["ratios"] == six_digits(submission["ratio_to_best"])


def test_the_best_times_are_the_published_ones(boards, expected):
    stages, scope = boards[OFFICIAL].stages, boards[OFFICIAL].results.scope
    best = dict(zip(scope.workloads, stages.best.tolist(), strict=True))
    assert best == six_digits(expected["best_time_for_4x_rule"])
    fastest = dict(zip(scope.scored, stages.fastest.tolist(), strict=True))
    assert fastest == six_digits(expected["final_denominator"])


def test_the_time_of_every_study_is_the_published_one(boards, expected):
    studies = boards[OFFICIAL].studies
    for s, name in enumerate(studies.submissions):
        published = expected["submissions"][name]["per_study_time"]
        for w, workload in enumerate(studies.workloads):
            seconds = studies.seconds_swk[s, w].tolist()
            found = {f"study_{k}": t for k, t in enumerate(seconds) if t == t}  # NaN: not there
            times = {
                study: INF if time is None else time
                for study, time in published.get(workload, {}).items()
            }
            assert found == six_digits(times)


def test_the_speedups_are_those_of_the_official_script(results, expected):
    found = speedups(results, OFFICIAL, "baseline")
    assert found.keys() == expected["speedup_vs_baseline"].keys()
    for name, published in expected["speedup_vs_baseline"].items():
        assert found[name].ratio == pytest.approx(published["gmean_missing_as_budget"], abs=1e-6)
        ratio = published["gmean_ratio_vs_baseline_official"]
        undefined = float("nan") if ratio is None else ratio
        assert found[name].official == pytest.approx(undefined, abs=1e-6, nan_ok=True)


@BOTH
def test_the_board_is_that_of_the_reference(boards, plain, method):
    rules, trials = plain
    board, names = boards[method], sorted({key[0] for key in trials})
    table = oracle.study_table(rules, trials, names, method is OFFICIAL)
    for standing in board.standings:
        for workload, cell in standing.cells.items():
            numbers = [trial and trial.trial for trial in cell.counted]
            keys = [(standing.name, workload, k) for k in range(len(numbers))]
            assert numbers == [table.get(key, (None,))[0] for key in keys]
    scores = oracle.scores(rules, trials, names, method is OFFICIAL)
    shown = {standing.name: standing.score for standing in board.standings}
    assert shown == pytest.approx(scores, abs=1e-9)


@BOTH
def test_in_whatever_order_the_file_system_lists_folders(logs, results, monkeypatch, method):
    @contextmanager
    def shuffled(rng, scandir, path):
        with scandir(path) as entries:
            listed = list(entries)
        rng.shuffle(listed)
        yield listed

    expected = to_csv(make_leaderboard(results, method, resamples=100))
    monkeypatch.setattr(os, "scandir", partial(shuffled, random.Random(3), os.scandir))
    again = read([logs], results.scope.ruleset, "external")
    assert again.trials == results.trials
    assert to_csv(make_leaderboard(again, method, resamples=100)) == expected


def test_the_rules_differ_on_lawa_ema_because_of_wmt(boards, expected):
    shown = {standing.name: standing.score for standing in boards[RULES].standings}
    for name, submission in expected["submissions"].items():
        moved = abs(shown[name] - submission["score_exact_integral"])
        assert (moved > 5e-5) == (name == "lawa_ema")
    told = boards[RULES].differences["lawa_ema"]
    assert "0.338384 by the official method" in told
    assert "+0.005051 as a study's fastest trial counts" in told
    assert "(on wmt)" in told
    assert boards[OFFICIAL].differences == {}


def test_ties_change_no_score_of_this_board(boards, plain):
    rules, trials = plain
    names = sorted({key[0] for key in trials})
    scores = oracle.scores(rules, trials, names, official=True)
    for seed in range(3):
        order = random.Random(seed).sample(range(1, 6), 5)
        table = oracle.study_table(rules, trials, names, official=True, listing=order)
        times = oracle.medians(rules, table, names)
        assert oracle.scores_of_times(rules, times, names, official=True) == scores
    ties = [line for line in boards[OFFICIAL].remarks if line.startswith("tie: ")]
    assert ties
    assert all(line.endswith("no score") for line in ties)


def test_every_explanation_leads_to_the_lines_of_the_logs(boards, plain, logs):
    rules, trials = plain
    board = boards[OFFICIAL]
    for standing in board.standings:
        reason = explain(board, standing.name)
        credits = [workload.facts["credit"] for workload in reason.because]
        assert sum(credits) / 8 == pytest.approx(standing.score, abs=1e-9)
        for workload in reason.because:
            median = workload.because[0]
            times = [study.facts.get("seconds", INF) for study in median.because]
            read_ones = [t for t, s in zip(times, median.because, strict=True) if s.facts["trials"]]
            assert statistics.median(read_ones or [INF]) == workload.facts["seconds"]
            for study in median.because:
                for row in study.because:
                    key = (standing.name, workload.facts["workload"], study.facts["study"])
                    curve = trials[(*key, row.facts["trial"])]
                    seconds, value = curve[row.facts["line"] - 2]
                    assert row.facts["seconds"] == seconds
                    assert row.facts["value"] == pytest.approx(value, nan_ok=True)
                    assert Path(row.facts["file"]).is_relative_to(logs)
    assert {workload.facts["workload"] for workload in reason.because} == set(rules["scored"])


@BOTH
def test_without_its_winner_the_frozen_board_is_unchanged(tmp_path, boards, results, method):
    board = boards[method]
    save_reference(tmp_path / "reference.json", board.stages, results.scope, method)
    reference = load_reference(tmp_path / "reference.json")
    fewer = replace(
        results,
        submissions={n: s for n, s in results.submissions.items() if n != "shampoo_submission"},
        trials=[t for t in results.trials if t.submission != "shampoo_submission"],
    )
    frozen = make_leaderboard(fewer, method, reference, resamples=10).standings
    before = {standing.name: standing.score for standing in board.standings}
    assert {s.name: s.reference_score for s in frozen} == {
        name: score for name, score in before.items() if name != "shampoo_submission"
    }
    assert any(standing.score != standing.reference_score for standing in frozen)


def test_a_comparison_names_what_only_one_reached(results, official):
    rows = compare(results, "shampoo_submission", "amos", OFFICIAL).workloads
    for row in rows:
        for name, seconds in zip(("shampoo_submission", "amos"), row.seconds, strict=True):
            time = official[name]["after_rule"]["median_over_studies"][row.workload]
            assert seconds == (INF if time is None else time)
    criteo = {row.workload: row for row in rows}["criteo1tb"]
    assert criteo.difference == -INF
    assert criteo.faster > 0.9


def test_replay_saves_what_the_issue_asks_for_and_moves_no_score(results):
    found, policies = replay(results)
    assert found.hours == pytest.approx(29897, abs=1)
    saved = {policy.order: policy.saved_percent for policy in policies}
    assert saved["sequential"] >= 33.6
    assert saved["side by side"] >= 36.6
    assert saved["side by side"] < saved["cost"] < saved["oracle"]
    assert all(policy.largest_change == 0 for policy in policies)


@pytest.mark.parametrize("shift", [0, 3, 7])
def test_likely_winners_first_saves_no_less_than_trials_by_name_where_studies_have_one_trial(
    results, shift
):
    found = logs_of(results)
    names = [(number + shift) % 11 for number in range(11)]
    scored = found.scope.scored
    columns = [list(found.scope.workloads).index(name) for name in scored]
    scope = replace(
        found.scope, studies=3, trials=1, held_out={},
        workloads={name: found.scope.workloads[name] for name in scored},
    )  # fmt: skip
    part = np.ix_(names, columns, range(3), range(1))
    board = Logs(scope=scope, logged=found.logged[part], met=found.met[part])
    saved = {order: replay_order(board, order).saved_percent for order in ("sequential", "cost")}
    assert saved["cost"] >= saved["sequential"] - 0.005


def test_prediction_moves_no_more_scores_than_its_risk_allows(results):
    predicted = {policy.name: policy for policy in replay_predictions(results, logs_of(results))}
    for risk in RISKS:
        policy = predicted[f"predict, risk {risk:g}"]
        assert policy.moved / 11 <= risk
    assert predicted["predict, risk 0.2"].saved_percent > 45


@pytest.mark.parametrize(
    ("fraction", "expected"), [(1.0, 0.76), (0.05, 0.64), (0.1, 0.56), (0.3, 0.65)]
)
def test_agreement_of_the_board_with_its_other_studies(results, fraction, expected):
    """The figures measured independently on these logs, by ten submissions."""
    found = agreement(results, results, fraction=fraction, resamples=20)
    row = found.rows[0]
    assert len(found.submissions) == 10
    assert row.tau == pytest.approx(expected, abs=0.02)
    assert row.ceiling.mean == pytest.approx(0.76, abs=0.02)
    assert row.floor.mean == pytest.approx(0.06, abs=0.02)
    assert (row.floor.low, row.floor.high) == pytest.approx((-0.25, 0.30), abs=0.02)
    assert found.halves.mean == pytest.approx(0.28, abs=0.02)


@pytest.mark.parametrize("max_change", [0.02, 0.2])
def test_submissions_left_out_move_no_more_often_than_the_risk_allows(results, max_change):
    board = Board.of(results)
    for risk in RISKS:
        found = leaving_out_submissions(board, risk, max_change)
        assert found.moved <= risk
    assert found.moved <= risk
    assert found.saved_percent > 0
