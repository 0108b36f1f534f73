"""The records of a trial: written, read back, and read by other programs."""

import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.escaping import first_line, printable
from scoring.plain import read_json, to_plain, write_json
from scoring.records import EvalRow, Failure, Goal, RecordError, Status, TrialResult
from scoring.tree import read_trial, trial_folders, write_trial
from tests.scoring.trees import make_result, make_row, make_spec

SECONDS = st.floats(0, 1e6)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8)
METRICS = st.dictionaries(
    st.builds("{}/{}".format, st.sampled_from(["train", "validation", "test"]), NAMES),
    st.floats(),  # NaN and infinities too
    max_size=4,
)
ROWS = st.builds(
    EvalRow,
    global_step=st.integers(0, 2**40),
    submission_seconds=SECONDS,
    cpu_seconds=SECONDS,
    eval_seconds=SECONDS,
    logging_seconds=SECONDS,
    total_seconds=SECONDS,
    metrics=METRICS,
)
RESULTS = st.builds(
    TrialResult,
    status=st.sampled_from(Status),
    rows=st.lists(ROWS, max_size=3),
    global_step=st.integers(0, 2**40),
    submission_seconds=SECONDS,
    cpu_seconds=SECONDS,
    failure=st.none() | st.sampled_from(Failure),
    message=st.text(st.characters(codec="utf-8"), max_size=20).map(first_line),
    traceback=st.text(st.characters(codec="utf-8"), max_size=20).map(printable),
    environment=st.just({"torch": "2.13.0", "threads": 1}),
    attempts=st.integers(1, 3),
)
HYPERPARAMETERS = st.none() | st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=5),
    st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9) | st.booleans(),
    max_size=3,
)


@given(direction=st.sampled_from(["min", "max"]), target=st.floats(-1e9, 1e9), value=st.floats())
def test_the_distance_to_a_target_is_zero_exactly_where_it_is_met(direction, target, value):
    goal = Goal(metric="loss", direction=direction, target=target)
    distance = goal.distance(value)
    assert (distance == 0) == goal.met_by(value)
    if math.isfinite(value) and not goal.met_by(value):
        assert distance == abs(value - target)
    assert math.isfinite(distance) == math.isfinite(value)


@pytest.mark.parametrize(
    ("direction", "target", "text"),
    [("min", 0.5, "loss <= 0.5"), ("max", 0.934312, "loss >= 0.934312")],
)
def test_a_goal_is_written_as_a_condition(direction, target, text):
    assert str(Goal(metric="loss", direction=direction, target=target)) == text


def plain(value):
    """Equality by text, in which NaN equals itself."""
    return json.dumps(to_plain(value), sort_keys=True)


@settings(max_examples=100, deadline=None)
@given(result=RESULTS, hyperparameters=HYPERPARAMETERS, target=st.floats(allow_nan=False))
def test_a_trial_reads_back_as_it_was_written(result, hyperparameters, target):
    goal = Goal(metric="loss", direction="max", target=target)
    spec = make_spec(hyperparameters=hyperparameters, goal=goal)
    with tempfile.TemporaryDirectory() as folder:
        read_spec, read_result = read_trial(write_trial(Path(folder), spec, result))
    assert read_spec == spec
    assert plain(read_result) == plain(result)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["trial.json", "eval_measurements.csv"]),
    cut=st.integers(0, 4000),
    noise=st.binary(max_size=3),
)
def test_a_damaged_trial_is_a_record_error_or_reads_the_same(name, cut, noise):
    """A cut, or a cut with bytes after it, never gives another exception nor other rows."""
    result = make_result([make_row(1.0, math.nan), make_row(2.5, 0.123456789)])
    with tempfile.TemporaryDirectory() as out:
        folder = write_trial(Path(out), make_spec(), result)
        whole = (folder / name).read_bytes()
        at = cut % len(whole)
        (folder / name).write_bytes(whole[:at] + noise.replace(b"\n", b""))
        try:
            outcome = plain(read_trial(folder)[1])
        except RecordError as error:
            outcome = str(error)
    assert outcome == plain(result) or str(folder) in outcome


