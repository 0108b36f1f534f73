"""Every finding says what it is, and its quick version runs; the command writes what was found."""

import dataclasses

import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

import findings
from findings import Check, Outcome
from harness.cli import app
from harness.commands.reproduce import reproduce, run_finding, write_page
from scoring.plain import read_json

LONG = (
    "adam_on_language", "cautious", "cooldown", "heavy_tailed_labels", "initialisation",
    "memory_account", "sgd_noise_floor",
)  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("findings")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in findings.names()]
)
def test_a_finding_says_what_it_is_and_its_quick_version_runs(name, out):
    found = run_finding(name, out, quick=True)
    stored = read_json(out / name / "result.json")
    assert stored["checks"] == found["checks"]
    assert len(found["claim"]) > 30
    assert "\n" not in found["claim"] + found["source"] + found["chosen"]
    assert found["source"]
    assert found["chosen"].endswith(".")
    assert found["numbers"]
    assert all("must" in check["what"] for check in found["checks"])
    holds = [check["holds"] for check in found["checks"]]
    assert holds
    assert found["reproduced"] == all(holds)
    assert (found["verdict"] == "reproduced") == found["reproduced"]
    for ending in ("png", "pdf"):
        assert (out / name / f"figure.{ending}").stat().st_size > 5000


def test_the_page_shows_claims_verdicts_and_figures(out):
    write_page(out)
    text = (out / "index.html").read_text()
    for name in findings.names():
        if (out / name).exists():
            assert f'src="{name}/figure.png"' in text
            assert f'href="{name}/result.json"' in text


def test_a_verdict_names_what_does_not_hold():
    checks = [Check("a must be 1: 1", True), Check("b must be 1: 2", False)]
    outcome = Outcome(figure=Figure(), numbers={}, checks=checks)
    assert outcome.verdict == "not reproduced here: b must be 1: 2"
    assert dataclasses.replace(outcome, checks=checks[:1]).verdict == "reproduced"


def test_the_command_runs_findings_in_processes_and_fails_if_one_is_not_reproduced(tmp_path):
    called = CliRunner().invoke(
        app, ["reproduce", "double_descent", "--quick", "--out", str(tmp_path)]
    )
    assert called.exit_code == 0, called.output
    assert "double_descent" in called.output
    assert "reproduced" in called.output
    assert (tmp_path / "index.html").is_file()
    assert read_json(tmp_path / "double_descent" / "result.json")["quick"]


def test_a_failing_finding_is_a_result(tmp_path):
    ended = []
    (result,) = reproduce(["absent"], tmp_path, quick=True, processes=2, ended=ended.append)
    assert ended == [result]
    assert result["verdict"].startswith("failed: UserError: no finding 'absent'")
    assert not result["reproduced"]


def test_unknown_names_are_refused_before_anything_runs(tmp_path):
    called = CliRunner().invoke(app, ["reproduce", "double_decent", "--out", str(tmp_path / "out")])
    assert "Did you mean 'double_descent'" in str(called.exception)
    assert not (tmp_path / "out").exists()
