"""Relaxed targets and steps to target, against logs written with these values."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoring.efficiency import efficiency, mixed_frameworks
from scoring.leaderboard import make_leaderboard
from scoring.reading.read import read
from scoring.records import Goal, RecordError, UserError
from scoring.times import RULES
from scoring.views import (
    Relaxed,
    by_steps,
    read_amounts,
    read_range,
    relaxation_sweep,
    relaxed_goal,
)
from tests.scoring.logs import make_rules, write_logs

CURVES = st.lists(
    st.tuples(st.integers(1, 120).map(float), st.sampled_from([0.3, 0.5, 0.52, 0.56, 0.61, 0.9])),
    min_size=1, max_size=4,
)  # fmt: skip


@st.composite
def studies(draw):
    """Curves of two submissions; seconds grow along a curve, steps are of their own pace."""
    curves = {}
    for name in ("a", "b"):
        pace = draw(st.integers(1, 30))
        for workload in ("v", "w", "w_held"):
            for study in range(3):
                curve = sorted(draw(CURVES))
                curves[name, workload, study, 1] = [(s, v, round(pace * s)) for s, v in curve]
    return curves


def scores_of(results):
    return {s.name: s.score for s in make_leaderboard(results, resamples=2).standings}


def with_targets(amounts):
    """The small ruleset with other targets in the first place."""
    rules = make_rules(trials=1)
    workloads = {
        name: w.model_copy(update={"validation_target": 0.5 * (1 + amounts.get(name, 0.0))})
        for name, w in rules.workloads.items()
    }
    return rules.model_copy(update={"workloads": workloads})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    curves=studies(),
    amounts=st.dictionaries(st.sampled_from(["v", "w"]), st.sampled_from([0.05, 0.1, 0.3])),
)
def test_relaxed_targets_are_other_targets(tmp_path_factory, curves, amounts):
    logs = write_logs(tmp_path_factory.mktemp("logs"), curves)
    expected = read([logs], with_targets(amounts), "external")
    found = Relaxed(read([logs], make_rules(trials=1), "external")).by(amounts)
    assert [(t.hit, t.status) for t in found.trials] == [(t.hit, t.status) for t in expected.trials]
    assert found.scope.workloads == expected.scope.workloads
    assert scores_of(found) == scores_of(expected)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(curves=studies())
def test_a_board_by_steps_is_that_of_logs_whose_clock_counts_steps(tmp_path_factory, curves):
    counted = {
        key: [(float(step), value, step) for seconds, value, step in curve if seconds <= 100]
        for key, curve in curves.items()
    }
    rules = make_rules(trials=1)
    unlimited = {
        n: w.model_copy(update={"budget_seconds": 1e9}) for n, w in rules.workloads.items()
    }
    clocked = rules.model_copy(update={"workloads": unlimited})
    folder = tmp_path_factory.mktemp("logs")
    expected = read([write_logs(folder / "steps", counted)], clocked, "external")
    original = read([write_logs(folder / "seconds", curves)], rules, "external")
    found = by_steps(original)
    assert scores_of(found) == scores_of(expected)
    hours = [s.hours for s in make_leaderboard(original, resamples=2).standings]
    assert sorted(hours) == sorted(s.hours for s in make_leaderboard(found, resamples=2).standings)


def test_a_goal_is_relaxed_by_a_fraction_of_its_size():
    for direction, target, expected in (
        ("min", 0.5, 0.55), ("max", 0.5, 0.45), ("min", -2.0, -1.8), ("max", -2.0, -2.2),
    ):  # fmt: skip
        goal = relaxed_goal(Goal(metric="x", direction=direction, target=target), 0.1)
        assert goal.target == pytest.approx(expected)
        assert goal.met_by(expected)


def slow_and_fast(**pruned):
    """a meets v at second 10 and 0.55 at second 6; b needs 60, or was pruned at a second."""
    return {("a", "v", study, 1): [(6.0, 0.55, 60), (10.0, 0.5, 100)] for study in range(3)} | {
        ("b", "v", study, 1): [(30.0, 0.9, 30), (60.0, 0.5, 60)] for study in range(3)
    }


def pruned_board(tmp_path, second, step):
    rules = make_rules(trials=1, scored=("v",), held_out={}, suites={})
    results = read([write_logs(tmp_path, slow_and_fast())], rules, "external")
    trials = [
        replace(t, status="pruned", hit=None, submission_seconds=second,
                run=replace(t.run, steps=step)) if t.submission == "b" else t
        for t in results.trials
    ]  # fmt: skip
    return replace(results, trials=trials)


def test_a_pruned_tree_is_answered_where_its_bounds_decide(tmp_path):
    results = pruned_board(tmp_path, second=41.0, step=41)  # over four times a's 10 seconds
    assert scores_of(results) == {"a": 1, "b": 0}
    results.trials[3].folder.joinpath("eval_measurements.csv").write_text(
        "accumulated_submission_time,global_step,validation/loss\n30,30,0.9\n"
    )
    relaxed = Relaxed(results).by({"v": 0.1})
    with_six = {s.name: s for s in make_leaderboard(relaxed, resamples=2).standings}
    assert with_six["a"].cells["v"].seconds == 6
    assert with_six["b"].score == 0  # pruned later than 4 x 6


def test_a_pruned_trial_that_could_matter_is_refused(tmp_path):
    results = pruned_board(tmp_path, second=41.0, step=41)
    with pytest.raises(RecordError, match=r"pruned at step 41\.00.*matters up to step 400"):
        make_leaderboard(by_steps(results), resamples=2)
    unknown = replace(
        results, trials=[replace(t, run=replace(t.run, steps=None)) for t in results.trials]
    )
    with pytest.raises(RecordError, match="pruned at an unknown step"):
        by_steps(unknown)
    steps = pruned_board(tmp_path, second=41.0, step=401)
    assert scores_of(by_steps(steps)) == {"a": 1, "b": 0}


def test_a_sweep_is_a_board_at_every_fraction(tmp_path):
    curves = slow_and_fast() | {
        ("c", "v", study, 1): [(3.0, 0.59, 3), (9.0, 0.5, 9)] for study in range(3)
    }
    rules = make_rules(trials=1, scored=("v",), held_out={}, suites={})
    results = read([write_logs(tmp_path, curves)], rules, "external")
    sweep = relaxation_sweep(results, [0.0, 0.1, 0.2], RULES)
    for number, amount in enumerate(sweep.amounts):
        board = make_leaderboard(Relaxed(results).by({"v": amount}), resamples=2)
        for standing in board.standings:
            s = sweep.submissions.index(standing.name)
            assert sweep.score_as[number, s] == standing.score
            assert sweep.rank_as[number, s] == standing.rank
    assert sweep.rank_as[:, 0].tolist() == [2, 1, 2]  # a: 10 over 9, 6 over 9, 6 over 3 seconds
    pruned = pruned_board(tmp_path / "pruned", second=30.0, step=30)
    gaps = relaxation_sweep(pruned, [0.0, 0.1], RULES)
    assert np.isnan(gaps.rank_as[0]).all()
    assert "was pruned at second 30.00" in gaps.refused[0]
    assert np.isfinite(gaps.rank_as[1]).all()  # 30 is over four times 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "'x' is not a fraction"), ("1", "not a fraction"), ("-0.1", "not a fraction"),
        ("nan", "not a fraction"), ("1_0", "not a fraction"), ("u=0.1", "'u' is not scored"),
        ("v=0.1,v=0.2", "v is given twice"), ("v=", "--relax v: '' is not a fraction"),
    ],
)  # fmt: skip
def test_fractions_that_are_none_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        read_amounts(text, {"v": 1, "w": 1})


def test_fractions_are_for_all_or_by_workload():
    assert read_amounts("0.1", {"v": 1, "w": 1}) == {"v": 0.1, "w": 0.1}
    assert read_amounts("w=.2, v=1e-3", {"v": 1, "w": 1}) == {"w": 0.2, "v": 0.001}
    assert read_range("0:0.2:0.01") == pytest.approx(np.arange(21) / 100, abs=1e-12)
    assert read_range("0.1:0.1:1") == [0.1]
    for text in ("0:0.2", "0.2:0.1:0.1", "0:0.2:0", "0:1:0.1", "0:0.9:1e-9", "a:b:c"):
        with pytest.raises(UserError, match="--relax-sweep"):
            read_range(text)


def test_step_times_are_relative_to_the_framework_s_median_submission(tmp_path):
    seconds_per_step = {"a": 1.0, "b": 2.0, "c": 4.0}
    for framework, names, factor in (("pytorch", "abc", 1), ("jax", "de", 10)):
        curves = {
            (name, "v", study, 1): [
                (10.0 * (1 + study), 0.9, 10),
                (100 * factor * seconds_per_step.get(name, 3.0) * (1 + study) / 2, 0.9, 100),
            ]
            for name in names for study in range(3)
        }  # fmt: skip
        write_logs(tmp_path, curves, framework=framework)
    results = read([tmp_path], make_rules(trials=1), "external")
    spent = efficiency(results)
    found = {name: spent.step_times[name, "v"] for name in "abcde"}
    assert {n: f.seconds for n, f in found.items()} == {"a": 1, "b": 2, "c": 4, "d": 30, "e": 30}
    assert {n: f.relative for n, f in found.items()} == {"a": 0.5, "b": 1, "c": 2, "d": 1, "e": 1}
    evaluating, total = 0.0, 0.0  # as written by the logs' fixture: 1.5 s an evaluation
    for name in "abcde":
        for study in range(3):
            factor = 1 if name in "abc" else 10
            last = 100 * factor * seconds_per_step.get(name, 3.0) * (1 + study) / 2
            evaluating, total = evaluating + 3.0, total + last + 3.0 + 0.25
    assert spent.evaluation_share == {"v": pytest.approx(evaluating / total)}
    (line,) = mixed_frameworks(results)
    assert "jax: d, e; pytorch: a, b, c" in line
    assert line in make_leaderboard(results, resamples=2).remarks


def test_one_framework_gives_no_remark(tmp_path):
    results = read([write_logs(tmp_path, slow_and_fast())], make_rules(trials=1), "external")
    assert mixed_frameworks(results) == []