def test_a_lost_line_of_measurements_is_noticed(tmp_path):
    result = make_result([make_row(1.0, 0.9), make_row(2.5, 0.4)])
    folder = write_trial(tmp_path, make_spec(), result)
    lines = (folder / "eval_measurements.csv").read_text().splitlines(keepends=True)
    (folder / "eval_measurements.csv").write_text("".join(lines[:-1]))
    with pytest.raises(RecordError, match="1 evaluations"):
        read_trial(folder)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_reading_json_from_any_bytes_raises_nothing_else(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("json") / "file.json"
    path.write_bytes(content)
    with pytest.raises(RecordError):
        read_json(path)


def test_a_newer_schema_is_refused_by_name(tmp_path):
    path = tmp_path / "trial.json"
    path.write_text('{"schema": 99}')
    with pytest.raises(RecordError, match=r"trial\.json: has schema 99.*upgrade"):
        read_json(path)


def test_deeply_nested_json_is_damaged(tmp_path):
    path = tmp_path / "trial.json"
    path.write_text("[" * 100_000)
    with pytest.raises(RecordError):
        read_json(path)


def test_writing_leaves_nothing_aside(tmp_path):
    for seconds in (1.0, 2.0):  # the second replaces the first
        write_trial(tmp_path, make_spec(), make_result([make_row(seconds, 0.4)]))
    write_json(tmp_path / "experiment.json", {"value": math.inf})
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"submissions", "experiment.json"}
    (folder,) = trial_folders(tmp_path)
    assert read_trial(folder)[1].submission_seconds == 2.0
    assert read_json(tmp_path / "experiment.json") == {"value": "inf"}


def test_pandas_reads_the_measurements_as_algoperf_does(tmp_path):
    first = make_row(1.0, 0.7)
    second = replace(make_row(2.0, math.nan), metrics={"validation/loss": 0.4, "test/loss": 0.5})
    folder = write_trial(tmp_path, make_spec(), make_result([first, second], attempts=2))
    table = pd.read_csv(folder / "eval_measurements.csv")
    assert list(table.columns) == sorted(table.columns)
    assert all(pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes)
    assert table["score"].tolist() == table["accumulated_submission_time"].tolist() == [1.0, 2.0]
    assert table["global_step"].tolist() == [10, 20]
    assert table["preemption_count"].tolist() == [1, 1]
    assert table["validation/loss"].tolist() == [0.7, 0.4]
    assert table["test/loss"].isna().tolist() == [True, False]
    assert table["train/loss"].isna().tolist() == [False, True]
    assert {"accumulated_eval_time", "accumulated_logging_time", "total_duration"} <= set(table)
    assert json.loads((folder / "hparams.json").read_text()) == {"learning_rate": 0.1}
    assert json.loads((folder / "meta_data_0.json").read_text())["rng_seed"] == 1


def test_a_trial_without_evaluation_has_one_row_of_nan_with_its_seconds(tmp_path):
    result = make_result([], Status.OUT_OF_TIME, submission_seconds=7.0, global_step=3)
    folder = write_trial(tmp_path, make_spec(hyperparameters=None), result)
    table = pd.read_csv(folder / "eval_measurements.csv")
    assert table["score"].tolist() == [7.0]
    assert table["validation/loss"].isna().tolist() == [True]
    assert not (folder / "hparams.json").exists()
    assert read_trial(folder)[1].rows == []


@pytest.mark.parametrize(
    ("direction", "value", "met"),
    [
        ("min", 0.5, True),
        ("min", 0.51, False),
        ("min", -math.inf, False),
        ("max", 0.5, True),
        ("max", 0.49, False),
        ("max", math.inf, False),
        ("min", math.nan, False),
        ("max", math.nan, False),
    ],
)
def test_when_a_goal_is_met(direction, value, met):
    assert Goal(metric="m", direction=direction, target=0.5).met_by(value) is met


def test_nan_is_worse_than_everything():
    goal = Goal(metric="m", direction="min", target=0.5)
    assert goal.better(1.0, math.nan)
    assert not goal.better(math.nan, 1.0)
    assert not goal.better(math.nan, math.nan)
    assert goal.better(1.0, 2.0)


def test_a_goal_needs_a_direction():
    with pytest.raises(ValueError, match="'min' or 'max', got 'up'"):
        Goal(metric="m", direction="up", target=0.5)
