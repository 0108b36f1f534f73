"""Our own results trees: damage and misplaced files are reported, never fatal."""

import json
import os
import random
import shutil
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoring.leaderboard import make_leaderboard
from scoring.plain import read_json, to_plain, write_json
from scoring.reading.read import read
from scoring.records import Failure, RecordError, Status
from scoring.report.parquet import write_parquet
from scoring.report.tables import to_json
from scoring.times import OFFICIAL, RULES
from scoring.tree import EVALUATIONS_FILE, trial_folder, write_trial
from tests.scoring.logs import WORKLOAD, make_rules
from tests.scoring.trees import GOAL, make_result, make_row, make_spec, write_experiment, write_tree

TRIALS = {("a", "w", 0, 1): 2.0, ("a", "w", 1, 1): 4.0}


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "tree", TRIALS)


def read_tree(out, *arguments, **options):
    return read([out], *arguments, **options)


def board_of(out, method=RULES, *arguments):
    return make_leaderboard(read_tree(out, *arguments), method, resamples=5)


def folder_of(tree, *key):
    return trial_folder(tree, make_spec(*key))


def hits_of(results):
    return [trial.hit and trial.hit.submission_seconds for trial in results.trials]


def change(path, **keys):
    write_json(path, {**read_json(path), **keys})


def test_trials_are_read_with_the_rules_they_ran_under(tree):
    results = read_tree(tree)
    first, second = results.trials
    assert (first.submission, first.workload, first.study, first.trial) == ("a", "w", 0, 1)
    assert (first.status, first.failure, first.message) == ("reached", "", "")
    assert (first.criteria.goal, first.criteria.budget_seconds) == (GOAL, 100.0)
    assert (first.hit.submission_seconds, first.hit.global_step, first.hit.line) == (2.0, 20, 3)
    assert (second.submission_seconds, second.evaluations) == (4.0, 2)
    assert first.read().column("train/loss") == [1.0, 0.5]
    assert (results.warnings, results.remarks, results.missing) == ([], [], {})


def test_the_plan_is_the_one_that_was_applied(tree):
    results = read_tree(tree)
    scope = results.scope
    assert (scope.ruleset.name, scope.tuning, scope.clock) == ("mini", "external", "wall")
    assert (scope.studies, scope.trials, scope.scored) == (2, 1, ["w"])
    facts = {"path": "s/a", "hash": "0" * 64, "search_space": "tuning_search_space.json"}
    assert results.submissions["a"].facts == facts
    assert results.environments[str(tree)] == {"seed": 1, "clock": "wall", "platform": "test"}


def test_a_failed_trial_says_why(tree):
    failed = make_result([], Status.FAILED, failure=Failure.OOM, message="no memory")
    write_trial(tree, make_spec("a", "w", 1, 1), failed)
    results = read_tree(tree)
    trial = results.trials[1]
    assert (trial.status, trial.failure, trial.message) == ("failed", "oom", "no memory")
    assert (trial.hit, trial.evaluations) == (None, 0)
    assert results.warnings == []


def test_a_failed_trial_that_had_reached_the_target_counts(tree):
    failed = make_result([make_row(3.0, 0.4)], Status.FAILED, failure=Failure.WORKER_LOST)
    write_trial(tree, make_spec("a", "w", 1, 1), failed)
    assert hits_of(read_tree(tree)) == [2.0, 3.0]


def test_missing_trials_are_named_with_what_that_does(tree):
    shutil.rmtree(folder_of(tree, "a", "w", 1, 1))
    (warning,) = board_of(tree).warnings
    assert warning == "a on w: no study 1: a missing study is infinite"


def test_a_planned_submission_without_trials_is_last(tmp_path):
    write_tree(tmp_path, {**TRIALS, ("b", "w", 0, 1): 3.0, ("b", "w", 1, 1): 3.0})
    shutil.rmtree(tmp_path / "submissions/b")
    board = board_of(tmp_path)
    assert [(s.name, s.score) for s in board.standings] == [("a", 1.0), ("b", 0.0)]
    assert "b on w: no study 0-1" in board.warnings[0]


