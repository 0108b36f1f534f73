"""Scores beside the target, against literal loops."""

import json
import math
import re
import statistics

import numpy as np
import pytest

from scoring.continuous import continuous
from scoring.leaderboard import make_leaderboard
from scoring.reading.read import read
from scoring.records import RecordError, Status
from scoring.report.page import About, render
from tests.scoring.logs import make_rules, write_logs
from tests.scoring.trees import make_result, make_row, make_spec, write_experiment, write_trial

WORKLOAD = {
    "metric": "loss", "direction": "min", "validation_target": 0.2, "budget_seconds": 1000.0,
}  # fmt: skip


def rules_of(direction="min", target=0.2, studies=1, trials=1):
    workload = {**WORKLOAD, "direction": direction, "validation_target": target}
    return make_rules(
        scored=("w",), held_out={}, suites={}, studies=studies, trials=trials,
        workloads={"w": workload}, baseline="external_tuning/base",
    )  # fmt: skip


def speedup(folder, curves, rules=None, name="a", **options):
    """The speed-up of `name` from {submission: curves of its studies}."""
    rules = rules or rules_of(studies=max(map(len, curves.values())))
    trials = {
        (submission, "w", study, 1): curve
        for submission, of_studies in curves.items()
        for study, curve in enumerate(of_studies)
    }
    return continuous(read([write_logs(folder, trials)], rules), **options).speedups[name, "w"]


def power_law(speed, evaluations=40):
    """A loss that falls as (speed t)^-0.5."""
    return [(t, (1 + speed * t) ** -0.5) for t in np.arange(1.0, 10.0 * evaluations, 10.0)]


@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
def test_a_curve_that_is_faster_everywhere_by_a_factor(tmp_path, speed):
    found = speedup(tmp_path, {"base": [power_law(1.0)], "a": [power_law(speed)]})
    assert found.factor == pytest.approx(speed, rel=0.02)
    assert found.studies == 1


def test_the_mean_over_evaluations_is_that_of_a_literal_loop(tmp_path):
    rng = np.random.default_rng(0)
    noisy = [
        [(float(t), float(2 - 0.02 * t + rng.normal(0, 0.2))) for t in range(1, 60, 3)]
        for _ in range(4)
    ]
    found = speedup(tmp_path, {"base": noisy[:2], "a": noisy[2:]})
    factors, shares = [], []
    for theirs, ours in zip(noisy[:2], noisy[2:], strict=True):
        logs = []
        for number, (time, value) in enumerate(ours):
            if number == 0 or value >= min(v for _, v in ours[:number]):
                continue  # the first, or not better than before
            before = None
            best = math.inf
            for t, v in theirs:  # the baseline passes `value` between two improvements
                if v < best:
                    if before is not None and before[1] > value >= v:
                        share = (before[1] - value) / (before[1] - v)
                        logs.append(math.log((before[0] + share * (t - before[0])) / time))
                    before, best = (t, v), v
        factors.append(statistics.fmean(logs))
        passed = [
            v for n, (_, v) in enumerate(theirs) if v < min([9.0, *(x for _, x in theirs[:n])])
        ]
        mine = min(v for _, v in ours)
        shares.append(statistics.fmean(mine <= v for v in passed))
    assert found.factor == pytest.approx(math.exp(statistics.fmean(factors)))
    assert found.passed == pytest.approx(statistics.fmean(shares))


def test_more_can_be_better(tmp_path):
    rising = [[(t, 1 - v) for t, v in power_law(speed)] for speed in (1.0, 2.0)]
    found = speedup(tmp_path, {"base": rising[:1], "a": rising[1:]}, rules_of("max", target=0.9))
    assert found.factor == pytest.approx(2.0, rel=0.02)


def test_what_the_baseline_passes_and_it_does_not_is_said(tmp_path):
    """It stops halfway down the baseline's curve."""
    straight = [(float(t), 1 - t / 100) for t in range(100)]
    found = speedup(tmp_path, {"base": [straight], "a": [straight[:51]]})
    assert found.factor == pytest.approx(1.0)
    assert found.passed == pytest.approx(0.51, abs=0.02)


def test_a_run_that_never_improves_has_no_factor(tmp_path):
    found = speedup(tmp_path, {"base": [power_law(1.0)], "a": [[(1.0, 3.0), (9.0, math.nan)]]})
    assert math.isnan(found.factor)
    assert found.passed == 0.0


def test_the_trial_that_counts_is_compared(tmp_path):
    """Two trials; the one that meets the target first counts, although the other ends lower."""
    curves = {
        ("base", "w", 0, 1): power_law(1.0),
        ("a", "w", 0, 1): power_law(2.0),
        ("a", "w", 0, 2): [(t, v - 0.05) for t, v in power_law(0.5, 200)],
    }
    results = read([write_logs(tmp_path, curves)], rules_of(trials=2))
    found = continuous(results).speedups["a", "w"]
    assert found.factor == pytest.approx(2.0, rel=0.02)


def test_another_baseline_and_none(tmp_path):
    curves = {"x": [power_law(1.0)], "a": [power_law(2.0)]}
    assert speedup(tmp_path, curves, baseline="x").factor == pytest.approx(2.0, rel=0.02)
    results = read([tmp_path], rules_of())
    assert (continuous(results).baseline, continuous(results).speedups) == ("", {})
    with pytest.raises(RecordError, match=r"no submission 'y'.*a, x"):
        continuous(results, "y")


def test_the_page_and_its_download_have_the_same_baseline(tmp_path):
    curves = {("x", "w", 0, 1): power_law(1.0), ("a", "w", 0, 1): power_law(2.0)}
    results = read([write_logs(tmp_path, curves)], rules_of())
    board = make_leaderboard(results, resamples=2)
    page = render(board, About(), beside=continuous(results, "x"))
    assert "Speed-up over the curves of x" in page
    found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    files = json.loads(found[1])["files"]
    assert json.loads(files["leaderboard.json"])["curve_speedup"]["baseline"] == "x"


def sensitivity(folder, tried, status=Status.OUT_OF_TIME):
    """From [(learning rate, best loss)], all trials beginning at a loss of 1."""
    write_experiment(folder, ["a"], ["w"], 1, len(tried))
    for trial, (rate, best) in enumerate(tried, 1):
        spec = make_spec(trial=trial, hyperparameters={"learning_rate": rate, "beta": 0.9})
        ended = status if trial == len(tried) else Status.OUT_OF_TIME
        write_trial(folder, spec, make_result([make_row(1, 1.0), make_row(9, best)], ended))
    return continuous(read([folder])).sensitivities


def test_learning_rate_sensitivity(tmp_path):
    """The best gains 0.4; the others lose a half and all of it."""
    found = sensitivity(tmp_path, [(0.1, 0.6), (0.2, 0.8), (0.3, 7.0)])
    assert found["a", "w"] == pytest.approx((0 + 0.5 + 1) / 3)


def test_all_rates_alike_and_too_few_rates(tmp_path):
    assert sensitivity(tmp_path / "x", [(0.1, 0.6), (0.2, 0.6), (0.3, 0.6)]) == {("a", "w"): 0.0}
    assert sensitivity(tmp_path / "y", [(0.1, 0.6), (0.1, 0.7), (0.3, 0.6)]) == {}


def test_a_pruned_trial_is_left_out(tmp_path):
    tried = [(0.1, 0.6), (0.2, 0.8), (0.3, 0.7), (0.4, 0.99)]
    found = sensitivity(tmp_path, tried, Status.PRUNED)
    assert found["a", "w"] == pytest.approx((0 + 0.5 + 0.25) / 3)
