"""Exact pruning: no score changes, whichever trials stop at their deadlines.

Boards are random, and so is the order of events; scores come from the plain loops of the oracle.
"""

import os
import statistics
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.order import likely_winners_first
from scoring.pruning import Bounds, after, deadlines
from tests.scoring import oracle

INF = np.inf
BOARDS = int(os.environ.get("CHRONOGRAD_BOARDS", "2000"))  # 100,000 once, by hand


@dataclass
class Board:
    """True times to target (S, W, K, T), unknown to the pruning."""

    times: np.ndarray
    held_out: dict[int, int]
    r_max: float
    budget: float

    def scores(self, times):
        """Of all submissions, from the oracle."""
        columns = range(times.shape[1])
        rules = {
            "scored": [w for w in columns if w not in self.held_out],
            "held_out": self.held_out,
            "r_max": self.r_max,
        }
        medians = {
            (s, w): statistics.median(times[s, w].min(-1).tolist())
            for s in range(len(times))
            for w in columns
        }
        found = oracle.scores_of_times(rules, medians, range(len(times)), official=False)
        return np.array(list(found.values()))


@st.composite
def boards(draw):
    """Strong and weak submissions, noise from none to wild, ties, misses in clusters."""
    submissions, scored = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    studies, trials = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    owners = draw(st.permutations(range(scored)))[: draw(st.integers(0, scored))]
    held_out = {scored + place: owner for place, owner in enumerate(owners)}
    workloads = scored + len(held_out)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    strength = rng.choice([1.0, 2, 4, 8], (submissions, workloads, 1, 1))
    strength *= rng.choice([1, 1, 1, 0.25], (submissions, 1, 1, 1))
    noise = draw(st.sampled_from([0.0, 0.02, 0.2, 0.8]))
    times = strength * np.exp(rng.normal(0, noise, (submissions, workloads, studies, trials)))
    if draw(st.booleans()):
        times = np.ceil(2 * times) / 2  # ties
    misses = rng.random((submissions, workloads, 1, 1)) * draw(st.sampled_from([0, 0.3, 0.9]))
    times[rng.random(times.shape) < misses] = INF
    budget = draw(st.sampled_from([6.0, 20.0]))
    times[times > budget] = INF
    return Board(times, held_out, draw(st.sampled_from([1.5, 2.0, 4.0])), budget)


class Sweep:
    """Runs a board's trials until each has ended or is stopped; records every stop."""

    def __init__(self, board, rng, limits=deadlines):
        self.board, self.rng, self.limits = board, rng, limits
        shape = board.times.shape
        self.clock, self.low = np.zeros(shape), np.zeros(shape)
        self.high = np.full(shape, INF)
        self.left = list(np.ndindex(shape))
        self.stops = []

    def bounds(self):
        return Bounds(self.low, self.high)

    def deadlines(self):
        return self.limits(self.bounds(), self.board.held_out, self.board.r_max)

    def run(self, together):
        """`together`: whether trials take turns, or run one after the other."""
        self.left = [self.left[i] for i in self.rng.permutation(len(self.left))]
        earlier = None
        while True:
            found = self.deadlines()
            assert (found.park <= found.stop).all()
            assert earlier is None or (found.stop <= earlier).all()  # they never grow
            earlier = found.stop
            for trial in [t for t in self.left if self.clock[t] >= found.stop[t]]:
                self.left.remove(trial)
                self.low[trial] = after(self.clock[trial])
                self.stops.append((trial, self.clock[trial]))
            if not self.left:
                return
            trial = self.left[self.rng.integers(len(self.left)) if together else 0]
            self.step(trial, min(found.park[trial], found.stop[trial]), found.stop[trial])

    def step(self, trial, park, stop):
        """A trial continues for a while, fails, loses its machine, or waits while parked."""
        time = self.board.times[trial]
        chance = self.rng.random()
        if chance < 0.02 and time == INF:  # failed: that is a miss
            self.end(trial, INF)
            return
        if chance < 0.05:  # resumes from its last checkpoint; nothing of it was known
            self.clock[trial] *= self.rng.choice([0, 0.5]) if self.low[trial] == 0 else 1
            return
        limit = park if self.clock[trial] < park else stop
        until = min(self.clock[trial] + self.rng.choice([0.5, 2, 100]), limit, self.board.budget)
        if time <= until:
            self.end(trial, time)
        elif until >= self.board.budget:
            self.end(trial, INF)
        else:
            self.clock[trial] = until
            if until == limit:  # parked, with a checkpoint
                self.low[trial] = after(until)

    def end(self, trial, time):
        self.left.remove(trial)
        self.clock[trial] = min(time, self.board.budget)
        self.low[trial] = self.high[trial] = time


