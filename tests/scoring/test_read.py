"""A results tree into tidy tables: what is damaged or out of place is named, never fatal."""

import math
import shutil
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoring.leaderboard import make_leaderboard
from scoring.read import read_tree
from scoring.records import Failure, RecordError, Status, read_json, write_json
from scoring.tree import trial_folder, write_trial
from tests.scoring.trees import GOAL, make_result, make_row, make_spec, write_experiment, write_tree

TRIALS = {("a", "w", 0, 1): 2.0, ("a", "w", 1, 1): 4.0}


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "tree", TRIALS)


def folder_of(tree, *key):
    return trial_folder(tree, make_spec(*key))


def test_trials_and_evaluations_are_tidy(tree):
    results = read_tree(tree)
    first = results.trials.iloc[0]
    assert (first["status"], first["failure"], first["message"]) == ("reached", "", "")
    assert (first["time_to_target"], first["steps_to_target"]) == (2.0, 20.0)
    assert (first["metric"], first["direction"], first["target"]) == ("loss", "min", 0.5)
    assert results.evaluations["submission_seconds"].tolist() == [1.0, 2.0, 2.0, 4.0]
    assert results.evaluations["value"].tolist() == [1.0, 0.5, 1.0, 0.5]
    assert results.evaluations["train_value"].tolist() == [1.0, 0.5, 1.0, 0.5]
    assert results.warnings == []


def test_a_failed_trial_says_why(tree):
    failed = make_result([], Status.FAILED, failure=Failure.OOM, message="no memory")
    write_trial(tree, make_spec("a", "w", 1, 1), failed)
    trial = read_tree(tree).trials.iloc[1]
    assert (trial["status"], trial["failure"], trial["message"]) == ("failed", "oom", "no memory")
    assert trial["time_to_target"] == math.inf


def test_a_failed_trial_that_had_reached_the_target_counts(tree):
    rows = [make_row(3.0, 0.4)]
    failed = make_result(rows, Status.FAILED, failure=Failure.WORKER_LOST)
    write_trial(tree, make_spec("a", "w", 1, 1), failed)
    assert read_tree(tree).trials["time_to_target"].tolist() == [2.0, 3.0]


def test_missing_trials_are_named(tree):
    shutil.rmtree(folder_of(tree, "a", "w", 1, 1))
    (warning,) = read_tree(tree).warnings
    assert "a on w" in warning
    assert "study_1/trial_1" in warning


@pytest.mark.parametrize("name", ["trial.json", "eval_measurements.csv"])
@pytest.mark.parametrize("damage", [b"", b"\xff\xfe\x00", None])
def test_an_unreadable_trial_is_a_named_miss(tree, name, damage):
    file = folder_of(tree, "a", "w", 1, 1) / name
    file.unlink() if damage is None else file.write_bytes(damage)
    results = read_tree(tree)
    assert len(results.trials) == 1
    assert "study_1/w_pytorch/trial_1" in results.warnings[0]
    assert make_leaderboard(results).standings["missing"].item() == 1


def test_trials_outside_the_plan_are_left_out_by_name(tree):
    write_trial(tree, make_spec("a", "w", 7, 1), make_result([make_row(0.1, 0.1)]))
    write_trial(tree, make_spec("stranger", "w", 0, 1), make_result([make_row(0.1, 0.1)]))
    results = read_tree(tree)
    assert results.trials["time_to_target"].tolist() == [2.0, 4.0]
    assert [warning.split(":")[0] for warning in results.warnings] == [
        "submissions/a/study_7/w_pytorch/trial_1",
        "submissions/stranger/study_0/w_pytorch/trial_1",
    ]


def test_a_copied_folder_does_not_count_twice(tree):
    shutil.rmtree(folder_of(tree, "a", "w", 1, 1))
    shutil.copytree(folder_of(tree, "a", "w", 0, 1), folder_of(tree, "a", "w", 1, 1))
    results = read_tree(tree)
    assert len(results.trials) == 1
    assert "study_1/w_pytorch/trial_1: not a trial" in results.warnings[0]


def test_trials_under_different_rules_are_named(tree):
    easier = replace(make_spec("a", "w", 1, 1), goal=replace(GOAL, target=0.9))
    write_trial(tree, easier, make_result([make_row(1.0, 0.8)]))
    (warning,) = read_tree(tree).warnings
    assert warning.startswith("submissions/a/study_1/w_pytorch/trial_1: ran with another goal")


def test_counted_and_measured_seconds_are_never_ranked_together(tree):
    write_trial(tree, make_spec("a", "w", 1, 1, clock="steps"), make_result([make_row(1.0, 0.1)]))
    with pytest.raises(RecordError, match=r"trial_1: ran with --clock steps.*score them apart"):
        read_tree(tree)


def test_a_tree_on_the_step_clock_is_marked(tmp_path):
    write_experiment(tmp_path, ["a"], ["w"], clock="steps")
    write_trial(tmp_path, make_spec(clock="steps"), make_result([make_row(1.0, 0.1)]))
    assert read_tree(tmp_path).experiment.clock == "steps"


def test_self_tuning_plans_one_trial_a_study_with_a_longer_budget(tmp_path):
    write_experiment(tmp_path, ["a"], ["w"], studies=3, trials=5, budget=10.0, tuning="self")
    for study in range(3):
        write_trial(tmp_path, make_spec(study=study), make_result([make_row(1.0, 0.1)]))
    results = read_tree(tmp_path)
    assert (results.warnings, results.experiment.trials) == ([], 1)
    assert results.experiment.workloads["w"].budget_seconds == 15.0


def test_a_folder_that_is_no_results_tree_says_what_to_give(tmp_path):
    with pytest.raises(RecordError, match="not a results tree") as error:
        read_tree(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "--out" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ruleset", {"name": "mini"}),
        ("ruleset", None),
        ("workloads", {"w": {}}),
        ("workloads", {"w": {"goal": None, "budget_seconds": 1}}),
        ("workloads", {}),
        ("submissions", []),
        ("submissions", {}),
        ("studies", "many"),
        ("studies", 0),
        ("trials", 0),
        ("environment", 3),
    ],
)
def test_a_damaged_experiment_is_one_line(tree, key, value):
    data = read_json(tree / "experiment.json")
    write_json(tree / "experiment.json", {**data, key: value})
    with pytest.raises(RecordError, match=r"experiment\.json") as error:
        read_tree(tree)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["ruleset", "workloads", "submissions", "clock", "tuning", "seed"])
def test_an_experiment_without_a_key_names_it(tree, key):
    data = read_json(tree / "experiment.json")
    del data[key]
    write_json(tree / "experiment.json", data)
    with pytest.raises(RecordError, match=key):
        read_tree(tree)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example rewrites the file
)
@given(part=st.sampled_from(["spec", "result"]), data=st.data())
def test_any_value_in_any_field_of_a_trial_is_survived(tree, part, data):
    path = folder_of(tree, "a", "w", 1, 1) / "trial.json"
    records = read_json(folder_of(tree, "a", "w", 0, 1) / "trial.json")
    records["spec"]["study"] = 1
    field = data.draw(st.sampled_from(sorted(records[part])))
    records[part][field] = data.draw(JSON)
    write_json(path, records)
    try:
        results = read_tree(tree)
    except RecordError:
        assert field == "clock"
    else:
        make_leaderboard(results)
        assert len(results.trials) + len(results.warnings) >= 2
