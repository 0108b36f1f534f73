"""Pruned trials: valid proofs are short and accepted, false ones are refused by name."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scoring import pruning
from scoring.compare import compare
from scoring.leaderboard import make_leaderboard
from scoring.order import likely_winners_first
from scoring.proofs import bounds_of, check, rules_of
from scoring.pruning import (
    MEDIANS,
    Bounds,
    Rules,
    after,
    connected,
    deadlines,
    holds,
    prove,
)
from scoring.records import RecordError
from scoring.report.plots import figure, time_to_target
from scoring.report.tables import to_csv, to_json, to_markdown
from scoring.report.terminal import times_table
from scoring.speedup import speedups
from scoring.times import OFFICIAL, study_times
from scoring.times import RULES as METHOD
from scoring.uncertainty import bootstrap
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


def late(trial):
    """Meets its target only after its budget: the official method counts that."""
    return replace(trial, criteria=replace(trial.criteria, budget_seconds=12.0))


def test_the_official_method_answers_nothing_about_a_pruned_tree_anywhere():
    whole, pruned = board(), board({("a", "v", 0, 2): 10.0})
    keys = {("b", "v", 0, 1), ("b", "v", 1, 1), ("b", "v", 0, 2), ("b", "v", 1, 2)}
    for results in (whole, pruned):
        results.trials[:] = [
            late(t) if (t.submission, t.workload, t.study, t.trial) in keys else t
            for t in results.trials
        ]
    assert "by the official method" in make_leaderboard(whole, resamples=5).differences["b"]
    assert make_leaderboard(pruned, resamples=5).differences == {}
    for use in (
        lambda results: make_leaderboard(results, OFFICIAL, resamples=5),
        lambda results: compare(results, "a", "b", OFFICIAL),
    ):
        use(whole)
        with pytest.raises(RecordError, match="for --method official it matters up to its end"):
            use(pruned)
    assert np.isfinite(speedups(whole, METHOD, "a")["b"].official)
    assert np.isnan(speedups(pruned, METHOD, "a")["b"].official)
    assert speedups(pruned, METHOD, "a")["b"].ratio == speedups(whole, METHOD, "a")["b"].ratio


def test_a_pruned_trial_beyond_the_plan_matters_to_the_official_method_alone():
    results = board()
    more = replace(results.trials[0], trial=3, status="pruned", hit=None, extra=True)
    results = replace(results, trials=[*results.trials, more])
    make_leaderboard(results, resamples=5)
    with pytest.raises(RecordError, match="for --method official"):
        make_leaderboard(results, OFFICIAL, resamples=5)


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


def literal_proof(bounds, place, second, rules):
    """Leaves out one submission, workload or trial after another, and asks every time."""
    known = np.argwhere((bounds.low > 0) | np.isfinite(bounds.high)).tolist()
    facts = [tuple(fact) for fact in known if tuple(fact) != place]
    facts.sort(key=lambda fact: [fact[:size] == place[:size] for size in (3, 2, 1)])
    groups = [
        [fact for fact in facts if fact[axis] == number]
        for axis in (0, 1)
        for number in dict.fromkeys(fact[axis] for fact in facts)
    ]
    for group in [*groups, *([fact] for fact in facts)]:
        without = [fact for fact in facts if fact not in group]
        if len(without) < len(facts) and holds(bounds, without, place, second, rules):
            facts = without
    return facts


def part_of(bounds, place, rules):
    """Bounds, place and rules of the columns alone that are connected to that of `place`."""
    columns = connected(place[1], rules.held_out)
    own = {columns.index(v): columns.index(w) for v, w in rules.held_out.items() if v in columns}
    part = Bounds(bounds.low[:, columns], bounds.high[:, columns])
    return columns, part, (place[0], columns.index(place[1]), *place[2:]), Rules(own, rules.r_max)


@settings(max_examples=100)
@given(drawn=boards(), seed=st.integers(0, 2**32), known=st.sampled_from([0.0, 0.3]))
def test_proofs_deadlines_and_ranks_of_a_part_of_the_plan_are_those_of_the_whole(
    drawn, seed, known
):
    rng, rules = np.random.default_rng(seed), Rules(drawn.held_out, drawn.r_max)
    sweep = Sweep(drawn, rng)
    sweep.run(together=True)
    bounds = sweep.bounds()
    forgotten = rng.random(bounds.low.shape) < known  # in the middle of a sweep
    bounds.low[forgotten], bounds.high[forgotten] = 0, INF
    limits = deadlines(bounds, rules.held_out, rules.r_max)
    worth = rng.uniform(0, drawn.budget, bounds.low.shape[1])
    ranks = likely_winners_first(bounds, rules.held_out, worth)
    for place, second in sweep.stops[:6]:
        columns, part, own, own_rules = part_of(bounds, place, rules)
        facts = literal_proof(bounds, place, second, rules)
        assert prove(bounds, place, second, rules) == facts
        if limits.stop[place] <= second:
            found = prove(part, own, second, own_rules)
            assert [(s, columns[w], k, t) for s, w, k, t in found] == facts
        of_part = deadlines(part, own_rules.held_out, rules.r_max)
        np.testing.assert_array_equal(of_part.stop, limits.stop[:, columns])
        np.testing.assert_array_equal(of_part.park, limits.park[:, columns])
        of_part = likely_winners_first(part, own_rules.held_out, worth[columns]).ravel()
        np.testing.assert_array_equal(np.argsort(of_part), np.argsort(ranks[:, columns].ravel()))


def test_a_proof_asks_seldom_whether_facts_are_enough(monkeypatch):
    """Of 400 submissions one decides: that takes a number of questions that grows like log 400."""
    bounds = Bounds.unknown((400, 1, 1, 5))
    bounds.low[:] = INF
    bounds.low[7, 0, 0, 0] = bounds.high[7, 0, 0, 0] = 1.0
    asked = []
    monkeypatch.setattr(pruning, "deadlines", lambda *a: asked.append(1) or deadlines(*a))
    assert prove(bounds, (300, 0, 0, 0), 4.0, Rules({}, 4.0)) == [(7, 0, 0, 0)]
    assert len(asked) < 60


def full_and_pruned(drawn, seed):
    """Results of a board whose trials all ran to their end, and of the same board pruned."""
    _, columns, studies, trials = drawn.times.shape
    names = [f"w{column}" for column in range(columns)]
    held_out = {names[variant]: names[owner] for variant, owner in drawn.held_out.items()}
    scored = [name for name in names if name not in held_out]
    rules = single(scored, held_out, studies=studies, trials=trials, r_max=drawn.r_max)
    times = {
        (f"s{s}", names[w], k, t + 1): float(drawn.times[s, w, k, t])
        for s, w, k, t in np.ndindex(drawn.times.shape)
    }
    full = make_results(rules, times)
    sweep = Sweep(drawn, np.random.default_rng(seed))
    sweep.run(together=True)
    stops = {(f"s{s}", names[w], k, t + 1): second for (s, w, k, t), second in sweep.stops}
    found = [
        replace(t, status="pruned", hit=None, submission_seconds=float(stops[key]))
        if (key := (t.submission, t.workload, t.study, t.trial)) in stops
        else t
        for t in full.trials
    ]
    return full, replace(full, trials=found)


@settings(max_examples=60, deadline=None)
@given(
    drawn=boards(), seed=st.integers(0, 2**32), resampled=st.sampled_from(["studies", "workloads"])
)
def test_intervals_of_a_pruned_board_hold_those_of_the_full_one(drawn, seed, resampled):
    full, pruned = (
        make_leaderboard(results, resampled=resampled, resamples=60)
        for results in full_and_pruned(drawn, seed)
    )
    whole = {standing.name: standing for standing in full.standings}
    for standing in pruned.standings:
        expected = whole[standing.name]
        assert (standing.rank, standing.score) == (expected.rank, expected.score)
        assert standing.low <= expected.low + 1e-12
        assert standing.high >= expected.high - 1e-12
        assert standing.low <= standing.sampling[0] <= standing.sampling[1] <= standing.high
        assert expected.ranks_low == expected.ranks == expected.ranks_high
        for least, true, most in zip(
            standing.ranks_low, expected.ranks, standing.ranks_high, strict=True
        ):
            assert least - 1e-12 <= true <= most + 1e-12
        for name, true in expected.beats.items():
            assert expected.beats_low[name] == true == expected.beats_high[name]
            assert standing.beats_low[name] - 1e-12 <= true <= standing.beats_high[name] + 1e-12


@settings(max_examples=30, deadline=None)
@given(drawn=boards(), seed=st.integers(0, 2**32))
def test_a_comparison_on_a_pruned_board_holds_that_on_the_full_one(drawn, seed):
    assume(len(drawn.times) > 1)
    pair = ("s0", "s1")
    one_study = drawn.times.shape[2] == 1  # which has no intervals
    full, pruned = (compare(results, *pair, METHOD) for results in full_and_pruned(drawn, seed))
    for mine, expected in zip(pruned.workloads, full.workloads, strict=True):
        assert one_study or mine.low <= expected.low
        assert one_study or mine.high >= expected.high
        for value, whole in zip(mine.seconds, expected.seconds, strict=True):
            assert np.isnan(value) or value == whole
        assert one_study or mine.faster_low <= expected.faster <= mine.faster_high
        assert one_study or expected.faster_low == expected.faster == expected.faster_high
    assert one_study or pruned.above_low <= full.above <= pruned.above_high
    assert one_study or full.above_low == full.above == full.above_high
    for mine, expected in (
        (pruned.test.p, full.test.p),
        (pruned.test.adjusted, full.test.adjusted),
    ):
        assert mine[0] - 1e-12 <= expected[0] == expected[1] <= mine[1] + 1e-12


def test_a_pruned_time_is_a_bound_wherever_it_is_shown(tmp_path):
    """b's trials on v were stopped at 41 s, where they could no longer count."""
    made = make_leaderboard(board({("b", "v", k, t): 41.0 for k in range(3) for t in (1, 2)}))
    cell = made.standings[1].cells["v"]
    assert (cell.seconds, cell.at_least, cell.pruned) == (INF, 41.0, True)
    table = times_table(made)
    (column,) = (n for n, c in enumerate(table.columns) if c.name == "v")
    assert [str(row[column]) for row in table.rows] == ["10.0*", "> 41.0 0/3"]
    assert r"| \> 41 |" in to_markdown(made)
    header, _, second = csv.reader(io.StringIO(to_csv(made)))
    row = dict(zip(header, second, strict=True))
    assert (row["v/seconds"], row["v/at_least"]) == ("inf", "41.0")
    (second,) = (s for s in to_json(made)["submissions"] if s["name"] == "b")
    assert (second["times"]["v"], second["times_at_least"]["v"]) == (None, 41.0)
    drawn = time_to_target(made, figure(2, 2).add_subplot())
    assert ">41" in [text.get_text() for text in drawn.texts]


