"""Replays of finished results: hours by hand on small boards, the published logs in full."""

from dataclasses import replace

import pytest
from hypothesis import given

from scoring.plain import read_json
from scoring.records import Status
from scoring.replay import ORDERS, replay
from scoring.tree import write_trial
from tests.scoring.boards import drawn_boards, make_results, single
from tests.scoring.logs import write_logs
from tests.scoring.trees import make_result, make_row, make_spec, write_tree

RULES = single("v", studies=3, trials=2)


def seconds_by_order(trials, rules=RULES):
    found, policies = replay(make_results(rules, trials))
    assert all(policy.scores_unchanged for policy in policies)
    return found.hours * 3600, {policy.order: policy.hours * 3600 for policy in policies}


def test_hours_are_those_counted_by_hand():
    trials = {("a", "v", study, trial): 10.0 * trial for study in range(3) for trial in (1, 2)}
    trials |= {("b", "v", study, trial): 50.0 for study in range(3) for trial in (1, 2)}
    logged, spent = seconds_by_order(trials)
    assert logged == pytest.approx(90 + 300)
    # a: in each study the second trial stops with the first. b: two studies up to 4 x 10, then the
    # median is over it. Likely winners first: 4 x 10 is less than the budget, so that all of a runs
    # before b begins. Where all run at once, the third study of b does too.
    expected = {
        "sequential": 60 + 4 * 40, "side by side": 60 + 4 * 40, "cost": 60 + 4 * 40,
        "latency": 60 + 6 * 40, "oracle": 60 + 4 * 40,
    }  # fmt: skip
    assert spent == pytest.approx(expected)


def test_first_studies_come_first_if_the_fastest_would_stop_no_other_early():
    trials = {("a", "v", study, 1): 30.0 for study in range(3)}  # 4 x 30 is over the budget of 100
    trials |= {("b", "v", study, 1): 6.0 for study in range(3)}
    _, spent = seconds_by_order(trials)
    assert spent["sequential"] == 3 * 30 + 3 * 6
    assert spent["cost"] == 30 + 3 * 6 + 24  # of a one study, and another up to 4 x 6


def test_a_missed_median_needs_no_more_studies():
    misses = [(1.0, 1.0), (30.0, 1.0)]
    trials = {("a", "v", study, trial): misses for study in range(3) for trial in (1, 2)}
    logged, spent = seconds_by_order(trials)
    assert logged == pytest.approx(180)
    assert spent["side by side"] == pytest.approx(120)


def test_a_variant_of_a_missed_workload_does_not_run():
    rules = single("v", {"v_held": "v"})
    trials = {("a", "v", 0, 1): [(30.0, 1.0)], ("a", "v_held", 0, 1): 20.0}
    assert seconds_by_order(trials, rules)[1]["sequential"] == pytest.approx(30)


def test_what_is_not_there_took_no_time_and_is_a_miss():
    trials = {("a", "v", 0, 1): 10.0, ("a", "v", 1, 1): 10.0}
    logged, spent = seconds_by_order(trials)
    assert logged == pytest.approx(20)
    assert max(spent.values()) == pytest.approx(20)


@given(drawn_boards())
def test_no_order_moves_a_score(drawn):
    rules, names, trials = drawn
    found, policies = replay(make_results(rules, trials, names))
    assert {policy.order for policy in policies} == set(ORDERS)
    for policy in policies:
        assert policy.scores_unchanged
        assert policy.hours <= found.hours + 1e-12


def test_a_result_that_pruning_would_change_is_reported():
    results = make_results(RULES, {("a", "v", 0, 1): 10.0})
    _, (policy, *_) = replay(results)
    assert not replace(policy, largest_change=0.01).scores_unchanged


def test_the_command_prints_and_writes_what_it_found(chronograd, tmp_path):
    write_logs(tmp_path / "logs", {("a", "v", 0, 1): [(5.0, 0.9), (10.0, 0.4)]})
    (tmp_path / "toy.toml").write_text(
        "studies = 1\ntrials = 1\nself_tuning_budget_factor = 1\nr_max = 4\nscored = ['v']\n"
        "[workloads.v]\nmetric = 'loss'\ndirection = 'min'\nvalidation_target = 0.5\n"
        "budget_seconds = 100\n"
    )
    judged = ("--ruleset", "toy.toml", "--tuning", "external")
    code, out, _ = chronograd("replay", "logs", *judged, "--json", "replay.json")
    assert code == 0
    assert "side by side" in out
    written = read_json(tmp_path / "replay.json")
    assert (written["ruleset"], written["tuning"]) == ("toy", "external")
    assert written["hours"] == pytest.approx(10 / 3600)
    assert set(written["policies"][0]) == {
        "name", "order", "hours", "saved_percent", "scores_unchanged", "largest_change", "moved",
    }  # fmt: skip
    code, _, err = chronograd("replay", "logs")
    assert (code, "name their rules" in err) == (2, True)


def test_a_pruned_tree_is_replayed_with_a_warning(chronograd, tmp_path):
    write_tree(tmp_path / "out", {("a", "w", 0, 1): 5.0, ("a", "w", 0, 2): 9.0})
    rows = [make_row(5.0, 0.9)]
    write_trial(tmp_path / "out", make_spec("a", "w", 0, 2), make_result(rows, Status.PRUNED))
    code, out, _ = chronograd("replay", "out")
    assert code == 0
    assert "warning: 1 pruned trial in these results" in " ".join(out.split())