@pytest.mark.parametrize("name", ["trial.json", EVALUATIONS_FILE])
@pytest.mark.parametrize("damage", [b"", b"\xff\xfe\x00", b"[]", None])
def test_an_unreadable_trial_is_a_named_miss(tree, name, damage):
    file = folder_of(tree, "a", "w", 1, 1) / name
    file.unlink() if damage is None else file.write_bytes(damage)
    results = read_tree(tree)
    (warning,) = results.warnings
    assert warning.startswith(f"{file.parent}")
    assert warning.endswith("the trial counts as missing")
    assert hits_of(results) == [2.0]
    assert make_leaderboard(results).standings[0].trials["missing"] == 1


def test_lost_lines_of_measurements_are_named(tree):
    file = folder_of(tree, "a", "w", 1, 1) / EVALUATIONS_FILE
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-1]))
    results = read_tree(tree)
    (warning,) = results.warnings
    assert str(file.parent) in warning
    assert "has 1 evaluations, trial.json has 2" in warning
    assert hits_of(results) == [2.0, None]


def test_measurements_of_a_trial_recorded_without_any_are_reported(tree):
    file = folder_of(tree, "a", "w", 1, 1) / "trial.json"
    records = read_json(file)
    change(file, result={**records["result"], "rows": 0})
    results = read_tree(tree)
    assert "has 2 evaluations, trial.json has 0" in results.warnings[0]
    assert [trial.evaluations for trial in results.trials] == [2, 2]


@pytest.mark.parametrize("seconds", ["nan", "inf", -1.0, 1e300])
def test_impossible_hours_are_named_and_the_last_evaluation_gives_them(tree, seconds):
    file = folder_of(tree, "a", "w", 1, 1) / "trial.json"
    change(file, result={**read_json(file)["result"], "submission_seconds": seconds})
    board = board_of(tree)
    (warning,) = board.warnings
    assert warning.startswith(f"{file.parent}: trial.json gives its time as")
    assert board.standings[0].hours == (2.0 + 4.0) / 3600


def test_trials_outside_the_plan_are_left_out_by_name(tree):
    odd = [make_spec("a", "w", 7, 1), make_spec("stranger", "w", 0, 1), make_spec("a", "x", 0, 1)]
    for spec in odd:
        write_trial(tree, spec, make_result([make_row(0.1, 0.1)]))
    results = read_tree(tree)
    assert hits_of(results) == [2.0, 4.0]
    for spec in odd:
        said = f"{trial_folder(tree, spec)}: not a trial that experiment.json plans; left out"
        assert said in results.warnings


def test_a_copied_folder_does_not_count_twice(tree):
    shutil.rmtree(folder_of(tree, "a", "w", 1, 1))
    shutil.copytree(folder_of(tree, "a", "w", 0, 1), folder_of(tree, "a", "w", 1, 1))
    results = read_tree(tree)
    assert len(results.trials) == 1
    assert "study_1/w_pytorch/trial_1: not a trial" in results.warnings[0]


def test_trials_that_ran_for_another_goal_than_planned_are_refused(tree):
    easier = replace(make_spec("a", "w", 1, 1), goal=replace(GOAL, target=0.9))
    write_trial(tree, easier, make_result([make_row(1.0, 0.8)]))
    results = read_tree(tree)
    assert [trial.study for trial in results.trials] == [0]
    assert results.missing == {("a", "w"): {1: [1]}}
    assert results.warnings == [
        f"{folder_of(tree, 'a', 'w', 1, 1)}: refused: it ran for loss <= 0.9, experiment.json "
        "plans loss <= 0.5; the trial counts as missing"
    ]


def test_trials_that_ran_with_another_budget_than_planned_are_named(tree):
    longer = make_spec("a", "w", 1, 1, budget_seconds=200.0)
    write_trial(tree, longer, make_result([make_row(1.0, 0.5)]))
    (warning,) = read_tree(tree).warnings
    assert warning.endswith("within 200 s, experiment.json plans loss <= 0.5 within 100 s")


def test_counted_and_measured_seconds_are_never_ranked_together(tree):
    write_trial(tree, make_spec("a", "w", 1, 1, clock="steps"), make_result([make_row(1.0, 0.1)]))
    with pytest.raises(
        RecordError, match=r"trial_1: ran with --clock steps.*score them separately"
    ):
        read_tree(tree)


def test_a_tree_on_the_step_clock_is_marked(tmp_path):
    write_experiment(tmp_path, ["a"], ["w"], clock="steps")
    write_trial(tmp_path, make_spec(clock="steps"), make_result([make_row(1.0, 0.1)]))
    assert read_tree(tmp_path).scope.clock == "steps"


