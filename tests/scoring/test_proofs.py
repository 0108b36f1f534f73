"""Pruned trials: proofs that hold are short and accepted, false ones are refused by name."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.proofs import bounds_of, check, rules_of
from scoring.pruning import MEDIANS, Rules, after, deadlines, holds, prove
from scoring.records import RecordError
from tests.scoring.boards import INF, make_results, single
from tests.scoring.test_pruning import Sweep, boards

RULES = single("vw", {"w_held": "w"}, studies=3, trials=2)


def board(changes=()):
    """a is fast and b slow on v; `changes`: trials that were pruned at a second, or miss (inf)."""
    times = {"a": 10.0, "b": 15.0}
    trials = {
        (name, workload, study, trial): times[name]
        for name in times for workload in ("v", "w", "w_held")
        for study in range(3) for trial in (1, 2)
    }  # fmt: skip
    results = make_results(RULES, trials)
    pruned = dict(changes)
    found = [
        replace(t, status="pruned", hit=None, submission_seconds=pruned[key])
        if (key := (t.submission, t.workload, t.study, t.trial)) in pruned
        else t
        for t in results.trials
    ]
    return replace(results, trials=found)


def test_what_is_known_of_trials():
    results = board({("a", "v", 0, 2): 10.0, ("b", "v", 2, 1): 0.0})
    bounds = bounds_of(results)
    assert bounds.low[0, 0, 0].tolist() == [10, after(10.0)]
    assert bounds.high[0, 0, 0].tolist() == [10, INF]
    assert (bounds.low[1, 0, 2, 0], bounds.high[1, 0, 2, 0]) == (0, INF)
    missing = replace(results, trials=results.trials[1:])
    assert bounds_of(missing).low[0, 0, 0, 0] == 0  # nothing is known of what was not read


def test_a_proof_that_holds_is_accepted():
    results = board({("a", "v", 0, 2): 10.0, ("b", "v", 2, 1): 15.0, ("b", "v", 2, 2): 15.0})
    check(results, rules_of(results), "the scores")
    check(results, MEDIANS, "medians")


@pytest.mark.parametrize(
    ("key", "second", "matters"),
    [(("a", "v", 0, 2), 9.0, "second 10.00"), (("b", "w", 1, 1), 0.0, "second 15.00")],
)
def test_a_trial_that_was_stopped_too_early_is_refused(key, second, matters):
    results = board({key: second})
    with pytest.raises(RecordError, match=f"pruned at second {second:.2f}.*up to {matters}"):
        check(results, rules_of(results), "the scores")


def test_what_only_r_max_decides_does_not_do_for_speedups():
    slow = {("b", "v", study, trial): 40.0 for study in range(3) for trial in (1, 2)}
    results = board(slow)
    check(results, rules_of(results), "the scores")
    with pytest.raises(RecordError, match="for speedups it matters up to its end"):
        check(results, MEDIANS, "speedups")


def test_a_proof_names_what_decides_and_nothing_else():
    results = board()
    bounds, rules = bounds_of(results), Rules({}, 4.0)
    assert prove(bounds, (0, 0, 0, 1), 10.0, rules) == [(0, 0, 0, 0)]  # faster in its study
    bounds.low[1, 0, 2], bounds.high[1, 0, 2] = 0, INF  # a study that has not begun
    facts = prove(bounds, (1, 0, 2, 0), 40.0, rules)
    assert [fact[:3] for fact in facts] == [(1, 0, 0), (1, 0, 1)]  # two that take at most 15
    assert holds(bounds, facts, (1, 0, 2, 0), 40.0, rules)
    assert not holds(bounds, facts[1:], (1, 0, 2, 0), 40.0, rules)
    assert not holds(bounds, facts, (1, 0, 2, 0), 9.0, rules)


@given(drawn=boards(), seed=st.integers(0, 2**32))
def test_every_stop_can_be_proved(drawn, seed):
    sweep = Sweep(drawn, np.random.default_rng(seed))
    sweep.run(together=True)
    rules, bounds = Rules(drawn.held_out, drawn.r_max), sweep.bounds()
    stop = deadlines(bounds, drawn.held_out, drawn.r_max).stop
    for place, second in sweep.stops[:5]:
        assert stop[place] <= second
        facts = prove(bounds, place, second, rules)
        assert place not in facts
        assert holds(bounds, facts, place, second, rules)
        for fact in facts:
            fewer = [other for other in facts if other != fact]
            assert not holds(bounds, fewer, place, second, rules)
