"""Tests that are valid at any time: errors under no difference, power, allocation, pruning."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scoring.records import Decide, Order
from scoring.sequential import (
    SCALES,
    Observations,
    Question,
    decide,
    log_capital,
    log_factors,
    next_counts,
)
from scoring.sequential_replay import first_decided, looks, replay_studies
from tests.scoring.boards import INF, make_results, one_trial, single

R_MAX = 4.0
LIMIT = math.log(R_MAX)


def board(times_swk, seconds_swk=None):
    """Observations of studies of one trial, from times to target (S, W, K); infinite is a miss."""
    times_swk = np.asarray(times_swk, float)
    found = Observations.none((*times_swk.shape, 1))
    for place in np.ndindex(times_swk.shape):
        time = times_swk[place]
        spent = min(time, 100.0) if seconds_swk is None else seconds_swk[place]
        found.learn((*place, 0), None if time == INF else time, None, spent)
    return found


def run(times_swk, held_out=None, seconds_swk=None, **question):
    """All looks at a board, of submissions a, b, c, ..."""
    full = board(times_swk, seconds_swk)
    names = [chr(ord("a") + s) for s in range(full.ended.shape[0])]
    held_out = held_out or {}
    scored = full.ended.shape[1] - len(held_out)
    asked = Question(**{"max_studies": full.ended.shape[2], **question})
    return list(looks(full, names, scored, held_out, R_MAX, asked))


@given(st.lists(st.floats(-1.4, 1.4), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_capital_is_that_of_a_literal_loop_in_any_order(ratios, rng):
    expected = sum(math.prod(1 + math.tanh(s * d) for d in ratios) for s in SCALES) / len(SCALES)
    assert math.exp(log_capital(np.array(ratios))) == pytest.approx(expected, abs=1e-12)
    rng.shuffle(ratios)
    assert math.exp(log_capital(np.array(ratios))) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.floats(-1.4, 1.4), min_size=1, max_size=6))
def test_a_fair_game_multiplies_the_capital_by_one_on_average(ratios):
    signs = np.array(list(itertools.product((1, -1), repeat=len(ratios))))
    assert np.exp(log_capital(signs * np.array(ratios))).mean() == pytest.approx(1)


NOISES = {
    "normal": lambda rng, shape: rng.normal(0, 0.2, shape),
    "tiny": lambda rng, shape: rng.normal(0, 1e-3, shape),
    "heavy tails": lambda rng, shape: rng.standard_cauchy(shape),
    "misses": lambda rng, shape: rng.choice([-9.0, 0.0, 9.0], shape, p=[0.3, 0.4, 0.3]),
    "skewed times": lambda rng, shape: rng.exponential(1, shape) - rng.exponential(1, shape),
    "uneven workloads": lambda rng, shape: rng.normal(0, [0.01, 0.1, 0.5, 2.0] * (shape[1] // 4),
                                                      shape),
}  # fmt: skip


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_without_a_difference_a_look_after_each_study_is_wrong_as_seldom_as_stated(
    noise, confidence
):
    """10,000 boards of two submissions: 20 studies on four workloads, 80 looks at each."""
    boards = 10_000
    rng = np.random.default_rng(len(noise))
    ratios = np.clip(NOISES[noise](rng, (boards, 80)), -LIMIT, LIMIT)
    wrong = np.zeros(boards, bool)
    for sign in (1, -1):
        paths = np.zeros((boards, len(SCALES)))
        for look in range(80):
            paths += log_factors(sign * ratios[:, look, None])[:, 0]
            capital = np.exp(paths).mean(axis=1)
            wrong |= 2 / capital <= 1 - confidence
    assert wrong.sum() <= stats.binom.ppf(0.999, boards, 1 - confidence)
    assert wrong.any() == (noise != "tiny")  # not by never deciding


@pytest.mark.parametrize("question", [
    {"decide": Decide.ALL}, {"decide": Decide.TOP}, {"decide": Decide.ALL, "order": Order.LATENCY},
])  # fmt: skip
def test_without_a_difference_the_rule_itself_is_wrong_as_seldom_as_stated(question):
    """Boards of three alike submissions, with studies added where they promise most."""
    rng, boards = np.random.default_rng(7), 40
    wrong = 0
    for _ in range(boards):
        times = rng.lognormal(0, rng.choice([0.05, 0.3], (1, 3, 1)), (3, 3, 6))
        last = run(times, confidence=0.8, **question)[-1]
        if question["decide"] is Decide.ALL:
            wrong += any(decision.faster for decision in last.decisions)
        else:
            wrong += all(decision.settled for decision in last.decisions)
    assert wrong <= stats.binom.ppf(0.999, boards, 0.2)


def test_a_clear_difference_is_decided_early_and_nothing_more_runs():
    rng = np.random.default_rng(0)
    times = rng.lognormal(0, 0.05, (2, 8, 20))
    times[1] *= 2
    found = run(times)
    (decision,) = found[-1].decisions
    assert decision.faster == "a"
    assert decision.p <= 0.05
    assert found[-1].counts_sw.max() == 2  # 16 pairs of times
    times = times[:, :2]
    found = run(times)
    assert found[-1].decisions[0].faster == "a"
    assert found[-1].counts_sw.max() < 8
    assert np.ptp(found[-1].counts_sw) <= 1
    (first,) = first_decided(found)
    assert first is found[-1]


def test_one_workload():
    rng = np.random.default_rng(1)
    times = rng.lognormal(0, 0.1, (2, 1, 20))
    times[0] *= 3
    last = run(times)[-1]
    assert last.decisions[0].faster == "b"
    assert 6 <= last.counts_sw[0, 0] <= 10


def test_only_undecided_pairs_get_more_studies():
    """Two are alike; the third is far behind and gets no more studies once that is known."""
    rng = np.random.default_rng(2)
    times = rng.lognormal(0, 0.2, (3, 4, 12))
    times[2] *= 3.5
    times[1] = times[0] * rng.lognormal(0, 0.01, times[0].shape)
    for order in Order:
        last = run(times, order=order)[-1]
        found = {decision.names: decision for decision in last.decisions}
        assert (found["a", "c"].faster, found["b", "c"].faster) == ("a", "b")
        assert found["a", "b"].faster == ""
        assert last.counts_sw[:2].tolist() == [[12] * 4] * 2
        assert last.counts_sw[2].max() <= 6


def test_for_the_first_place_those_that_cannot_have_it_get_no_more_studies():
    rng = np.random.default_rng(3)
    times = rng.lognormal(0, 0.05, (4, 4, 12))
    times[0] *= 0.5
    times[2] = times[1] * rng.lognormal(0, 0.001, times[1].shape)  # two that never differ
    top, every = (run(times, decide=what)[-1] for what in Decide)
    assert all(decision.settled for decision in top.decisions)
    assert {d.names: d.faster for d in top.decisions}["b", "c"] == ""
    assert top.counts_sw.max() < 5
    assert every.counts_sw[1:3].tolist() == [[12] * 4] * 2


def test_ties_decide_nothing_and_cost_nothing():
    """Both miss on the second workload, which gets no more studies; on the first they differ."""
    rng = np.random.default_rng(4)
    times = rng.lognormal(0, 0.3, (2, 2, 10))
    times[:, 1] = INF
    last = run(times)[-1]
    assert last.counts_sw[:, 1].tolist() == [2, 2]
    assert last.counts_sw[:, 0].min() > 2
    alike = run(np.full((2, 2, 10), INF))
    assert len(alike) == 1
    assert alike[0].decisions[0].faster == ""
    assert not alike[0].decisions[0].settled


def test_a_submission_that_never_reaches_a_target_is_slower():
    times = np.full((2, 4, 10), 10.0)
    times[1] = INF
    last = run(times)[-1]
    assert last.decisions[0].faster == "a"
    assert last.counts_sw.max() <= 3


def test_the_largest_number_of_studies_ends_it():
    rng = np.random.default_rng(5)
    times = rng.lognormal(0, 0.3, (2, 2, 10))
    last = run(times, max_studies=4, confidence=0.999)[-1]
    assert last.decisions[0].faster == ""
    assert (last.counts_sw == 4).all()
    assert (run(times, max_studies=1)[-1].counts_sw == 1).all()


def test_the_workload_that_promises_most_per_hour_comes_first():
    times = np.full((2, 3, 6), 10.0)
    times[1, 0] = [11.0, 9.0] * 3  # noise
    times[1, 1] = 11.0  # as large, but always the same sign
    times[1, 2] = 11.0
    seconds = np.full(times.shape, 10.0)
    seconds[:, 1] = 90.0
    second = run(times, seconds_swk=seconds)[1].counts_sw
    assert second.tolist() == [[2, 2, 3]] * 2
    all_at_once = run(times, seconds_swk=seconds, order=Order.LATENCY)[1].counts_sw
    assert (all_at_once >= 2).all()
    assert all_at_once[:, 1:].tolist() == [[3, 3]] * 2


def test_a_variant_has_as_many_studies_as_its_workload():
    rng = np.random.default_rng(6)
    times = rng.lognormal(0, 0.3, (2, 3, 6))
    times[1, 2] *= 50  # a difference on the held-out variant alone
    for look in run(times, held_out={2: 0}):
        assert (look.counts_sw[:, 2] == look.counts_sw[:, 0]).all()
        assert look.decisions[0].pairs == look.counts_sw[0, :2].sum()


def capitals(found):
    names = ["a", "b"]
    (decision,) = decide(found, names, 1, R_MAX, Question())
    return decision


def test_a_pruned_time_counts_as_its_worst_case_and_one_that_never_started_not_at_all():
    full = board([[[10.0, 10.0]], [[20.0, 20.0]]])
    both = capitals(full)
    full.learn((1, 0, 1, 0), None, 12.0, 12.0)
    full.bounds.high[1, 0, 1, 0] = np.inf
    full.bounds.low[1, 0, 1, 0] = 12.0
    pruned = capitals(full)
    twice, least = math.log(2), math.log(1.2)
    assert pruned.log_capitals[0] == pytest.approx(log_capital(np.array([twice, least])))
    assert pruned.log_capitals[1] == pytest.approx(log_capital(np.array([-twice, -LIMIT])))
    assert pruned.log_capitals[0] < both.log_capitals[0]
    full.bounds.low[1, 0, 1, 0] = 0.0
    full.learn((1, 0, 1, 0), None, 0.0, 0.0)
    skipped = capitals(full)
    assert skipped.pairs == 1
    assert skipped.log_capitals[0] == pytest.approx(log_capital(np.array([twice])))


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_pruned_trials_never_decide_what_complete_ones_would_not(seed):
    rng = np.random.default_rng(seed)
    times = rng.lognormal(2, 0.4, (2, 2, 4))
    full, pruned = board(times), board(times)
    for place in np.ndindex(times.shape):
        if rng.random() < 0.3:
            second = times[place] * rng.uniform(0.1, 1)
            pruned.bounds.high[(*place, 0)] = np.inf
            pruned.learn((*place, 0), None, second, second)
    (complete,), (bounded,) = (
        decide(found, ["a", "b"], 2, R_MAX, Question()) for found in (full, pruned)
    )
    for mine, whole in zip(bounded.log_capitals, complete.log_capitals, strict=True):
        assert mine <= whole + 1e-9


def test_an_unfinished_study_is_left_out():
    full = board([[[10.0, 10.0]], [[20.0, 20.0]]])
    full.ended[1, 0, 1, 0] = False
    assert capitals(full).pairs == 1


def test_the_same_results_give_the_same_next_studies():
    rng = np.random.default_rng(8)
    full = board(rng.lognormal(0, 0.3, (3, 3, 2)))
    question = Question(max_studies=5)
    counts = np.full((3, 3), 2)
    decisions = decide(full, "abc", 3, R_MAX, question)
    one, same = (next_counts(full, counts, decisions, 3, {}, R_MAX, question) for _ in range(2))
    assert one.tolist() == same.tolist()
    assert (one - counts).sum() == 3  # one study on one workload
    assert counts.tolist() == [[2] * 3] * 3


def test_a_replay_of_results_decides_as_the_looks_do():
    rng = np.random.default_rng(9)
    times = {
        (s, w): (rng.lognormal(0, 0.05, 6) * seconds).tolist()
        for s, seconds in (("a", 10.0), ("b", 10.0), ("c", 30.0))
        for w in "vw"
    }
    results = make_results(single("vw", studies=6), one_trial(times))
    question = Question(max_studies=6, confidence=0.9)
    found = replay_studies(results, question)
    array = np.array([[times[s, w] for w in "vw"] for s in "abc"])
    together = run(array, confidence=0.9, seconds_swk=array)
    assert found.looks == len(together)
    assert found.hours == pytest.approx(together[-1].hours)
    assert found.most == pytest.approx(array.sum() / 3600)
    assert [pair.faster for pair in found.pairs] == [d.faster for d in together[-1].decisions]
    alone = run(array[[0, 2]], confidence=0.9, seconds_swk=array[[0, 2]])[-1]
    (pair,) = (pair for pair in found.pairs if (pair.first, pair.second) == ("a", "c"))
    assert pair.alone_faster == "a"
    assert pair.alone_hours == pytest.approx(alone.hours)
    assert pair.alone_studies == alone.counts_sw.mean() < 6
    assert found.settled == sum(bool(pair.faster) for pair in found.pairs)