def test_self_tuning_plans_one_trial_a_study_with_a_longer_budget(tmp_path):
    write_experiment(tmp_path, ["a"], ["w"], studies=3, trials=5, budget=10.0, tuning="self")
    for study in range(3):
        spec = make_spec(study=study, budget_seconds=15.0)
        write_trial(tmp_path, spec, make_result([make_row(12.0, 0.1)]))
    results = read_tree(tmp_path)
    assert (results.warnings, results.missing, results.scope.trials) == ([], {}, 1)
    assert results.scope.workloads["w"].budget_seconds == 15.0
    assert all(trial.within_budget for trial in results.trials)


def test_a_target_met_after_the_budget_does_not_count(tmp_path):
    write_tree(tmp_path, {("a", "w", 0, 1): 101.0})
    board = board_of(tmp_path)
    assert board.standings[0].cells["w"].reason == "target missed"


HARDER = make_rules(
    held_out={}, suites={"first": ("w",)}, scored=("w",), studies=1, trials=1,
    workloads={"w": {**WORKLOAD, "validation_target": 0.25, "budget_seconds": 3.0}},
)  # fmt: skip


def test_a_ruleset_that_is_named_judges_in_place_of_the_one_applied(tmp_path):
    curve = [make_row(1.0, 0.5), make_row(2.0, 0.2)]
    results = read_tree(write_tree(tmp_path, {("a", "w", 0, 1): curve}), HARDER)
    (trial,) = results.trials
    assert (trial.hit.submission_seconds, trial.criteria.goal.target) == (2.0, 0.25)
    (warning,) = results.warnings
    assert "ran for loss <= 0.5 within 100 s, is judged by loss <= 0.25 within 3 s" in warning


def test_a_workload_that_nobody_ran_needs_no_budget_in_seconds(tmp_path):
    """The ruleset gives no budget in seconds, as one by steps; the workload is a miss for all."""
    write_tree(tmp_path / "tree", {("a", "w", 0, 1): 20.0, ("b", "w", 0, 1): 10.0})
    goal = {"metric": "loss", "direction": "min", "validation_target": 0.5}
    rules = make_rules(
        scored=("v", "w"), held_out={}, suites={}, studies=1, trials=1,
        workloads={"v": goal, "w": goal},
    )  # fmt: skip
    board = make_leaderboard(read([tmp_path / "tree"], rules))
    assert {s.name: s.score for s in board.standings} == pytest.approx({"b": 1 / 2, "a": 1 / 3})
    assert {s.cells["v"].reason for s in board.standings} == {"no trial read"}


def test_a_ruleset_without_a_workload_leaves_its_rules(tree):
    results = read_tree(
        tree, make_rules(held_out={}, scored=(), suites={}, workloads={}, studies=2)
    )
    assert [trial.criteria.budget_seconds for trial in results.trials] == [100.0, 100.0]
    assert results.scope.scored == ["w"]


def test_trials_beyond_a_named_ruleset_s_plan_do_not_count_by_the_rules(tree):
    rules = make_rules(held_out={}, scored=("w",), suites={}, studies=1, trials=1)
    board = board_of(tree, RULES, rules)
    (warning,) = board.warnings
    assert warning.startswith(f"{folder_of(tree, 'a', 'w', 1, 1)}: toy plans 1 study of 1 trial;")
    assert board.standings[0].cells["w"].seconds == 2.0
    assert board.standings[0].trials["missing"] == 0
    assert board_of(tree, OFFICIAL, rules).standings[0].cells["w"].seconds == 3.0


def test_workloads_that_a_named_ruleset_does_not_score_are_named(tmp_path):
    write_tree(tmp_path, {("a", "w", 0, 1): 2.0, ("a", "digits", 0, 1): 2.0})
    results = read_tree(tmp_path, HARDER)
    assert f"{tmp_path}: digits is not among the workloads scored" in results.warnings
    assert {trial.workload for trial in results.trials} == {"w"}
    suite = read_tree(tmp_path, HARDER, suite="first")
    assert not [warning for warning in suite.warnings if "digits" in warning]


