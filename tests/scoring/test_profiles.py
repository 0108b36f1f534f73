"""Ratios, profiles and areas: closed forms and hand-worked tables."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.profiles import area_scores, performance_ratios, profile

INF = math.inf
TIMES = st.one_of(st.floats(0.01, 100), st.just(INF))
TABLES = st.integers(1, 5).flatmap(
    lambda columns: st.lists(
        st.lists(TIMES, min_size=columns, max_size=columns), min_size=1, max_size=5
    )
)


@pytest.mark.parametrize(
    ("times", "ratios"),
    [
        ([2, 4, 8, 8.01], [1, 2, 4, INF]),  # four times the fastest still counts
        ([3, 3, INF], [1, 1, INF]),
        ([INF, INF], [INF, INF]),  # nobody reached it: nobody is credited
        ([5], [1]),
        ([0, 0, 1], [1, 1, INF]),
    ],
)
def test_ratios_of_one_workload(times, ratios):
    table = performance_ratios(pd.DataFrame({"w": times}, dtype=float), r_max=4.0)
    assert table["w"].tolist() == ratios


def test_scores_worked_by_hand():
    ratios = pd.DataFrame([[1, 1, INF], [2, 2.5, INF], [4, INF, INF]], index=list("abc"))
    expected = [2 / 3, (2 / 3 + 1 / 2) / 3, 0.0]  # the workload that nobody solves counts below
    assert area_scores(ratios, r_max=4.0).tolist() == pytest.approx(expected, abs=1e-15)


def test_one_submission_alone_scores_the_share_of_workloads_it_solves():
    ratios = performance_ratios(pd.DataFrame([[5.0, INF, 7.0, 1.0]]), r_max=4.0)
    assert area_scores(ratios, r_max=4.0).tolist() == [0.75]


def test_the_profile_steps_at_the_ratios():
    tau, rho = profile(np.array([1.0, 2.0, 2.0, INF]), r_max=4.0)
    assert tau.tolist() == [1.0, 2.0, 4.0]
    assert rho.tolist() == [0.25, 0.75, 0.75]


@given(TABLES, st.floats(1.1, 10))
def test_the_score_is_the_integral_of_the_profile(times, r_max):
    ratios = performance_ratios(pd.DataFrame(times), r_max)
    for row, score in zip(ratios.to_numpy(), area_scores(ratios, r_max), strict=True):
        tau, rho = profile(row, r_max)
        area = float(np.sum(np.diff(tau) * rho[:-1])) / (r_max - 1)
        assert score == pytest.approx(area, abs=1e-12)


@given(TABLES)
def test_the_profile_is_the_share_within_tau_everywhere(times):
    ratios = performance_ratios(pd.DataFrame(times), r_max=4.0).to_numpy()
    for row in ratios:
        tau, rho = profile(row, r_max=4.0)
        for at in np.linspace(1, 4, 13):
            value = rho[np.searchsorted(tau, at, side="right") - 1]
            assert value == sum(r <= at for r in row) / len(row)


@given(TABLES, st.integers(-8, 8))
def test_the_unit_of_time_does_not_matter(times, exponent):
    table = pd.DataFrame(times)
    scaled = performance_ratios(table * 2.0**exponent, r_max=4.0)
    pd.testing.assert_frame_equal(scaled, performance_ratios(table, r_max=4.0), check_exact=True)


@given(TABLES)
def test_faster_is_never_worse(times):
    table = pd.DataFrame(times)
    before = area_scores(performance_ratios(table, 4.0), 4.0)[0]
    table.iloc[0] /= 2
    assert area_scores(performance_ratios(table, 4.0), 4.0)[0] >= before
