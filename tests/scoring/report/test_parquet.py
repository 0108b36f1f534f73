"""The tidy tables, read back with pyarrow and compared with the original files."""

import csv
import io
import math

import pyarrow.parquet as pq
import pytest

from scoring.reading.read import read
from scoring.report.parquet import as_csv, trials_table, write_parquet
from scoring.tree import write_trial
from tests.scoring.boards import NAN, single
from tests.scoring.logs import log_folder, make_rules, write_logs
from tests.scoring.trees import make_result, make_row, make_spec, write_tree

KEY = ("submission", "workload", "study", "trial")
CURVES = {
    ("a", "v", 0, 1): [(1.0, 0.9, 7), (2.5, 0.5, 19), (3.0, 0.7, 23)],
    ("a", "w", 0, 1): [(1.0, NAN)],
    ("a", "w", 1, 1): [(90.0, 0.8), (101.0, 0.4)],
    ("b", "v", 0, 1): [(4.0, 0.1)],
    ("b", "v", 0, 9): [(3.0, 0.1), (4.0, 0.1)],
}


def tables_of(tmp_path, results):
    paths = write_parquet(results, tmp_path / "deep" / "parquet")
    assert [path.name for path in paths] == ["trials.parquet", "evaluations.parquet"]
    trials, evaluations = (pq.read_table(path) for path in paths)
    return trials.to_pylist(), evaluations.to_pylist()


@pytest.fixture
def logs(tmp_path):
    root = write_logs(tmp_path / "logs", CURVES)
    results = read([root], single("vw", studies=2), "external")
    return root, *tables_of(tmp_path, results)


def test_a_row_for_each_trial_and_evaluation_in_order(logs):
    root, trials, evaluations = logs
    assert [tuple(row[name] for name in KEY) for row in trials] == sorted(CURVES)
    expected = []
    for key in sorted(CURVES):
        with (log_folder(root, *key) / "eval_measurements.csv").open(newline="") as file:
            expected += [(key, line, cells) for line, cells in enumerate(csv.DictReader(file), 2)]
    assert len(evaluations) == len(expected) == sum(map(len, CURVES.values()))
    for row, (key, line, cells) in zip(evaluations, expected, strict=True):
        assert tuple(row[name] for name in KEY) == key
        assert (row["line"], row["metric"]) == (line, "loss")
        for name, column in {
            "submission_seconds": "accumulated_submission_time",
            "eval_seconds": "accumulated_eval_time",
            "logging_seconds": "accumulated_logging_time",
            "total_seconds": "total_duration",
            "global_step": "global_step",
            "train": "train/loss",
            "validation": "validation/loss",
            "test": "test/loss",
        }.items():
            assert row[name] == pytest.approx(float(cells[column]), rel=0, nan_ok=True)


def test_a_trial_has_its_outcome_and_what_it_is_judged_by(logs):
    root, trials, _ = logs
    by_key = {tuple(row[name] for name in KEY): row for row in trials}
    reached = by_key["a", "v", 0, 1]
    assert reached == {
        **dict(zip(KEY, ("a", "v", 0, 1), strict=True)),
        "status": "reached",
        "failure": "",
        "message": "",
        **dict.fromkeys(("seed", "batch_size", "cpu_seconds", "cpu_share")),
        **{"steps": 23, "attempts": 1, "host": ""},
        "submission_seconds": 3.0,
        "evaluations": 3,
        "metric": "loss",
        "direction": "min",
        "target": 0.5,
        "budget_seconds": 100.0,
        "seconds_to_target": 2.5,
        "steps_to_target": 19,
        "training_work_to_target": None,
        "line": 3,
        "file": str(log_folder(root, "a", "v", 0, 1) / "eval_measurements.csv"),
    }


@pytest.mark.parametrize("key", [("a", "w", 0, 1), ("a", "w", 1, 1)])
def test_a_miss_and_a_target_met_too_late_have_no_time(logs, key):
    _, trials, _ = logs
    (row,) = (row for row in trials if tuple(row[name] for name in KEY) == key)
    assert row["status"] == "missed"
    assert row["seconds_to_target"] is row["steps_to_target"] is row["line"] is None
    assert row["evaluations"] == len(CURVES[key])