def test_the_tuning_that_is_named_must_be_that_of_the_tree(tree):
    assert read_tree(tree, None, "external").warnings == []
    with pytest.raises(RecordError, match=r"tree and --tuning: differ in their tuning") as error:
        read_tree(tree, None, "self")
    assert "external, self" in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ruleset", {"name": "mini"}),
        ("ruleset", None),
        ("ruleset", "mini"),
        ("workloads", {"w": {}}),
        ("workloads", {"w": {"goal": None, "budget_seconds": 1}}),
        ("workloads", {"w": {"goal": {**to_plain(GOAL), "direction": "up"}, "budget_seconds": 1}}),
        ("workloads", {"w": {"goal": GOAL, "budget_seconds": "nan"}}),
        ("workloads", {"w": {"goal": GOAL, "budget_seconds": -1}}),
        ("workloads", {}),
        ("submissions", []),
        ("submissions", {}),
        ("submissions", {"a": "b"}),
        ("studies", "many"),
        ("studies", 0),
        ("studies", 10**9),
        ("trials", 1e300),
        ("trials", 0),
        ("clock", "sundial"),
        ("clock", []),
        ("tuning", "fine"),
        ("environment", 3),
    ],
)
def test_a_damaged_experiment_is_one_line(tree, key, value):
    change(tree / "experiment.json", **{key: value})
    with pytest.raises(RecordError, match=r"experiment\.json") as error:
        read_tree(tree)
    assert "\n" not in str(error.value)


def test_a_number_beyond_all_bounds_in_an_experiment_is_one_line(tree):
    path = tree / "experiment.json"
    path.write_text(path.read_text().replace('"studies": 2', '"studies": 1e999'))
    with pytest.raises(RecordError, match=r"experiment\.json: damaged"):
        read_tree(tree)


def test_a_damaged_ruleset_in_an_experiment_names_its_key(tree):
    ruleset = read_json(tree / "experiment.json")["ruleset"]
    change(tree / "experiment.json", ruleset={**ruleset, "r_max": 1})
    with pytest.raises(RecordError, match=r"ruleset\.r_max: "):
        read_tree(tree)


@pytest.mark.parametrize("key", ["ruleset", "workloads", "submissions", "clock", "tuning", "seed"])
def test_an_experiment_without_a_key_names_it(tree, key):
    data = read_json(tree / "experiment.json")
    del data[key]
    write_json(tree / "experiment.json", data)
    with pytest.raises(RecordError, match=key):
        read_tree(tree)


def test_an_experiment_of_a_newer_chronograd_is_refused_by_name(tree):
    path = tree / "experiment.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(RecordError, match=r"experiment\.json: has schema 2.*upgrade"):
        read_tree(tree)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_in_which_folders_are_listed_changes_nothing(tmp_path, monkeypatch, seed):
    trials = {(s, w, k, n): 1.0 + k + n for s in "ab" for w in "vw" for k in (0, 1) for n in (1, 2)}
    write_tree(tmp_path, trials)
    for study in (0, 1):
        (folder_of(tmp_path, "b", "w", study, 2) / EVALUATIONS_FILE).write_text("x")
    results = read_tree(tmp_path)
    order, listdir, scandir = random.Random(seed), os.listdir, os.scandir
    monkeypatch.setattr(os, "listdir", lambda path=".": _shuffled(listdir(path), order))
    monkeypatch.setattr(os, "scandir", lambda path=".": _Entries(_shuffled(scandir(path), order)))
    assert read_tree(tmp_path) == results
    assert [(t.submission, t.workload, t.study, t.trial) for t in results.trials] == sorted(
        set(trials) - {("b", "w", 0, 2), ("b", "w", 1, 2)}
    )


def _shuffled(items, order):
    return order.sample(found := list(items), len(found))


class _Entries(list):
    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([1e300, 2**70, "inf", "-1", "1e999"])
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
)
OVERWRITES = settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example rewrites the file
)


def everything(out, tmp_path):
    """Reads and scores a tree as `chronograd score` does."""
    results = read_tree(out)
    board = make_leaderboard(results, resamples=5)
    json.dumps(to_plain(to_json(board)), allow_nan=False)
    write_parquet(results, tmp_path / "parquet")
    return results


