"""The bootstrap: against plain loops over the same draws, all resamples, and coverage."""

import itertools
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings

from scoring import uncertainty
from scoring.times import METHODS, OFFICIAL, RULES, study_times
from scoring.uncertainty import RESAMPLES, bootstrap, resampled_scores, study_draws
from tests.scoring import oracle
from tests.scoring.boards import INF, drawn_boards, make_results, make_scope, one_trial, single

BOTH = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def sampled(rules, trials, submissions=None, method=RULES, resampled="studies", **draws):
    results = make_results(rules, trials, submissions)
    options = {"seed": 0, "resamples": 50, **draws}
    studies = study_times(results, method)
    return resampled_scores(
        studies.seconds_swk, studies, results.scope, method, resampled, **options
    )


def bootstrapped(rules, trials, submissions=None, method=RULES, **options):
    results = make_results(rules, trials, submissions)
    return bootstrap(study_times(results, method), results.scope, method, **options)


def noisy(submissions="abc", workloads="vw", studies=5, seed=0):
    """Rules and trials of submissions that are ever slower on average; a miss here and there."""
    rng = random.Random(seed)
    times = {
        (s, w): [
            INF if rng.random() < 0.1 else round(rng.uniform(5, 20) + 2 * place, 3)
            for _ in range(studies)
        ]
        for place, s in enumerate(submissions)
        for w in workloads
    }
    return single(workloads, studies=studies), one_trial(times)


@BOTH
@settings(max_examples=40)
@given(drawn_boards())
def test_resampled_scores_are_those_of_plain_loops_over_the_same_draws(method, board):
    rules, submissions, trials = board
    studies = study_times(make_results(rules, trials, submissions), method)
    count = studies.seconds_swk.shape[2]
    drawn = study_draws(studies.workloads, studies.planned_sw, seed=3, resamples=10)
    draws = [
        {name: of[count][r].tolist() for name, of in zip(studies.workloads, drawn, strict=True)}
        for r in range(10)
    ]
    expected = oracle.resampled_scores(
        rules.model_dump(), trials, submissions, method is OFFICIAL, draws
    )
    mine = resampled_scores(
        studies.seconds_swk, studies, make_scope(rules), method, "studies", 3, 10
    )
    assert mine == pytest.approx(
        np.array([[s[n] for n in submissions] for s in expected]), abs=1e-9
    )


def test_draws_are_uniform_over_studies_and_depend_only_on_seed_and_name():
    def drawn(names, seed):
        planned_sw = np.full((3, len(names)), 5)
        return [of[5] for of in study_draws(names, planned_sw, seed, resamples=20_000)]

    v, w = drawn(["v", "w"], seed=1)
    assert v.shape == w.shape == (20_000, 5)
    for draws in (v, w):
        assert np.bincount(draws.ravel()) / draws.size == pytest.approx(np.full(5, 0.2), abs=0.005)
    assert (v == drawn(["x", "v"], seed=1)[1]).all()
    assert (v == w).mean() == pytest.approx(0.2, abs=0.01)
    assert (v == drawn(["v"], seed=2)[0]).mean() == pytest.approx(0.2, abs=0.01)


def test_with_unequal_numbers_each_draws_its_own_studies_evenly_and_they_share_what_they_can():
    (draws,) = study_draws(["w"], np.array([[5], [2], [2], [3]]), seed=1, resamples=20_000)
    assert list(draws) == [2, 3, 5]
    for count, drawn in draws.items():
        assert drawn.shape == (20_000, count)
        for column in drawn.T:  # each draw on its own, whatever it shares
            even = np.full(count, 1 / count)
            assert np.bincount(column) / 20_000 == pytest.approx(even, abs=0.02)
        repeats = (drawn[:, 0] == drawn[:, 1]).mean()  # draws are independent
        assert repeats == pytest.approx(1 / count, abs=0.02)
    for fewer, more in ((2, 3), (3, 5)):
        same = (draws[fewer] == draws[more][:, :fewer]).mean()
        assert same == pytest.approx(fewer / more, abs=0.02)


