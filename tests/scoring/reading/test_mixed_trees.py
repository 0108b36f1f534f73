"""Several folders, ours and AlgoPerf's, in one leaderboard: errors, warnings and remarks."""

import itertools
from dataclasses import replace

import pytest

from scoring.leaderboard import make_leaderboard
from scoring.reading.read import read
from scoring.records import RecordError
from scoring.report.tables import to_json
from scoring.tree import write_trial
from tests.scoring.logs import WORKLOAD, make_rules, write_logs
from tests.scoring.trees import GOAL, make_result, make_row, make_spec, write_tree

RULES = make_rules(held_out={}, suites={}, scored=("w",), trials=1)
SECONDS = {"ours": [10.0, 11.0, 12.0], "official": [20.0, 22.0, 24.0]}


def study_trials(name, seconds):
    return {(name, "w", study, 1): value for study, value in enumerate(seconds)}


def make_tree(out, name="ours", seconds=SECONDS["ours"], **changes):
    return write_tree(out, study_trials(name, seconds), **changes)


def make_logs(out, name="official", seconds=SECONDS["official"], **options):
    curves = [[(value / 2, 0.9), (value, 0.4)] for value in seconds]
    return write_logs(out, study_trials(name, curves), **options)


@pytest.fixture
def folders(tmp_path):
    """A results tree and logs of the same workload."""
    return [make_tree(tmp_path / "tree"), make_logs(tmp_path / "logs")]


def board_of(folders, rules=RULES, tuning="external"):
    return make_leaderboard(read(folders, rules, tuning), resamples=5)


def times_of(board):
    return {standing.name: standing.cells["w"].seconds for standing in board.standings}


def test_a_results_tree_and_official_logs_share_one_leaderboard(folders):
    board = board_of(folders)
    assert times_of(board) == {"ours": 11.0, "official": 22.0}
    assert [standing.score for standing in board.standings] == [1.0, pytest.approx(2 / 3)]
    tree, logs = map(str, folders)
    assert {s.name: s.source.tree for s in board.standings} == {"ours": tree, "official": logs}
    assert board.warnings == []
    assert list(board.results.environments) == [tree]


def test_a_remark_that_machines_may_differ_does_not_fail_a_strict_run(folders):
    (remark,) = board_of(folders).remarks
    assert "times from several folders are compared" in remark
    assert board_of(folders[:1]).remarks == []


def test_the_order_in_which_folders_are_given_changes_nothing(tmp_path):
    folders = [
        make_tree(tmp_path / "tree"),
        make_logs(tmp_path / "logs"),
        make_tree(tmp_path / "late", "ours", [30.0, 31.0]),
        make_logs(tmp_path / "jax", "third", [15.0, 15.0, 15.0], framework="jax"),
    ]
    boards = []
    for order in itertools.permutations(folders):
        made = board_of(list(order))
        assert list(made.results.submissions) == sorted(made.results.submissions)
        board = to_json(made)
        boards.append({**board, "warnings": sorted(board["warnings"])})
    assert all(board == boards[0] for board in boards)
    assert [s["name"] for s in boards[0]["submissions"]] == [
        f"ours ({folders[0]})",
        "third",
        "official",
        f"ours ({folders[2]})",
    ]


@pytest.mark.parametrize("kinds", ["tree tree", "tree logs", "logs logs"])
def test_one_name_in_two_folders_is_ranked_twice_and_never_merged(tmp_path, kinds):
    makers = {"tree": make_tree, "logs": make_logs}
    first, second = (
        makers[kind](tmp_path / str(place), "adamw", seconds)
        for place, (kind, seconds) in enumerate(zip(kinds.split(), SECONDS.values(), strict=True))
    )
    board = board_of([first, second])
    assert times_of(board) == {f"adamw ({first})": 11.0, f"adamw ({second})": 22.0}
    assert all(standing.trials["missing"] == 0 for standing in board.standings)
    assert board.warnings == []
    (remark,) = [line for line in board.remarks if line.startswith("adamw: ")]
    assert "2 folders; they are ranked separately" in remark


def test_one_folder_given_twice_is_refused(folders):
    tree, _ = folders
    with pytest.raises(RecordError, match="the same folder is given twice"):
        read([tree, tree.parent / "logs" / ".." / "tree"], RULES, "external")


def test_faults_of_every_folder_are_named(folders):
    tree, logs = folders
    for path in [*tree.rglob("*.csv"), *logs.rglob("*.csv")]:
        if "study_1" in str(path):
            path.write_text("")
    warnings = board_of(folders).warnings
    for folder in folders:
        assert [line for line in warnings if str(folder) in line and "counts as missing" in line]
    assert [line for line in warnings if line.startswith("ours on w: no study 1")]
    assert [line for line in warnings if line.startswith("official on w: no study 1")]