def test_a_boolean_is_not_a_number_of_attempts(tree, tmp_path):
    path = folder_of(tree, "a", "w", 0, 1) / "trial.json"
    records = read_json(path)
    records["result"]["attempts"] = True
    write_json(path, records)
    (trial,) = [t for t in everything(tree, tmp_path).trials if (t.submission, t.study) == ("a", 0)]
    assert trial.run.attempts is None


@pytest.mark.parametrize("proof", [True, 3, "late", {"slot": 1}, [None, {"met_at": "a"}]])
def test_a_proof_that_is_not_a_list_of_facts_is_left_out(tree, tmp_path, proof):
    path = folder_of(tree, "a", "w", 0, 1) / "trial.json"
    change(path, result={**read_json(path)["result"], "proof": proof})
    assert not any(trial.run.proof for trial in everything(tree, tmp_path).trials)


@OVERWRITES
@given(part=st.sampled_from(["spec", "result"]), data=st.data())
def test_any_value_in_any_field_of_a_trial_is_tolerated(tree, tmp_path, part, data):
    path = folder_of(tree, "a", "w", 1, 1) / "trial.json"
    records = read_json(folder_of(tree, "a", "w", 0, 1) / "trial.json")
    records["spec"]["study"] = 1
    field = data.draw(st.sampled_from(sorted(records[part])))
    records[part][field] = data.draw(JSON)
    write_json(path, records)
    try:
        results = everything(tree, tmp_path)
    except RecordError:
        assert field == "clock"
    else:
        assert len(results.trials) + len(results.warnings) >= 2


@pytest.mark.parametrize("metric", [None, [], {"a": 1}, 3])
def test_a_metric_that_is_not_a_name_is_refused_by_name(tree, tmp_path, metric):
    file = folder_of(tree, "a", "w", 1, 1) / "trial.json"
    spec = read_json(file)["spec"]
    change(file, spec={**spec, "goal": {**spec["goal"], "metric": metric}})
    results = everything(tree, tmp_path)
    assert hits_of(results) == [2.0]
    assert f"{file.parent}: refused: it ran for {metric} <= 0.5" in results.warnings[0]


@OVERWRITES
@given(data=st.data())
def test_any_value_in_any_field_of_an_experiment_is_an_error_or_a_leaderboard(tree, tmp_path, data):
    path = tree / "experiment.json"
    experiment = read_json(path)
    part, field = experiment, data.draw(st.sampled_from(sorted(experiment)))
    while isinstance(part[field], dict) and part[field] and data.draw(st.booleans()):
        part = part[field]
        field = data.draw(st.sampled_from(sorted(part)))
    before, part[field] = part[field], data.draw(JSON)
    write_json(path, experiment)
    try:
        everything(tree, tmp_path)
    except RecordError as error:
        outcome = str(error)
        assert str(tree) in outcome, outcome
    finally:
        part[field] = before
        write_json(path, experiment)


@pytest.mark.parametrize("name", ["experiment.json", "trial.json"])
def test_a_json_file_cut_at_any_byte_is_named(tree, name):
    path = tree / name if name == "experiment.json" else folder_of(tree, "a", "w", 1, 1) / name
    content = path.read_bytes()
    for cut in range(len(content) - 1):
        path.write_bytes(content[:cut])
        outcome = _outcome(tree)
        assert str(path) in outcome, content[:cut]


def _outcome(tree):
    try:
        results = read_tree(tree)
    except RecordError as error:
        return str(error)
    assert hits_of(results) == [2.0]
    return results.warnings[0]


@pytest.mark.parametrize("kind", ["pipe", "device", "sparse", "folder"])
@pytest.mark.parametrize("file", ["trial.json", EVALUATIONS_FILE])
def test_only_regular_files_of_a_sensible_size_are_read(tree, kind, file):
    path = folder_of(tree, "a", "w", 1, 1) / file
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "sparse":
        with path.open("wb") as large:
            large.truncate(8 * 2**30)
    else:
        path.mkdir()
    results = read_tree(tree)
    assert hits_of(results) == [2.0]
    assert [str(path) in warning for warning in results.warnings] == [True]


def test_an_absurdly_large_plan_is_refused(tree):
    names = {name: {"path": name, "hash": "0" * 64} for name in "abc"}
    change(tree / "experiment.json", studies=1000, trials=1000, submissions=names)
    with pytest.raises(RecordError, match=r"plans 3,000,000 trials, at most 1,000,000"):
        read_tree(tree)