@BOTH
def test_a_seed_fixes_the_result_and_another_gives_another(method):
    one, same, other = (
        bootstrapped(*noisy(), method=method, seed=seed, resamples=500) for seed in (7, 7, 8)
    )
    for field in ("low", "high", "ranks", "beats"):
        np.testing.assert_array_equal(getattr(one, field), getattr(same, field))
    assert (one.beats != other.beats).any()
    assert (one.ranks != other.ranks).any()


@given(drawn_boards())
def test_probabilities_add_up(board):
    rules, submissions, trials = board
    found = bootstrapped(rules, trials, submissions, resamples=50)
    assert found.ranks.sum(axis=1) == pytest.approx(np.ones(len(submissions)))
    assert found.beats + found.beats.T == pytest.approx(np.ones_like(found.beats))
    assert (found.low <= found.high).all()
    assert ((found.low >= 0) & (found.high <= 1)).all()


def test_rank_probabilities_and_odds_count_the_resamples():
    rules, trials = noisy("abcd", studies=21)
    found = bootstrapped(rules, trials, resamples=200, seed=5)
    scores = sampled(rules, trials, resamples=200, seed=5)
    for a in range(4):
        ranks = Counter(1 + sum(other > row[a] for other in row) for row in scores)
        assert found.ranks[a].tolist() == [ranks[place] / 200 for place in range(1, 5)]
        for b in range(4):
            won = sum((row[a] > row[b]) + (row[a] == row[b]) / 2 for row in scores)
            assert found.beats[a, b] == won / 200
        assert found.low[a], found.high[a] == pytest.approx(
            np.percentile(scores[:, a], [2.5, 97.5]).tolist()
        )


def test_submissions_that_tie_share_the_best_rank():
    found = bootstrapped(
        single("w"), one_trial({("a", "w"): 1.0, ("b", "w"): 1.0, ("c", "w"): 2.0})
    )
    assert found.ranks.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert found.beats.tolist() == [[0.5, 0.5, 1], [0.5, 0.5, 1], [0, 0, 0.5]]


@BOTH
def test_where_all_studies_are_equal_nothing_is_uncertain(method):
    times = {("a", "v"): 3.0, ("b", "v"): 4.5, ("c", "v"): INF}
    times |= {("a", "w"): 9.1, ("b", "w"): 7.7, ("c", "w"): 7.9}
    trials = one_trial({key: [seconds] * 5 for key, seconds in times.items()})
    rules = single(studies=5)
    found = bootstrapped(rules, trials, method=method, resamples=100)
    scores = oracle.scores(rules.model_dump(), trials, "abc", method is OFFICIAL)
    for s, name in enumerate("abc"):
        assert found.low[s] == found.high[s] == pytest.approx(scores[name], abs=1e-11)
    assert found.ranks.tolist() == np.eye(3).tolist()


def test_one_study_leaves_no_spread():
    found = bootstrapped(*noisy(studies=1), resamples=100)
    assert found.low.tolist() == found.high.tolist()


def test_three_studies_of_one_workload_counted_out():
    """All 27 resamples, the same for both submissions, against 10,000 drawn ones."""
    times = {"a": [10.0, 13.0, 30.0], "b": [11.0, 12.0, 14.0]}
    rules = single("w", studies=3)
    trials = one_trial({(name, "w"): studies for name, studies in times.items()})
    odds = {"a": Counter(), "b": Counter()}
    above = 0.0
    for drawn in itertools.product(range(3), repeat=3):
        a, b = (sorted(times[name][k] for k in drawn)[1] for name in "ab")
        best = min(a, b)
        odds["a"][round((4 - a / best) / 3, 9)] += 1 / 27
        odds["b"][round((4 - b / best) / 3, 9)] += 1 / 27
        above += ((a < b) + (a == b) / 2) / 27
    scores = sampled(rules, trials, resamples=RESAMPLES)
    for s, name in enumerate("ab"):
        drawn = Counter(scores[:, s].round(9).tolist())
        assert drawn.keys() == odds[name].keys()
        for value, count in drawn.items():
            assert count / RESAMPLES == pytest.approx(odds[name][value], abs=0.02)
    found = bootstrapped(rules, trials)
    assert found.beats[0, 1] == pytest.approx(above, abs=0.02)
    assert found.ranks[0].tolist() == pytest.approx([above, 1 - above], abs=0.02)


