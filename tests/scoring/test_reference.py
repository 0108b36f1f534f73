"""Scores against frozen best times, which new entries do not change and edits invalidate."""

import copy
import dataclasses
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.plain import read_json, write_json
from scoring.profiles import apply_rules
from scoring.records import RecordError
from scoring.reference import load_reference, save_reference
from scoring.times import METHODS, OFFICIAL, RULES, medians, study_times
from tests.scoring.boards import (
    INF,
    drawn_boards,
    make_board,
    make_results,
    make_scope,
    one_trial,
    single,
)
from tests.scoring.logs import WORKLOAD

BOTH = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
TIMES = {("a", "v"): 10.0, ("a", "w"): 30.0, ("b", "v"): 20.0, ("b", "w"): INF}


def frozen(rules, trials, method=RULES, submissions=None):
    """The reference that a board leaves, through its file."""
    board = make_board(rules, trials, method, submissions)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reference.json"
        save_reference(path, board.stages, board.results.scope, board.method)
        return load_reference(path)


def frozen_scores(rules, trials, reference, method=RULES, submissions=None):
    board = make_board(rules, trials, method, submissions, reference)
    return {standing.name: standing.reference_score for standing in board.standings}


@BOTH
@settings(max_examples=40)
@given(drawn_boards())
def test_a_board_against_itself_has_the_same_scores(method, board):
    rules, submissions, trials = board
    reference = frozen(rules, trials, method, submissions)
    own = make_board(rules, trials, method, submissions, reference)
    assert own.reference is reference
    for standing in own.standings:
        assert standing.reference_score == standing.score


@BOTH
@settings(max_examples=40)
@given(drawn_boards(), st.data())
def test_no_newcomer_moves_a_frozen_score(method, board, data):
    rules, submissions, trials = board
    reference = frozen(rules, trials, method, submissions)
    seconds = st.sampled_from([0.1, 1.0, 5.0, 30.0, INF])
    newcomer = one_trial(
        {
            ("new", w): [data.draw(seconds) for _ in range(rules.studies)]
            for w in [*rules.scored, *rules.held_out]
        }
    )
    before = frozen_scores(rules, trials, reference, method, submissions)
    names = [*submissions, "new"]
    after = frozen_scores(rules, {**trials, **newcomer}, reference, method, names)
    assert {name: after[name] for name in submissions} == before
    alone = frozen_scores(rules, newcomer, reference, method)
    assert alone == {"new": after["new"]}


def test_a_winner_moves_the_ordinary_scores_but_not_the_frozen_ones():
    rules, trials = single(), one_trial(TIMES)
    reference = frozen(rules, trials)
    winner = one_trial({("new", "v"): 5.0, ("new", "w"): 5.0})
    board = make_board(rules, {**trials, **winner}, reference=reference)
    shown = {s.name: (s.score, s.reference_score) for s in board.standings}
    assert shown["new"] == (1.0, 1.0)  # twice as fast as the reference is ratio 1, not better
    assert shown["a"] == (pytest.approx(1 / 3), 1.0)
    assert shown["b"] == (0.0, pytest.approx(1 / 3))


def test_the_cap_is_relative_to_the_frozen_best():
    reference = frozen(single("w"), one_trial({("a", "w"): 10.0}))
    scores = frozen_scores(
        single("w"), one_trial({("b", "w"): 40.0, ("c", "w"): 41.0, ("d", "w"): 20.0}), reference
    )
    assert scores == {"b": 0.0, "c": 0.0, "d": pytest.approx(2 / 3)}


def test_a_variant_is_held_against_its_frozen_best():
    rules = single("w", {"h": "w"})
    reference = frozen(rules, one_trial({("a", "w"): 10.0, ("a", "h"): 1.0}))
    others = {("b", "w"): 10.0, ("b", "h"): 4.0, ("c", "w"): 5.0, ("c", "h"): 4.1}
    assert frozen_scores(rules, one_trial(others), reference) == {"b": 1.0, "c": 0.0}


def test_whoever_first_reaches_a_target_has_ratio_1():
    reference = frozen(single("w"), one_trial({("a", "w"): INF}))
    assert reference.fastest == {"w": INF}
    newcomers = one_trial({("b", "w"): 90.0, ("c", "w"): 1.0, ("d", "w"): INF})
    assert frozen_scores(single("w"), newcomers, reference) == {"b": 1.0, "c": 1.0, "d": 0.0}