def test_counted_seconds_are_never_ranked_with_measured_ones(tmp_path):
    counted = tmp_path / "counted"
    make_tree(counted, clock="steps", studies=3)
    for study in range(3):
        spec = make_spec("ours", "w", study, 1, clock="steps")
        write_trial(counted, spec, make_result([make_row(1.0, 0.1)]))
    assert times_of(board_of([counted])) == {"ours": 1.0}
    for other in (make_tree(tmp_path / "tree"), make_logs(tmp_path / "logs")):
        with pytest.raises(RecordError, match="differ in their clock") as error:
            board_of([counted, other])
        assert str(counted) in str(error.value)
        assert str(other) in str(error.value)
        assert "score them separately" in str(error.value)


def test_the_two_kinds_of_tuning_are_never_ranked_together(tmp_path):
    external, own = make_tree(tmp_path / "e"), make_tree(tmp_path / "s", tuning="self")
    with pytest.raises(RecordError, match="differ in their tuning"):
        read([external, own])
    with pytest.raises(RecordError, match="differ in their tuning"):
        board_of([own, make_logs(tmp_path / "logs")])


def test_trees_of_other_plans_are_refused_until_a_ruleset_judges_all(tmp_path):
    few, many = make_tree(tmp_path / "few"), make_tree(tmp_path / "many", "b", [1.0] * 5)
    with pytest.raises(RecordError, match=r"number of studies \(3, 5\).*--ruleset"):
        read([few, many])
    board = board_of([few, many])
    assert times_of(board) == {"ours": 11.0, "b": 1.0}
    assert [s.cells["w"].studies for s in board.standings] == [3, 3]
    beyond = [line for line in board.warnings if "toy plans 3 studies" in line]
    assert len(beyond) == len(board.warnings) == 2
    assert all(str(many) in line for line in beyond)


def test_trees_under_other_rulesets_are_refused(tmp_path):
    rules = make_rules(name="other", held_out={}, scored=(), suites={}, workloads={})
    trees = [make_tree(tmp_path / "a"), make_tree(tmp_path / "b", "b", ruleset=rules.model_dump())]
    with pytest.raises(RecordError, match="differ in their ruleset and cannot be ranked together"):
        read(trees)
    assert set(times_of(board_of(trees))) == {"ours", "b"}


def test_trees_with_other_goals_are_refused_unless_the_ruleset_states_one(tmp_path):
    harder = replace(GOAL, target=0.1)
    trees = [make_tree(tmp_path / "a"), make_tree(tmp_path / "b", "b", goal=harder)]
    with pytest.raises(RecordError, match=r"another goal for w \(loss <= 0\.1\).*\(loss <= 0\.5\)"):
        read(trees)
    assert times_of(board_of(trees)) == {"ours": 11.0, "b": 11.0}


def with_budget(tmp_path, name, budget):
    tree = make_tree(tmp_path / name, name, [40.0] * 3, budget=budget)
    for study in range(3):
        spec = make_spec(name, "w", study, 1, budget_seconds=budget)
        write_trial(tree, spec, make_result([make_row(40.0, 0.1)]))
    return tree


def test_trees_with_other_budgets_keep_their_own_and_say_so(tmp_path):
    trees = [with_budget(tmp_path, "short", 30.0), with_budget(tmp_path, "long", 60.0)]
    board = make_leaderboard(read(trees), resamples=5)
    assert times_of(board) == {"long": 40.0, "short": float("inf")}
    assert board.warnings == []
    (remark,) = [line for line in board.remarks if line.startswith("w: ")]
    assert "different budgets" in remark


def test_a_ruleset_that_states_the_goal_alone_leaves_each_tree_its_budget(tmp_path):
    trees = [with_budget(tmp_path, "short", 30.0), with_budget(tmp_path, "long", 60.0)]
    goal = {key: value for key, value in WORKLOAD.items() if key != "budget_seconds"}
    board = board_of(
        trees, make_rules(held_out={}, scored=(), suites={}, workloads={"w": goal}, trials=1)
    )
    assert times_of(board) == {"long": 40.0, "short": float("inf")}


def test_a_ruleset_that_states_the_budget_replaces_them_all_and_each_change_is_named(tmp_path):
    trees = [with_budget(tmp_path, "short", 30.0), with_budget(tmp_path, "long", 60.0)]
    board = board_of(trees)
    assert times_of(board) == {"long": 40.0, "short": 40.0}
    assert not [line for line in board.remarks if "budgets" in line]
    changed = [line for line in board.warnings if "is judged by loss <= 0.5 within 100 s" in line]
    assert len(changed) == len(board.warnings) == 6


def test_logs_are_judged_by_a_goal_that_only_the_tree_states(folders):
    rules = make_rules(held_out={}, scored=(), suites={}, workloads={}, trials=1)
    board = board_of(folders, rules)
    assert board.results.scope.workloads["w"].goal == GOAL
    assert times_of(board) == {"ours": 11.0, "official": 22.0}


def test_without_a_ruleset_the_logs_are_named_that_need_one(folders):
    with pytest.raises(RecordError, match=r"not a results tree.*--ruleset") as error:
        read(folders)
    assert str(folders[1]) in str(error.value)