def test_studies_are_drawn_together_for_all_submissions():
    """b is always a second behind; drawn apart it would often be ahead."""
    rng = random.Random(4)
    first = [rng.uniform(10, 30) for _ in range(5)]
    times = {("a", "w"): first, ("b", "w"): [seconds + 1 for seconds in first]}
    found = bootstrapped(single("w", studies=5), one_trial(times))
    assert found.beats[0, 1] == 1
    assert found.ranks.tolist() == [[1, 0], [0, 1]]


def test_with_many_studies_an_interval_closes_in_on_the_score():
    def width(studies):
        found = bootstrapped(*noisy("ab", "w", studies, seed=6), resamples=400)
        return found.high[1] - found.low[1]

    assert width(200) < 0.5 * width(10)


def test_workloads_drawn_too_have_binomial_weights():
    """Studies that do not differ: only the workloads drawn move a score."""
    times = {("a", "v"): 1.0, ("a", "w"): INF, ("b", "v"): 2.0, ("b", "w"): 1.0}
    trials = one_trial({key: [seconds] * 3 for key, seconds in times.items()})
    rules = single(studies=3)
    assert len(np.unique(sampled(rules, trials), axis=0)) == 1
    scores = sampled(rules, trials, resampled="workloads", resamples=RESAMPLES)
    drawn = Counter(map(tuple, scores.round(9).tolist()))
    both_v, one_each, both_w = (1.0, round(2 / 3, 9)), (0.5, round(5 / 6, 9)), (0.0, 1.0)
    assert drawn.keys() == {both_v, one_each, both_w}
    assert drawn[one_each] / RESAMPLES == pytest.approx(0.5, abs=0.02)
    assert drawn[both_v] / RESAMPLES == pytest.approx(0.25, abs=0.02)


def test_a_workload_is_drawn_with_its_variant():
    """Where w is drawn its variant still decides whether it counts."""
    times = {("a", "v"): 1.0, ("a", "w"): 1.0, ("a", "h"): INF}
    scores = sampled(single("vw", {"h": "w"}), one_trial(times), resampled="workloads")
    assert set(scores.ravel().tolist()) == {0.0, 0.5, 1.0}


@BOTH
@pytest.mark.parametrize("resampled", ["studies", "workloads"])
def test_neither_names_nor_a_submission_that_reaches_nothing_change_the_odds(method, resampled):
    rules, trials = noisy()
    names = {"a": "z", "b": "y", "c": "x"}
    renamed = {(names[s], *key): seconds for (s, *key), seconds in trials.items()}
    options = {"method": method, "resampled": resampled, "resamples": 300}
    one, other = bootstrapped(rules, trials, **options), bootstrapped(rules, renamed, **options)
    for field in ("low", "high", "ranks"):
        assert getattr(one, field).tolist() == getattr(other, field)[::-1].tolist()
    assert one.beats.tolist() == other.beats[::-1, ::-1].tolist()
    joined = bootstrapped(rules, trials, ["a", "b", "c", "idle"], **options)
    assert one.low.tolist() == joined.low[:3].tolist()
    assert one.beats.tolist() == joined.beats[:3, :3].tolist()


@pytest.mark.parametrize("size", [1, 100, 10**9])
def test_how_many_resamples_are_held_at_a_time_changes_nothing(monkeypatch, size):
    expected = sampled(*noisy(), resampled="workloads")
    monkeypatch.setattr(uncertainty, "_CHUNK", size)
    assert (sampled(*noisy(), resampled="workloads") == expected).all()


@pytest.mark.parametrize(("studies", "share"), [(3, 0.75), (5, 0.9375)])
def test_how_often_the_interval_of_one_workload_holds_the_true_score(studies, share):
    """A simulation: `fast` takes 10 s, `slow` twice that in the median, so its score is 2/3."""
    rng = np.random.default_rng(11)
    rules, held, boards = single("w", studies=studies), 0, 600
    for board in range(boards):
        slow = 20 * np.exp(0.1 * rng.standard_normal(studies))
        times = {("fast", "w"): [10.0] * studies, ("slow", "w"): slow.tolist()}
        found = bootstrapped(rules, one_trial(times), resamples=600, seed=board)
        held += found.low[1] <= 2 / 3 <= found.high[1]
    deviation = (share * (1 - share) / boards) ** 0.5
    assert held / boards == pytest.approx(share, abs=4 * deviation)