def test_numbers_are_numbers_even_where_none_is_known(tmp_path):
    root = write_logs(tmp_path / "logs", {("a", "w", 0, 1): [(1.0, 0.9)]})
    write_parquet(read([root], single("w"), "external"), tmp_path)
    types = {f.name: str(f.type) for f in pq.read_schema(tmp_path / "trials.parquet")}
    assert types["seconds_to_target"] == "double"
    assert types["steps_to_target"] == types["line"] == types["study"] == "int64"
    types = {f.name: str(f.type) for f in pq.read_schema(tmp_path / "evaluations.parquet")}
    assert types["validation"] == types["test"] == "double"


def test_a_column_that_a_log_lacks_is_nan(tmp_path):
    root = write_logs(tmp_path / "logs", {("a", "w", 0, 1): [(1.0, 0.9), (2.0, 0.4)]})
    path = log_folder(root, "a", "w", 0, 1) / "eval_measurements.csv"
    path.write_text(path.read_text().replace("test/loss", "test/other"))
    _, evaluations = tables_of(tmp_path, read([root], single("w"), "external"))
    assert [row["validation"] for row in evaluations] == [0.9, 0.4]
    assert all(math.isnan(row["test"]) for row in evaluations)


def test_own_trees_have_the_same_columns_and_an_unevaluated_trial_no_rows(tmp_path):
    rows = [make_row(1.0, 0.9), make_row(2.0, 0.4)]
    tree = write_tree(tmp_path / "tree", {("a", "w", 0, 1): rows, ("b", "w", 0, 1): []})
    trials, evaluations = tables_of(tmp_path, read([tree]))
    assert [(row["submission"], row["evaluations"]) for row in trials] == [("a", 2), ("b", 0)]
    assert [(row["submission"], row["line"]) for row in evaluations] == [("a", 2), ("a", 3)]
    assert [row["total_seconds"] for row in evaluations] == [row.total_seconds for row in rows]


def own_tree(tmp_path):
    """Three trials with records of their own: an int, a float and a text among hyperparameters."""
    points = [{"lr": 1, "name": "x"}, {"lr": 0.5, "depth": 3}, {"lr": 2, "name": "=1+1"}]
    tree = write_tree(tmp_path / "tree", {("a", "w", 0, n): float(n) for n in (1, 2, 3)})
    for n, point in enumerate(points, 1):
        spec = make_spec("a", "w", 0, n, hyperparameters=point, cpus_per_trial=2, seed=7)
        rows = [make_row(n / 2, 1.0), make_row(float(n), 0.5)]
        result = make_result(
            rows, batch_size=32, attempts=2, cpu_seconds=float(n), global_step=10 * n,
            environment={"host": "node-1"},
        )  # fmt: skip
        write_trial(tree, spec, result)
    return read([tree])


def test_a_trial_has_its_hyperparameters_and_what_it_ran_with(tmp_path):
    trials, _ = tables_of(tmp_path, own_tree(tmp_path))
    assert [row["hparams.lr"] for row in trials] == [1.0, 0.5, 2.0]
    assert [row["hparams.depth"] for row in trials] == [None, 3, None]
    assert [row["hparams.name"] for row in trials] == ["x", None, "=1+1"]
    for n, row in enumerate(trials, 1):
        facts = {"seed": 7, "batch_size": 32, "attempts": 2, "steps": 10 * n, "host": "node-1"}
        facts |= {"cpu_seconds": float(n), "cpu_share": 0.5}
        assert {name: row[name] for name in facts} == facts
    types = {f.name: str(f.type) for f in pq.read_schema(tmp_path / "deep/parquet/trials.parquet")}
    assert (types["hparams.lr"], types["hparams.depth"], types["hparams.name"]) == (
        "double",
        "int64",
        "string",
    )


def test_trials_as_csv_hold_the_same_and_no_formula(tmp_path):
    table = trials_table(own_tree(tmp_path))
    rows = list(csv.DictReader(io.StringIO(as_csv(table).decode(), newline="")))
    assert [float(row["hparams.lr"]) for row in rows] == [1.0, 0.5, 2.0]
    assert [row["hparams.name"] for row in rows] == ["x", "", "'=1+1"]
    assert list(rows[0]) == table.column_names


def test_results_without_a_trial_give_tables_without_rows(tmp_path):
    root = tmp_path / "logs"
    (root / "a" / "study_0").mkdir(parents=True)
    assert tables_of(tmp_path, read([root], make_rules(), "external")) == ([], [])