def test_a_rank_that_pruned_trials_leave_open_is_a_range():
    """In resamples without a's fast study b may be first, with what its pruned trials hid."""
    changes = {("b", "v", k, t): 41.0 for k in range(3) for t in (1, 2)}
    whole, pruned = make_leaderboard(board()), make_leaderboard(board(changes))
    assert not whole.uncertainty.is_open
    assert not any("pruned" in remark for remark in whole.remarks)
    results = board({("b", "v", 1, t): 12.0 for t in (1, 2)})
    studies = study_times(results, METHOD)
    found = bootstrap(studies, results.scope, METHOD, resamples=400)
    assert found.is_open
    assert (found.ranks_low <= found.ranks).all()
    assert (found.ranks <= found.ranks_high).all()
    assert pruned.uncertainty.is_open == bool(
        any(s.low < s.sampling[0] or s.high > s.sampling[1] for s in pruned.standings)
    )


def test_a_submission_whose_trials_all_failed_is_surely_last():
    results = board({("b", "v", 1, t): 12.0 for t in (1, 2)})
    failed = [
        replace(t, submission="c", status="failed", failure="submission_error", hit=None)
        for t in results.trials
        if t.submission == "a"
    ]
    results = replace(
        results,
        trials=[*results.trials, *failed],
        submissions={**results.submissions, "c": results.submissions["a"]},
    )
    studies = study_times(results, METHOD)
    found = bootstrap(studies, results.scope, METHOD, resamples=100)
    assert (found.low[2], found.high[2]) == (0, 0)
    assert found.ranks_low[2].tolist() == found.ranks_high[2].tolist() == [0, 0, 1]


def test_a_pruned_board_shows_lower_bounds_of_unknown_times():
    results = board({("b", "v", k, t): 40.0 for k in range(3) for t in (1, 2)})
    cell = make_leaderboard(results).standings[1].cells["v"]
    assert cell.reason == "pruned: it could no longer count"
    difference = compare(results, "a", "b", METHOD).workloads[0]
    assert np.isnan(difference.seconds[1])
    assert (difference.low, difference.high) == (-INF, -30.0)
