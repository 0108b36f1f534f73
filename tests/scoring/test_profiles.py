"""The rules after the medians, ratios, profiles and areas: worked by hand and closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import trapezoid

from scoring.profiles import apply_rules, credit, profile, scores
from tests.scoring import oracle
from tests.scoring.boards import INF, NAN, drawn_boards, make_scope, single

TIMES = st.floats(0.01, 100) | st.just(INF)
RATIOS = st.floats(1, 6) | st.sampled_from([1.0, 2.0, 4.0, INF])
TABLES = st.integers(1, 5).flatmap(
    lambda columns: st.lists(
        st.lists(TIMES, min_size=columns, max_size=columns), min_size=1, max_size=5
    )
)


def stages_of(times, held_out=None, r_max=4.0, **frozen):
    """The stages of rows of times; workloads are v, w, x, ..., then held-out variants."""
    held_out = held_out or {}
    names = "vwxyz"[: len(times[0]) - len(held_out)]
    scope = make_scope(single(names, held_out, r_max=r_max))
    return apply_rules(np.array(times, float), scope, **frozen)


@pytest.mark.parametrize(
    ("times", "ratios"),
    [
        ([2, 4, 8, 8.01], [1, 2, 4, INF]),  # four times the fastest still counts
        ([3, 3, INF], [1, 1, INF]),
        ([3, NAN, 6], [1, INF, 2]),  # not there is a miss
        ([INF, INF], [INF, INF]),  # no submission reached it: no credit
        ([NAN, NAN], [INF, INF]),
        ([5], [1]),
        ([0, 0, 1], [1, 1, INF]),
    ],
)
def test_ratios_of_one_workload(times, ratios):
    assert stages_of([[time] for time in times]).ratios[:, 0].tolist() == ratios


def test_a_variant_does_not_count_where_its_workload_was_missed():
    """Else b's variant would be four times slower than a's, and b's workload would be lost."""
    stages = stages_of([[INF, 1.0], [5.0, 9.0]], {"v_held": "v"})
    assert stages.entered.tolist() == [[INF, INF], [5.0, 9.0]]
    assert stages.best.tolist() == [5.0, 9.0]
    assert stages.ratios.tolist() == [[INF], [1.0]]


@pytest.mark.parametrize("variant", [INF, NAN, 8.1])
def test_a_workload_does_not_count_where_its_variant_was_missed_or_too_slow(variant):
    stages = stages_of([[1.0, variant], [3.0, 2.0]], {"v_held": "v"})
    assert stages.capped[0].tolist() == [1.0, INF]
    assert stages.counted[:, 0].tolist() == [INF, 3.0]
    assert stages.best.tolist() == [1.0, 2.0]
    assert stages.fastest.tolist() == [3.0]  # of those that count, not 1.0
    assert stages.ratios[:, 0].tolist() == [INF, 1.0]


def test_the_cap_is_relative_to_the_fastest_even_if_that_does_not_count():
    stages = stages_of([[1.0, INF], [5.0, 2.0], [4.0, 2.0]], {"v_held": "v"})
    assert stages.capped[:, 0].tolist() == [1.0, INF, 4.0]
    assert stages.ratios[:, 0].tolist() == [INF, INF, 1.0]


def test_a_variant_concerns_no_other_workload():
    stages = stages_of([[1.0, 1.0, INF], [2.0, 3.0, 1.0]], {"w_held": "w"})
    assert stages.ratios.tolist() == [[1.0, INF], [2.0, 1.0]]


def test_any_of_two_variants_loses_the_workload():
    held_out = {"v_one": "v", "v_two": "v"}
    stages = stages_of([[1.0, 1.0, INF], [1.0, INF, 1.0], [2.0, 1.0, 1.0]], held_out)
    assert stages.ratios[:, 0].tolist() == [INF, INF, 1.0]


def test_scores_worked_by_hand():
    times = [[1, 1, INF], [2, 2.5, INF], [4, INF, INF]]
    expected = [2 / 3, (2 / 3 + 1 / 2) / 3, 0.0]  # the unsolved workload counts in the denominator
    assert scores(stages_of(times), 4.0, exact=True).tolist() == pytest.approx(expected, abs=1e-15)


def test_one_submission_alone_scores_the_share_of_workloads_it_solves():
    stages = stages_of([[5.0, INF, 7.0, 1.0]])
    for exact in (True, False):
        assert scores(stages, 4.0, exact).tolist() == [0.75]


@pytest.mark.parametrize(
    ("ratio", "share"),
    [
        (1.0, 1.0),
        (1.0 + 1e-9, 98.5 / 99),  # just after the first of 100 points
        (2.0, 66.5 / 99),  # the 34th point exactly
        (2.001, 65.5 / 99),
        (2.0303, 65.5 / 99),
        (4.0, 0.5 / 99),
        (4.0001, 0.0),
        (INF, 0.0),
    ],
)
def test_the_official_credit_is_that_of_the_next_of_100_points(ratio, share):
    assert credit(np.array(ratio), 4.0, exact=False) == pytest.approx(share, abs=1e-15)