@settings(max_examples=BOARDS, deadline=None)
@given(board=boards(), seed=st.integers(0, 2**32), together=st.booleans())
def test_the_pruned_leaderboard_is_the_full_one(board, seed, together):
    sweep = Sweep(board, np.random.default_rng(seed))
    sweep.run(together)
    full, pruned = board.scores(board.times), board.scores(sweep.high)
    np.testing.assert_allclose(pruned, full, rtol=0, atol=1e-12)


def run_all(limits, count=100):
    """The largest change of a score over fixed random boards, and the share of time saved."""
    largest, spent, whole = 0.0, 0.0, 0.0
    for seed in range(count):
        rng = np.random.default_rng(seed)
        shape = (3, 4, 3, 2)
        times = rng.choice([1.0, 3, 5, 12], (3, 4, 1, 1)) * np.exp(rng.normal(0, 0.3, shape))
        times[rng.random(shape) < 0.2] = INF
        board = Board(times, {2: 0, 3: 1}, 4.0, 20.0)
        sweep = Sweep(board, rng, limits)
        sweep.run(together=False)
        change = np.abs(board.scores(sweep.high) - board.scores(times)).max()
        largest = max(largest, change)
        spent += sweep.clock.sum()
        whole += np.minimum(times, 20.0).sum()
    return largest, 1 - spent / whole


def test_it_saves_much_and_moves_nothing():
    change, saved = run_all(deadlines)
    assert change < 1e-12
    assert saved > 0.3


def test_stopping_a_workload_with_a_variant_at_r_max_would_move_scores():
    def too_early(bounds, held_out, r_max):
        found = deadlines(bounds, held_out, r_max)
        return type(found)(found.park, found.park)

    change, _ = run_all(too_early)
    assert change > 0.05  # this test can fail: the trap is real


def bounds_of(**known):
    """One submission beside another on one workload, three studies of two trials."""
    bounds = Bounds.unknown((2, 1, 3, 2))
    for place, time in known.items():
        index = tuple(map(int, place[1:]))
        bounds.low[index] = bounds.high[index] = time
    return bounds


def test_in_a_study_the_fastest_trial_counts():
    found = deadlines(bounds_of(_0000=5.0), {}, 4.0).stop
    assert found[0, 0, 0].tolist() == [5, 5]
    assert np.isinf(found[0, 0, 1:]).all()
    assert np.isinf(found[1]).all()


def test_of_the_studies_the_median_counts():
    found = deadlines(bounds_of(_0000=5.0, _0010=7.0), {}, 100.0).stop
    assert found[0, 0, 2].tolist() == [7, 7]


def test_no_more_is_needed_of_a_median_that_is_surely_missed():
    bounds = bounds_of(_0000=INF, _0001=INF, _0010=INF)
    assert np.isinf(deadlines(bounds, {}, 4.0).stop).all()
    bounds.low[0, 0, 1, 1] = INF
    assert (deadlines(bounds, {}, 4.0).stop[0] == 0).all()


def test_of_the_submissions_those_within_r_max_count():
    found = deadlines(bounds_of(_0000=5.0, _0010=7.0), {}, 4.0).stop
    assert (found[1] == 28).all()


