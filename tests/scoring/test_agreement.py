"""The agreement of two boards: against scipy and literal loops over splits and workloads."""

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from scoring.agreement import agreement
from scoring.kendall import tau
from scoring.leaderboard import make_leaderboard
from scoring.reading.read import read
from scoring.records import RecordError, UserError
from tests.scoring.boards import INF
from tests.scoring.logs import make_rules, write_logs

NAMES = ("a", "b", "c", "d", "e")
STUDIES = 4
WORKLOADS = ("u", "v", "w", "x")
WORKLOAD = {
    "metric": "loss", "direction": "min", "validation_target": 0.5, "budget_seconds": 100.0,
}  # fmt: skip


def rules_of(workloads=WORKLOADS, studies=STUDIES):
    """Rules of some workloads, each with its target at a loss of 0.5, and one trial per study."""
    return make_rules(
        scored=tuple(workloads), held_out={}, suites={}, studies=studies, trials=1,
        workloads=dict.fromkeys(workloads, WORKLOAD),
    )  # fmt: skip


RULES = rules_of()


def drawn_times(seed, names=NAMES):
    """Seconds to target of each (submission, workload, study); a few misses."""
    rng = np.random.default_rng(seed)
    return {
        (name, workload, study): INF if rng.random() < 0.1 else float(rng.uniform(10, 30))
        for name in names
        for workload in WORKLOADS
        for study in range(STUDIES)
    }


def board(folder, times, rules=RULES):
    """The results of logs with these times; the loss falls from 1 at the start to 0.5."""
    curves = {
        (*key, 1): [(1.0, 0.9 + seconds / 1000 if seconds < INF else 1.0), (seconds, 0.5)]
        if seconds < INF
        else [(1.0, 1.0), (90.0, 0.7)]
        for key, seconds in times.items()
    }
    return read([write_logs(folder, curves)], rules)


def scores_of(folder, times, studies):
    """The leaderboard's scores from these studies alone."""
    chosen = {
        (name, workload, list(studies).index(k)): seconds
        for (name, workload, k), seconds in times.items()
        if k in studies
    }
    found = make_leaderboard(board(folder, chosen, rules_of(studies=len(studies))), resamples=2)
    return {standing.name: standing.score for standing in found.standings}


def kendall(first, second):
    return stats.kendalltau([first[n] for n in NAMES], [second[n] for n in NAMES]).statistic


@given(
    arrays(float, (2, 6), elements=st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0, 1e6])),
)
def test_tau_is_scipys(values):
    expected = stats.kendalltau(*values).statistic
    infinite = np.where(values == 1e6, np.inf, values)
    assert float(tau(infinite[0], infinite[1])) == pytest.approx(expected, nan_ok=True)