def test_the_profile_steps_at_the_ratios():
    tau, rho = profile(np.array([1.0, 2.0, 2.0, INF]), r_max=4.0)
    assert tau.tolist() == [1.0, 2.0, 4.0]
    assert rho.tolist() == [0.25, 0.75, 0.75]


@given(st.lists(RATIOS, min_size=1, max_size=8), st.floats(1.1, 10))
def test_the_score_is_the_integral_of_the_profile(ratios, r_max):
    tau, rho = profile(np.array(ratios), r_max)
    area = float(np.sum(np.diff(tau) * rho[:-1])) / (r_max - 1)
    closed_form = credit(np.array(ratios), r_max, exact=True).mean()
    assert closed_form == pytest.approx(area, abs=1e-12)
    assert closed_form == pytest.approx(oracle.area(ratios, r_max, official=False), abs=1e-12)


@given(st.lists(RATIOS, min_size=1, max_size=8), st.floats(1.1, 10))
def test_the_official_score_is_the_trapezoid_over_100_points_of_the_profile(ratios, r_max):
    tau, rho = profile(np.array(ratios), r_max)
    grid = np.linspace(1, r_max, 100)
    at_grid = rho[np.searchsorted(tau, grid, side="right") - 1]
    area = trapezoid(at_grid, grid) / (r_max - 1)
    assert credit(np.array(ratios), r_max, exact=False).mean() == pytest.approx(area, abs=1e-12)


@given(RATIOS, st.floats(1.1, 10))
def test_the_official_area_is_off_by_at_most_half_a_trapezoid(ratio, r_max):
    exact, official = (credit(np.array(ratio), r_max, exact) for exact in (True, False))
    assert abs(official - exact) <= 0.5 / 99 + 1e-12


@given(st.lists(RATIOS, min_size=1, max_size=8))
def test_the_profile_is_the_share_within_tau_everywhere(ratios):
    tau, rho = profile(np.array(ratios), r_max=4.0)
    for at in np.linspace(1, 4, 13):
        value = rho[np.searchsorted(tau, at, side="right") - 1]
        assert value == sum(ratio <= at for ratio in ratios) / len(ratios)


@given(TABLES, st.integers(-8, 8))
def test_the_unit_of_time_does_not_matter(times, exponent):
    scaled = (np.array(times) * 2.0**exponent).tolist()
    assert stages_of(scaled).ratios.tolist() == stages_of(times).ratios.tolist()


@given(TABLES, st.booleans())
def test_faster_is_never_worse(times, exact):
    before = scores(stages_of(times), 4.0, exact)[0]
    faster = [[time / 2 for time in times[0]], *times[1:]]
    assert scores(stages_of(faster), 4.0, exact)[0] >= before


@given(TABLES)
def test_a_larger_r_max_takes_no_time_away(times):
    strict, lenient = stages_of(times, r_max=2.0).ratios, stages_of(times, r_max=4.0).ratios
    assert np.all((lenient == strict) | ((strict == INF) & (lenient > 2.0)))


@given(drawn_boards(), st.data())
def test_every_stage_is_that_of_the_reference(board, data):
    rules, submissions, _ = board
    workloads = [*rules.scored, *rules.held_out]
    grid = st.sampled_from([1.0, 2.0, 3.0, 5.0, 8.0, 8.5, 12.0, 33.0, INF, None])
    times = {(s, w): data.draw(grid) for s in submissions for w in workloads}
    expected = oracle.stages(rules.model_dump(), times, submissions)
    table = [[times[s, w] or NAN for w in workloads] for s in submissions]
    stages = apply_rules(np.array(table), make_scope(rules))
    for mine, theirs in [
        (stages.entered, "entered"),
        (stages.capped, "capped"),
        (stages.counted, "final"),
        (stages.ratios, "ratios"),
    ]:
        columns = workloads[: mine.shape[1]]
        assert mine.tolist() == [[expected[theirs][s, w] for w in columns] for s in submissions]
    assert stages.best.tolist() == [expected["best"][w] for w in workloads]
    assert stages.fastest.tolist() == [expected["fastest"][w] for w in rules.scored]


def test_many_resamples_at_once_are_each_alone():
    rng = np.random.default_rng(0)
    times = rng.choice([1.0, 2.0, 5.0, 9.0, INF], size=(50, 4, 5))
    held_out = {"v_held": "v", "w_held": "w"}
    scope = make_scope(single("vwx", held_out))
    at_once = scores(apply_rules(times, scope), 4.0, exact=True)
    alone = [scores(stages_of(part.tolist(), held_out), 4.0, exact=True) for part in times]
    assert at_once.tolist() == np.array(alone).tolist()


def test_against_frozen_times_no_ratio_is_below_one():
    frozen = {"best": np.array([10.0]), "fastest": np.array([10.0])}
    stages = stages_of([[5.0], [10.0], [20.0], [40.0], [41.0], [INF]], **frozen)
    assert stages.ratios[:, 0].tolist() == [1.0, 1.0, 2.0, 4.0, INF, INF]


def test_where_a_frozen_board_had_no_time_any_time_is_the_fastest():
    frozen = {"best": np.array([INF]), "fastest": np.array([INF])}
    assert stages_of([[5.0], [500.0], [INF]], **frozen).ratios[:, 0].tolist() == [1.0, 1.0, INF]
