"""`chronograd agreement`: its tables, files and refusals."""

import json

import pytest

from scoring.records import Status
from scoring.tree import write_trial
from tests.harness.cli.test_score import RULES
from tests.scoring.logs import write_logs
from tests.scoring.trees import make_result, make_row, make_spec, write_tree

ARGUMENTS = ("--ruleset", "toy.toml")


@pytest.fixture
def logs(tmp_path):
    """Logs of three submissions, whose order is the same everywhere, and the rules for them."""
    (tmp_path / "toy.toml").write_text(RULES)
    trials = {
        (name, workload, study, 1): [(1.0, 0.7 + place / 10), (10.0 * place + study, 0.4)]
        for place, name in enumerate(("fast", "middle", "slow"), 1)
        for workload in ("v", "w")
        for study in range(3)
    }
    return write_logs(tmp_path / "logs", trials)


def test_tables_json_and_figure(chronograd, logs, tmp_path):
    code, output, _ = chronograd(
        "agreement", logs, logs, *ARGUMENTS, "--fraction", "0.05", "--json", "a.json",
        "--plot", "a.png",
    )  # fmt: skip
    assert code == 0
    assert "agreement of 3 submissions" in output
    assert "signal / noise" in output
    found = json.loads((tmp_path / "a.json").read_text())
    assert [row["first"] for row in found["rows"]] == ["score", "v", "w"]
    assert [row["tau"] for row in found["rows"]] == [1.0] * 3
    assert found["rows"][0]["pairs_alike"] == 1.0
    assert (found["split"], found["fraction"]) == (True, 0.05)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--fraction", "0"), "--fraction 0: must be above 0"),
        (("--alias", "fast"), "--alias 'fast': give NAME=NAME"),
        (("--alias", "fast=slow,fast=middle"), "--alias: fast is given twice"),
        (("--plot", "a.jpg"), "--plot a.jpg: must end with .png"),
        (("--ruleset", "toy.toml", "--ruleset", "toy.toml"), "--ruleset is given 3 times"),
    ],
)
def test_refusals(chronograd, logs, arguments, message):
    code, _, error = chronograd("agreement", logs, logs, *ARGUMENTS, *arguments)
    assert (code, message in error) == (2, True), error


def test_logs_need_a_ruleset(chronograd, logs):
    code, _, error = chronograd("agreement", logs, logs)
    assert code == 2
    assert "name their rules: --ruleset" in error


@pytest.mark.parametrize("fraction", ["0.5", "0.999999999"])
def test_a_run_pruned_before_the_cut_is_refused_and_named(chronograd, tmp_path, fraction):
    """The fraction is printed as given, and one trial is not "1 trials"."""
    times = {(s, "v", k, 1): 10.0 * i for i, s in enumerate("abc", 1) for k in range(3)}
    tree = write_tree(tmp_path / "tree", times)
    ending = make_result([make_row(3.0, 1.0)], status=Status.PRUNED)
    write_trial(tree, make_spec("c", "v", 1, 1), ending)
    code, _, error = chronograd("agreement", tree, tree, "--fraction", fraction)
    assert code == 2
    assert f"trial_1: was pruned before {fraction} of its budget" in error
    code, output, _ = chronograd("agreement", tree, tree)
    assert code == 0
    assert "pruned: 1 trial of the first board" in output
