"""Predictive pruning: what it uses, what it must not use, and that its risk holds."""

import numpy as np
import pytest

from scoring.prediction import FRACTIONS, MOVED, Curves, curves, limits, stops
from scoring.reading.read import read
from scoring.replay import logs
from tests.scoring.boards import INF, single
from tests.scoring.logs import BUDGET, write_logs

SHAPE = (6, 2, 3, 2)  # submissions, workloads, studies, trials


def mean_credit(times):
    """A score as simple as can be: 1 at the fastest, 0 from four times its time on."""
    medians = np.median(times.min(-1), axis=-1)
    with np.errstate(invalid="ignore"):
        ratios = np.nan_to_num(medians / medians.min(0), nan=INF)
    return np.maximum(0, (4 - ratios) / 3).mean(-1)


def some_curves(rng, spread):
    """Gaps that fall to 0 when the target is met; those of misses stay further away, by and large.

    `spread`: how much the gaps of trials that meet the target differ.
    """
    met = rng.uniform(20, 90, SHAPE)
    met[rng.random(SHAPE) < 0.4] = INF
    seconds = np.broadcast_to(FRACTIONS * BUDGET, (SHAPE[1], len(FRACTIONS)))
    level = np.where(np.isinf(met), 3.0, 1.0) * np.exp(rng.normal(0, spread, SHAPE))
    left = np.clip(1 - seconds[0] / np.where(np.isinf(met), 2 * BUDGET, met)[..., None], 0, None)
    gaps = level[..., None] * left
    gaps[seconds[0] >= met[..., None]] = np.nan
    return Curves(seconds, gaps, met)


def test_gaps_are_those_of_the_best_value_so_far(tmp_path):
    curve = [(8.0, 1.0), (22.0, 0.7), (31.0, 0.9), (40.0, float("nan")), (52.0, 0.5)]
    root = write_logs(tmp_path, {("a", "v", 0, 1): curve})
    results = read([root], single("v"), "external")
    found = curves(results, logs(results).met)
    assert found.seconds[0] == pytest.approx(FRACTIONS * BUDGET)
    at = dict(zip(found.seconds[0].round().tolist(), found.gaps[0, 0, 0, 0].tolist(), strict=True))
    assert at[10] == at[20] == pytest.approx(0.5)
    assert at[25] == at[35] == at[45] == at[50] == pytest.approx(0.2)
    assert np.isnan(at[55])  # it had ended
    assert found.open[0, 0, 0, 0].sum() == 9  # 10, 15, ..., 50


def test_what_is_far_behind_all_that_met_the_target_is_stopped():
    found = some_curves(np.random.default_rng(0), spread=0.0)
    stopped = stops(found, 0.2, mean_credit)
    assert np.isfinite(stopped[np.isfinite(found.met)]).mean() < 0.1  # those that decide nothing
    assert np.isfinite(stopped[np.isinf(found.met)]).mean() > 0.9
    assert stopped.min() == pytest.approx(FRACTIONS[0] * BUDGET)


def test_a_risk_too_small_for_so_few_submissions_stops_nothing():
    found = some_curves(np.random.default_rng(0), spread=0.0)
    assert (stops(found, 1 / 6 - 1e-9, mean_credit) == INF).all()
    assert (stops(found, 1 / 6 + 1e-9, mean_credit) < INF).any()


def test_no_submission_is_judged_by_its_own_trials():
    found = some_curves(np.random.default_rng(1), spread=0.5)
    gaps = found.gaps.copy()
    gaps[0] *= 100  # as if those of submission 0 that met the target had been far away
    changed = stops(Curves(found.seconds, gaps, found.met), 0.5, mean_credit)
    before = stops(found, 0.5, mean_credit)
    assert (changed[0] < INF).sum() > (before[0] < INF).sum()  # its own trials do not protect it
    assert not np.array_equal(changed[1:], before[1:])


def test_a_larger_risk_never_stops_less():
    found = some_curves(np.random.default_rng(2), spread=0.7)
    counts = [(stops(found, risk, mean_credit) < INF).sum() for risk in (0.1, 0.2, 0.4, 0.8, 1.0)]
    assert counts == sorted(counts)
    assert counts[0] == 0 < counts[-1]


@pytest.mark.parametrize(("examples", "stopped"), [(3, False), (4, True)])
def test_limits_need_one_example_more_than_those_that_were_tested(examples, stopped):
    """With three, each of the three was judged by two, which is to say not at all."""
    found = some_curves(np.random.default_rng(0), spread=0.0)
    met = np.where(np.isfinite(found.met), found.met, 50.0)
    met[examples:] = INF
    chosen = limits(Curves(found.seconds, found.gaps, met), 0.9, mean_credit, None, 0.5)
    assert np.isfinite(chosen).any() == stopped


@pytest.mark.parametrize("risk", [0.2, 0.4])
def test_scores_move_no_more_often_than_the_risk_allows(risk):
    moved, boards = 0, 60
    for seed in range(boards):
        found = some_curves(np.random.default_rng(seed), spread=0.6)
        whole = mean_credit(found.met)
        stopped = stops(found, risk, mean_credit)
        for submission in range(SHAPE[0]):
            times = found.met.copy()
            times[submission][times[submission] > stopped[submission]] = INF
            moved += np.abs(mean_credit(times) - whole).max() > MOVED
    assert 0 < moved / (boards * SHAPE[0]) < risk + 0.05
