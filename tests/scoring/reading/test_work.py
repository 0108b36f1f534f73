"""Steps and training work from the file to the board, and trees that have no training work."""

import csv
import io
from dataclasses import replace

import pandas as pd
import pyarrow.parquet
import pytest

from scoring.compare import compare
from scoring.leaderboard import make_leaderboard
from scoring.plain import result_from_plain, row_from_plain, to_plain
from scoring.reading.read import read
from scoring.report.explain import explain
from scoring.report.page import write_html
from scoring.report.parquet import write_parquet
from scoring.report.tables import to_csv, to_json
from scoring.times import RULES
from scoring.tree import EVALUATIONS_FILE, read_trial, write_trial
from tests.scoring.trees import make_result, make_row, make_spec, write_experiment

OLD = "before the step clock charged training work"


def make_tree(out, works, clock="steps"):
    """A tree of submissions whose target is met at step 51; `works`: units per step, None: old."""
    write_experiment(out, list(works), ["w"], clock=clock)
    for name, units in works.items():
        rows = [make_row(s, v, step) for s, v, step in ((0.1, 1.0, 1), (5.1, 0.4, 51))]
        work = None if units is None else 51 * units
        if units is not None:
            rows = [replace(row, work=row.global_step * units) for row in rows]
        result = make_result(rows, global_step=51, work=work)
        folder = write_trial(out, make_spec(name, clock=clock, step_seconds=0.1), result)
        if units is None:  # as they were written then
            table = pd.read_csv(folder / EVALUATIONS_FILE).drop(columns="training_work")
            table.to_csv(folder / EVALUATIONS_FILE, index=False)
    return out


def board_of(*folders):
    return make_leaderboard(read(folders), resamples=5)


def test_a_trial_keeps_its_work_on_disk_and_an_old_one_has_none(tmp_path):
    out = make_tree(tmp_path, {"lawa": 13.0, "third": 1 / 3, "old": None})
    for name, work in (("lawa", [13.0, 663.0]), ("third", [1 / 3, 17.0]), ("old", [None, None])):
        folder = out / "submissions" / name / "study_0" / "w_pytorch" / "trial_1"
        spec, result = read_trial(folder)
        assert ([row.work for row in result.rows], result.work) == (work, work[-1])
        assert [row.global_step for row in result.rows] == [1, 51]
        assert spec.clock == "steps"
    plain = to_plain(make_row(1.0, 0.5)) | {"work": "12.5"}
    assert row_from_plain(plain).work == 12.5
    del plain["work"]
    assert row_from_plain(plain).work is None
    ended = to_plain(make_result([])) | {"rows": 0}
    del ended["work"]
    assert result_from_plain(ended, []).work is None


def test_every_output_has_steps_and_work_beside_each_other(tmp_path):
    board = board_of(make_tree(tmp_path / "tree", {"adamw": 1.0, "lawa": 13.0}))
    data = to_json(board)
    assert data["charged"] == "training work"
    steps = {s["name"]: (s["steps"]["w"], s["training_work"]["w"]) for s in data["submissions"]}
    assert steps == {"adamw": (51, 51), "lawa": (51, 663)}
    rows = {row["submission"]: row for row in csv.DictReader(io.StringIO(to_csv(board)))}
    assert {name: (row["w/steps"], row["w/work"]) for name, row in rows.items()} == {
        "adamw": ("51.0", "51.0"), "lawa": ("51.0", "663.0"),
    }  # fmt: skip
    reason = explain(board, "lawa").to_plain()["because"][0]
    assert (reason["steps"], reason["training_work"]) == (51, 663)
    study = reason["because"][0]["because"][0]
    assert "(fastest) after 51 steps, training work 663;" in study["text"]
    trials, evaluations = write_parquet(board.results, tmp_path / "tables")
    table = pyarrow.parquet.read_table(trials).to_pandas().set_index("submission")
    assert table[["steps_to_target", "training_work_to_target"]].loc["lawa"].tolist() == [51, 663]
    table = pyarrow.parquet.read_table(evaluations).to_pandas()
    assert table[table.submission == "lawa"].training_work.tolist() == [13, 663]
    write_html(board, tmp_path / "page.html")
    page = " ".join((tmp_path / "page.html").read_text().split())
    assert "51 steps, training work 663</small>" in page
    assert "51 steps</small>" in page
    assert "A step is a call of <code>update_params</code>. Training work" in page
    assert "step clock: times count training work and are not measured" in page
    (remark,) = [remark for remark in board.remarks if "charges training work" in remark]
    assert remark.endswith("does more than one batch in lawa (up to 13 per step)")


def test_a_board_of_ordinary_steps_needs_no_remark(tmp_path):
    board = board_of(make_tree(tmp_path, {"adamw": 1.0, "sgd": 1.0}))
    assert not any("training work" in line for line in [*board.remarks, *board.warnings])


def test_an_old_tree_scores_as_before_and_reports_what_was_charged(tmp_path):
    board = board_of(make_tree(tmp_path / "old", {"adamw": None, "lawa": None}))
    assert [standing.score for standing in board.standings] == [1.0, 1.0]
    assert not any(OLD in warning for warning in board.warnings)
    data = to_json(board)
    assert data["charged"] == "steps"
    assert data["submissions"][0]["training_work"] == {"w": None}
    write_html(board, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "step clock: times count steps and are not measured" in page
    assert "Training work" not in page


@pytest.mark.parametrize("together", [True, False])
def test_old_and_new_trials_on_one_board_are_a_warning(tmp_path, together):
    if together:  # an old sweep that was resumed
        folders = [make_tree(tmp_path / "old", {"a": None, "b": None, "c": 1.0})]
    else:
        new = make_tree(tmp_path / "new", {"c": 1.0})
        folders = [make_tree(tmp_path / "old", {"a": None, "b": None}), new]
    board = board_of(*folders)
    (warning,) = [warning for warning in board.warnings if OLD in warning]
    assert warning.startswith(f"2 trials in {tmp_path / 'old'} were run before")
    assert to_json(board)["charged"] == "steps or training work"
    assert compare(read(folders), "a", "c", RULES).names == ("a", "c")


def test_on_the_wall_clock_nothing_depends_on_work(tmp_path):
    board = board_of(make_tree(tmp_path, {"old": None, "new": 13.0}, clock="wall"))
    assert to_json(board)["charged"] == "time"
    assert not any("training work" in line for line in [*board.remarks, *board.warnings])


def test_a_trial_that_never_trained_is_neither_old_nor_new(tmp_path):
    out = make_tree(tmp_path, {"a": 1.0, "b": 1.0})
    write_trial(out, make_spec("b", clock="steps"), make_result([]))
    assert not any(OLD in warning for warning in board_of(out).warnings)


@pytest.mark.parametrize("cell", ["", "nan", "-1", "lots", "inf"])
def test_a_cell_that_is_not_an_amount_of_work_is_unknown(tmp_path, cell):
    out = make_tree(tmp_path, {"a": 2.0})
    (file,) = out.glob(f"submissions/a/*/*/*/{EVALUATIONS_FILE}")
    table = pd.read_csv(file, dtype=str)
    table["training_work"] = cell
    table.to_csv(file, index=False)
    (standing,) = board_of(out).standings
    assert to_json(board_of(out))["submissions"][0]["training_work"] == {"w": None}
    assert standing.score == 1.0