def test_a_reference_holds_the_best_times_and_the_rules(tmp_path):
    rules = single("vw", {"h": "w"})
    trials = one_trial({**TIMES, ("a", "h"): 7.0, ("b", "h"): 3.0})
    results = make_results(rules, trials)
    stages = apply_rules(medians(study_times(results, OFFICIAL).seconds_swk), results.scope)
    save_reference(tmp_path / "deep" / "reference.json", stages, results.scope, OFFICIAL)
    reference = load_reference(tmp_path / "deep" / "reference.json")
    assert reference.best == {"v": 10.0, "w": 30.0, "h": 7.0}
    assert reference.fastest == {"v": 10.0, "w": 30.0}
    assert reference.rules["method"] == "official"
    assert reference.rules["ruleset"] == "toy"
    assert len(reference.made) == len("2026-01-01")


def with_w(**changes):
    return single(workloads={"v": WORKLOAD, "w": {**WORKLOAD, **changes}})


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("ruleset", {"rules": single(name="other")}),
        ("tuning", {"tuning": "self"}),
        ("method", {"method": OFFICIAL}),
        ("clock", {"clock": "steps"}),
        ("r_max", {"rules": single(r_max=3.0)}),
        ("studies", {"rules": single(studies=3)}),
        (r"held_out\.h", {"rules": single("vw", {"h": "w"})}),
        (r"workloads\.w", {"rules": single("v")}),
        (r"workloads\.w\.goal\.target", {"rules": with_w(validation_target=0.4)}),
        (r"workloads\.w\.goal\.metric", {"rules": with_w(metric="wer")}),
        (r"workloads\.w\.goal\.direction", {"rules": with_w(direction="max")}),
        (r"workloads\.w\.budget_seconds", {"rules": with_w(budget_seconds=99)}),
    ],
)
def test_a_reference_made_under_other_rules_is_refused_by_name(key, changes):
    reference = frozen(single(), one_trial(TIMES))
    options = {"rules": single(), "tuning": "external", "clock": "wall", "method": RULES, **changes}
    method = options.pop("method")
    scope = make_scope(**options)
    results = dataclasses.replace(make_results(options["rules"], {}, ["a"]), scope=scope)
    times = medians(study_times(results, method).seconds_swk)
    with pytest.raises(RecordError, match=f"made under another {key} "):
        reference.scores(times, scope, method)


def leaves(data, path=()):
    for key, value in data.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


@pytest.fixture
def saved(tmp_path):
    board = make_board(single("vw", {"h": "w"}), one_trial(TIMES))
    save_reference(tmp_path / "reference.json", board.stages, board.results.scope, RULES)
    return tmp_path / "reference.json"


def test_every_change_of_a_saved_reference_is_seen(saved):
    data = json.loads(saved.read_text())
    places = [path for path in leaves(data) if path != ("schema",)]
    assert {("best", "w"), ("fastest", "v"), ("made",), ("hash",), ("rules", "r_max")} < set(places)
    for path in places:
        changed = copy.deepcopy(data)
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        value = inner[path[-1]]
        inner[path[-1]] = value * 0.9 if isinstance(value, float) else f"{value}0"
        saved.write_text(json.dumps(changed))
        with pytest.raises(RecordError, match="was changed after it was saved"):
            load_reference(saved)
    saved.write_text(json.dumps({**data, "extra": 1}))
    with pytest.raises(RecordError, match="was changed"):
        load_reference(saved)
    saved.write_text(json.dumps(data))
    assert load_reference(saved).best["v"] == 10.0


def test_formatting_a_reference_does_not_change_it(saved):
    before = load_reference(saved)
    data = json.loads(saved.read_text())
    shuffled = {key: data[key] for key in reversed(data)}
    saved.write_text(json.dumps(shuffled))
    assert load_reference(saved) == before


@pytest.mark.parametrize("content", [{}, {"hash": "0"}, {"submissions": []}])
def test_another_file_is_not_a_reference(tmp_path, content):
    write_json(tmp_path / "other.json", content)
    with pytest.raises(RecordError, match=r"other\.json: "):
        load_reference(tmp_path / "other.json")


@pytest.mark.parametrize("lost", ["best", "fastest", "rules", "made", "hash"])
def test_a_reference_that_lost_a_part_is_refused(saved, lost):
    data = read_json(saved)
    del data[lost]
    write_json(saved, data)
    with pytest.raises(RecordError, match=r"reference\.json: "):
        load_reference(saved)