def test_an_even_number_of_studies_has_a_mean_for_a_median():
    bounds = Bounds.unknown((2, 1, 2, 1))
    bounds.low[0, 0, :, 0] = bounds.high[0, 0, :, 0] = [4.0, 6.0]  # the fastest takes 5
    found = deadlines(bounds, {}, 2.0).stop
    assert found[1, 0, :, 0] == pytest.approx([20, 20])  # (0 + 20) / 2 is not above 2 x 5
    bounds.low[1, 0, 0, 0] = bounds.high[1, 0, 0, 0] = 9.0
    bounds.low[1, 0, 1, 0] = 10.0
    assert deadlines(bounds, {}, 2.0).stop[1, 0, 1, 0] == pytest.approx(11)


def test_a_variant_does_not_matter_where_its_workload_is_missed():
    bounds = Bounds.unknown((1, 2, 1, 1))
    assert np.isinf(deadlines(bounds, {1: 0}, 4.0).stop[0, 1, 0, 0])
    bounds.low[0, 0] = INF
    assert deadlines(bounds, {1: 0}, 4.0).stop[0, 1, 0, 0] == 0


def test_a_workload_over_r_max_waits_for_its_variant():
    bounds = Bounds.unknown((2, 2, 1, 1))
    bounds.low[0, :, 0, 0] = bounds.high[0, :, 0, 0] = [1.0, 1.0]
    found = deadlines(bounds, {1: 0}, 4.0)
    assert (found.park[1, 0, 0, 0], found.stop[1, 0, 0, 0]) == (4, INF)
    bounds.low[1, 0] = after(4.0)  # too slow to count, but perhaps not missed
    assert deadlines(bounds, {1: 0}, 4.0).stop[1, 1, 0, 0] == 1  # the variant, to be the fastest
    bounds.low[1, 1] = after(1.0)
    assert deadlines(bounds, {1: 0}, 4.0).stop[1, 0, 0, 0] <= 4


def test_likely_winners_come_first():
    bounds = Bounds.unknown((3, 3, 2, 1))
    held_out, worth = {2: 0}, [1.0] * 3
    ranks = likely_winners_first(bounds, held_out, worth)
    assert sorted(ranks.ravel()) == list(range(18))
    assert [ranks[s, 0, 0] for s in range(3)] == [0, 1, 2]  # a first study of each
    assert ranks[:, 0].max() < ranks[:, 1].min()  # workload after workload
    for submission, time in ((0, INF), (1, 9.0), (2, 3.0)):
        bounds.low[submission, 0, 0] = bounds.high[submission, 0, 0] = time
    ranks = likely_winners_first(bounds, held_out, worth)
    assert ranks[2, 0, 1] < ranks[1, 0, 1] < ranks[0, 0, 1]
    assert ranks[2, 2, 0] < ranks[2, 0, 1] < ranks[2, 2, 1]  # one of the variant, then as usual
    bounds.low[2, 2, 0] = INF
    ranks = likely_winners_first(bounds, held_out, worth)
    assert ranks[2, 2, 1] < ranks[2, 0, 1]  # what is missed decides


def test_where_the_fastest_would_stop_others_early_all_its_studies_come_first():
    bounds, held_out = Bounds.unknown((3, 3, 3, 2)), {2: 0}
    budgets, r_max = np.array([40.0, 8.0, 1000.0]), 4.0
    worth = budgets / r_max
    for column, time in ((0, 9.0), (1, 3.0)):  # four times 9 is less than 40, of 3 more than 8
        bounds.low[1, column, 0] = bounds.high[1, column, 0] = time
    ranks = likely_winners_first(bounds, held_out, worth)
    assert sorted(ranks.ravel()) == list(range(27))
    assert ranks[1, 0, 1:].max() < ranks[[0, 2], 0, 0].min()  # before others have begun
    assert ranks[[0, 2], 1, 0].max() < ranks[1, 1, 1:].min()  # there first one of each
    bounds.low[2, 0, 0] = bounds.high[2, 0, 0] = 8.0  # a faster one
    ranks = likely_winners_first(bounds, held_out, worth)
    assert ranks[2, 0, 1:].max() < ranks[0, 0, 0] < ranks[1, 0, 1:].min()
