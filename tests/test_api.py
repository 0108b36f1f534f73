"""`import chronograd`: the same results and scores as the command line's, as tables and objects."""

import json
import linecache
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import chronograd as cg
from tests.scoring.logs import write_logs
from tests.scoring.trees import write_tree
from tests.test_architecture import run_python

TRIALS = {
    (name, workload, study, trial): seconds * trial + study / 10
    for name, seconds in {"slow": 3.0, "<b>fast": 1.0}.items()
    for workload in ("v", "w")
    for study in range(3)
    for trial in (1, 2)
}
NOTEBOOK = Path(__file__).parents[1] / "docs" / "results.ipynb"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("api") / "tree", TRIALS)


@pytest.fixture(scope="module")
def board(tree):
    return cg.score(cg.read(tree))


def test_tables_are_those_of_the_command_line(chronograd, tree, tmp_path):
    results = cg.read(tree)
    assert (results.submissions, results.workloads) == (["<b>fast", "slow"], ["v", "w"])
    assert results.warnings == []
    assert "24 trials of 2 submissions" in repr(results)
    assert chronograd("score", tree, "--parquet", "tables")[0] == 0
    for name in ("trials", "evaluations"):
        table = getattr(results, name)()
        assert isinstance(table, pyarrow.Table)
        written = pyarrow.parquet.read_table(tmp_path / "tables" / f"{name}.parquet")
        pd.testing.assert_frame_equal(table.to_pandas(), written.to_pandas())
    trials = results.trials().to_pandas()
    assert trials["hparams.learning_rate"].unique().tolist() == [0.1]
    assert trials.groupby("submission")["seconds_to_target"].min().to_dict() == {
        "<b>fast": 1.0,
        "slow": 3.0,
    }


def test_a_board_is_that_of_the_command_line(chronograd, tree, board, tmp_path):
    code, *_ = chronograd("score", tree, "--json", "s.json", "--csv", "s.csv")
    assert code == 0
    expected = json.loads((tmp_path / "s.json").read_text())
    assert {"schema": 1, **board.to_dict()} == expected
    frame = board.to_pandas()
    written = pd.read_csv(tmp_path / "s.csv")
    assert list(frame.columns) == list(written.columns)
    for column in frame.columns:
        known = frame[column].notna() & (frame[column] != "")
        assert (known == written[column].notna()).all(), column
        assert frame[column][known].tolist() == written[column][known].tolist(), column
    assert board.scores == dict(zip(frame["submission"], frame["score"], strict=True))
    assert list(board.scores) == ["<b>fast", "slow"]
    assert "<b>fast 1.0000" in repr(board)


def test_a_notebook_shows_names_as_text(board):
    shown = board._repr_html_()
    assert "&lt;b&gt;fast" in shown
    assert "<b>" not in shown
    assert "1.10 s*" in shown


def test_profiles_are_drawn_where_they_are_asked_for(board):
    ax = Figure().add_subplot()
    assert board.plot_profiles(ax) is ax
    assert len(ax.lines) == 2
    assert isinstance(board.plot_profiles(), Axes)


def test_several_folders_a_ruleset_and_a_reference(chronograd, tree, tmp_path):
    rules = 'studies = 3\ntrials = 2\nself_tuning_budget_factor = 1.5\nr_max = 4\nscored = ["v"]\n'
    rules += '[workloads.v]\nmetric = "loss"\ndirection = "min"\nvalidation_target = 0.5\n'
    (tmp_path / "toy.toml").write_text(rules + "budget_seconds = 100\n")
    curves = {("logged", "v", study, 1): [(1.0, 0.9), (2.0, 0.4)] for study in range(3)}
    logs = write_logs(tmp_path / "logs", curves)
    results = cg.read([tree, str(logs)], ruleset=tmp_path / "toy.toml")
    board = cg.score(results, method="official", resample="workloads", seed=1)
    assert list(board.scores) == ["<b>fast", "logged", "slow"]
    assert any("several folders" in warning for warning in board.warnings)
    assert chronograd("score", tree, "--save-reference", tmp_path / "ref.json")[0] == 0
    frozen = cg.score(tree, reference=tmp_path / "ref.json")
    assert frozen.to_pandas()["reference_score"].tolist() == list(frozen.scores.values())


def test_the_page_is_the_command_lines(board, tmp_path):
    board.write_html(tmp_path / "page.html", title="Mine", intro="*Hello*")
    page = (tmp_path / "page.html").read_text()
    assert "<h1>Mine</h1>" in page
    assert "<em>Hello</em>" in page


def test_what_is_wrong_is_said(tmp_path, tree):
    with pytest.raises(cg.UserError, match="no such folder"):
        cg.read(tmp_path / "nothing")
    with pytest.raises(cg.UserError, match=r"no ruleset 'dmo'\. Did you mean 'demo'"):
        cg.read(tree, ruleset="dmo")
    with pytest.raises(ValueError, match="method must be one of rules, official, got 'best'"):
        cg.score(tree, method="best")
    with pytest.raises(ValueError, match="resample must be"):
        cg.score(tree, resample="trials")


def test_it_needs_neither_torch_nor_ray_nor_pandas():
    names = "('torch', 'ray', 'pandas', 'matplotlib')"
    code = f"import sys, chronograd; print([m for m in {names} if m in sys.modules])"
    assert run_python(code).stdout.strip() == "[]"


def test_the_notebook_runs(tree, tmp_path, monkeypatch):
    notebook = json.loads(NOTEBOOK.read_text())
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "demo").symlink_to(tree)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for number, cell in enumerate(notebook["cells"]):
        assert cell.get("outputs", []) == []
        if cell["cell_type"] == "code":
            text, name = "".join(cell["source"]), f"<cell {number}>"
            linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
            exec(compile(text, name, "exec"), names)
    assert names["board"].scores["<b>fast"] == 1.0
    (trial,) = names["trial"].trials().to_pylist()
    assert (trial["status"], trial["steps"]) == ("step_limit", 50)