def test_two_boards_floor_and_ceiling(tmp_path):
    """Every number of the row of the scores, by literal loops."""
    times = drawn_times(1), drawn_times(2)
    found = agreement(*(board(tmp_path / str(n), t) for n, t in enumerate(times)), resamples=50)
    every = range(STUDIES)
    scores = [scores_of(tmp_path / f"all{n}", t, every) for n, t in enumerate(times)]
    row = found.rows[0]
    assert not found.split
    assert row.tau == pytest.approx(kendall(*scores))
    assert row.alike == pytest.approx((row.tau + 1) / 2)
    ceiling = []
    for number, half in enumerate(itertools.combinations(every, STUDIES // 2)):
        rest = [k for k in every if k not in half]
        parts = [scores_of(tmp_path / f"{number}{len(p)}{p[0]}", times[1], p) for p in (half, rest)]
        ceiling.append(kendall(*parts))
    assert row.ceiling.mean == pytest.approx(statistics.fmean(ceiling))
    medians = {
        workload: {n: middle(times[1], n, workload) for n in NAMES} for workload in WORKLOADS
    }
    floor = [kendall(medians[i], medians[j]) for i, j in itertools.combinations(WORKLOADS, 2)]
    assert row.floor.mean == pytest.approx(statistics.fmean(floor))
    own = next(r for r in found.rows if r.second == "v")
    assert own.floor.mean == pytest.approx(
        statistics.fmean(kendall(medians["v"], medians[w]) for w in WORKLOADS if w != "v")
    )
    assert own.tau == pytest.approx(
        kendall({n: middle(times[0], n, "v") for n in NAMES}, medians["v"])
    )


def middle(times, name, workload):
    """The median over studies, with the misses as a large number."""
    ordered = sorted(times[name, workload, k] for k in range(STUDIES))
    value = (ordered[1] + ordered[2]) / 2
    return 1e9 if math.isinf(value) else value


def test_the_same_runs_are_split(tmp_path):
    """A board against itself gives its ceiling, not 1."""
    results = board(tmp_path, drawn_times(3))
    found = agreement(results, results, resamples=50)
    assert found.split
    assert found.rows[0].tau == pytest.approx(found.rows[0].ceiling.mean)
    assert found.rows[0].tau < 1


def test_a_board_that_is_cut_is_ordered_by_the_best_metric_so_far(tmp_path):
    """At 2% of the budget only the first evaluation counts, whose loss is in the order of times."""
    times = drawn_times(4)
    steady = {key: 10.0 + 2 * NAMES.index(key[0]) for key in times}
    cut = agreement(
        board(tmp_path / "cut", steady), board(tmp_path / "full", steady), fraction=0.02
    )
    assert cut.rows[0].tau == 1.0
    assert cut.rows[0].p < 0.05
    reverse = {key: 20.0 - seconds for key, seconds in steady.items()}
    found = agreement(board(tmp_path / "r", reverse), board(tmp_path / "f", steady), fraction=0.02)
    assert [row.tau for row in found.rows] == [-1.0] * 5


def test_minis_are_compared_with_the_workload_that_they_stand_for(tmp_path):
    small = {(n, f"{w}_mini", k): t for (n, w, k), t in drawn_times(5).items() if w in "uv"}
    rules = rules_of(("u_mini", "v_mini"))
    found = agreement(
        board(tmp_path / "mini", small, rules),
        board(tmp_path / "full", drawn_times(6)),
        resamples=9,
    )
    assert [(row.first, row.second) for row in found.rows] == [
        ("score", "score"), ("u_mini", "u"), ("v_mini", "v"),
    ]  # fmt: skip


def test_names_are_mapped_and_zeros_left_out(tmp_path):
    mine = drawn_times(7, ("a", "b", "c", "nadamw", "zero"))
    theirs = {
        (name.replace("nadamw", "baseline"), *rest): INF if name == "zero" else seconds
        for (name, *rest), seconds in drawn_times(8, ("a", "b", "c", "nadamw", "zero")).items()
    }
    first, reference = board(tmp_path / "m", mine), board(tmp_path / "t", theirs)
    found = agreement(first, reference, {"nadamw": "baseline"}, resamples=9)
    assert found.submissions == {"a": "a", "b": "b", "c": "c", "nadamw": "baseline"}
    assert found.left_out == {"zero": "scores 0 on the reference"}
    with pytest.raises(UserError, match=r"no submission 'nadam'.*nadamw"):
        agreement(first, reference, {"nadam": "baseline"})
    with pytest.raises(UserError, match="the same alias"):
        agreement(first, reference, {"nadamw": "a"})


def test_an_order_needs_three_submissions(tmp_path):
    first, reference = (board(tmp_path / n, drawn_times(9, ("a", n, "b"))) for n in ("c", "d"))
    with pytest.raises(RecordError, match=r"2 submissions in common.*--alias"):
        agreement(first, reference)


def test_one_study_has_no_ceiling_and_cannot_be_split(tmp_path):
    one = rules_of(studies=1)
    times = [{k: t for k, t in drawn_times(n).items() if k[2] == 0} for n in (10, 11)]
    first, reference = (board(tmp_path / str(n), t, one) for n, t in enumerate(times))
    assert math.isnan(agreement(first, reference, resamples=9).rows[0].ceiling.mean)
    with pytest.raises(RecordError, match="one study"):
        agreement(first, first)


@pytest.mark.parametrize("studies", [STUDIES, 2])
def test_signal_and_noise_are_those_of_an_analysis_of_variance(tmp_path, studies):
    """Of what each study contributes: 1 for the fastest, 0 for a miss or r_max times its time."""
    rules = rules_of(studies=studies)
    times = {key: seconds for key, seconds in drawn_times(5).items() if key[2] < studies}
    results = board(tmp_path, times, rules)
    assert INF in times.values()
    for noise in agreement(results, results, resamples=9).noise:
        groups = []
        for name in NAMES:
            seconds = [times[name, noise.workload, k] for k in range(studies)]
            best = [min(times[n, noise.workload, k] for n in NAMES) for k in range(studies)]
            pairs = zip(seconds, best, strict=True)
            groups.append([max(0, (rules.r_max - s / b) / (rules.r_max - 1)) for s, b in pairs])
        within = statistics.mean(map(statistics.variance, groups))
        ratio = stats.f_oneway(*groups).statistic
        assert noise.noise == pytest.approx(math.sqrt(within))
        assert noise.signal == pytest.approx(math.sqrt(within * max(0, ratio - 1) / studies))
        assert noise.ratio == pytest.approx(noise.signal / noise.noise)


def test_misses_are_noise_if_they_happen_to_all_alike(tmp_path):
    """Each submission misses the target in one study, and is as fast as the others otherwise."""
    times = {
        (name, workload, k): INF if k == n else 10.0
        for n, name in enumerate(NAMES[:STUDIES])
        for workload in WORKLOADS
        for k in range(STUDIES)
    }
    results = board(tmp_path, times)
    for noise in agreement(results, results, resamples=9).noise:
        assert noise.signal == 0
        assert noise.noise == pytest.approx(0.5)


def test_orders_that_are_unrelated_have_no_small_p(tmp_path):
    """Over boards drawn at random p is at most 0.1 about a tenth of the time."""
    small = 0
    for seed in range(12):
        pair = [board(tmp_path / f"{seed}{n}", drawn_times(100 + 2 * seed + n)) for n in (0, 1)]
        small += agreement(*pair, resamples=200).rows[0].p <= 0.1
    assert small <= stats.binom.ppf(0.999, 12, 0.1)
