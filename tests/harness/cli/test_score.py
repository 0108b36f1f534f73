"""The commands score, explain and compare."""

import json
import shutil

import pandas as pd
import pytest

from scoring.plain import read_json
from tests.scoring.logs import log_folder, write_logs
from tests.scoring.trees import write_tree

RULES = """
studies = 3
trials = 2
self_tuning_budget_factor = 1.5
r_max = 4
scored = ["v", "w"]
suites.half = ["v"]
[workloads.v]
metric = "loss"
direction = "min"
validation_target = 0.5
budget_seconds = 100
[workloads.w]
metric = "loss"
direction = "min"
validation_target = 0.5
budget_seconds = 100
"""
JUDGED = ("--ruleset", "toy.toml", "--tuning", "external")
TRIALS = {
    (submission, workload, study, trial): [(5.0, 0.9), (place * (10.0 + study) * trial, 0.4)]
    for place, submission in enumerate(("fast", "slow"), 1)
    for workload in ("v", "w")
    for study in range(3)
    for trial in (1, 2)
}


@pytest.fixture
def logs(tmp_path):
    """Complete logs of two submissions; the second takes twice as long. And the rules for them."""
    (tmp_path / "toy.toml").write_text(RULES)
    return write_logs(tmp_path / "logs", TRIALS)


@pytest.fixture
def tree(tmp_path):
    """A results tree of our own, of the same workloads."""
    seconds = {
        ("ours", w, study, trial): 20.0 for w in "vw" for study in range(3) for trial in (1, 2)
    }
    return write_tree(tmp_path / "tree", seconds)


def lose(logs, submission="slow", workload="w", study=1, trial=1):
    path = log_folder(logs, submission, workload, study, trial) / "eval_measurements.csv"
    path.write_bytes(path.read_bytes()[:50])
    return path


def test_a_results_tree_needs_nothing_but_its_folder(chronograd, tree):
    code, out, err = chronograd("score", "tree")
    assert (code, err) == (0, "")
    assert "mini, external tuning, method rules" in out
    (line,) = [line for line in out.splitlines() if line.split()[1:2] == ["ours"]]
    assert line.split()[:3] == ["1", "ours", "1.0000"]
    assert "warning" not in out


def test_logs_are_scored_by_a_ruleset_given_by_its_path(chronograd, logs, tmp_path):
    code, out, _ = chronograd("score", "logs", *JUDGED, "--json", "s.json")
    assert code == 0
    assert "toy, external tuning, method rules" in out
    scores = json.loads((tmp_path / "s.json").read_text())
    assert (scores["ruleset"], scores["method"]) == ("toy", "rules")
    assert scores["workloads"] == ["v", "w"]
    fast, slow = scores["submissions"]
    assert (fast["name"], fast["rank"], fast["score"]) == ("fast", 1, 1.0)
    assert (slow["name"], slow["rank"], slow["score"]) == ("slow", 2, pytest.approx(2 / 3))
    assert slow["times"] == {"v": 22.0, "w": 22.0}
    assert slow["ratios"] == {"v": 2.0, "w": 2.0}
    assert fast["score_low"] <= fast["score"] <= fast["score_high"]
    assert slow["hours"] == pytest.approx(2 * (20 + 22 + 24) * 3 / 3600)
    assert scores["warnings"] == []


def test_a_missed_workload_is_null(chronograd, logs, tmp_path):
    for study in range(3):
        shutil.rmtree(log_folder(logs, "slow", "w", study, 1).parent)
    code, _, _ = chronograd("score", "logs", *JUDGED, "--json", "s.json")
    assert code == 0
    slow = json.loads((tmp_path / "s.json").read_text())["submissions"][1]
    assert (slow["times"]["w"], slow["ratios"]["w"]) == (None, None)
    assert slow["score"] == pytest.approx(1 / 3)


def test_incomplete_results_are_reported_and_only_a_strict_run_fails(chronograd, logs, tmp_path):
    assert chronograd("score", "logs", *JUDGED, "--strict")[0] == 0
    path = lose(logs)
    shutil.rmtree(log_folder(logs, "fast", "v", 2, 1).parent)
    (logs / "scratch").mkdir()
    code, out, _ = chronograd("score", "logs", *JUDGED)
    assert code == 0
    said = [line for line in out.splitlines() if line.startswith("warning: ")]
    for parts in (
        ("slow/study_1/w_pytorch/trial_1", "the trial counts as missing"),
        ("slow on w: no study 1 trial 1", "a missing trial is a miss"),
        ("fast on v: no study 2", "a missing study is infinite"),
        ("logs/scratch", "left out"),
    ):
        assert [line for line in said if all(part in line for part in parts)], parts
    assert str(path.relative_to(tmp_path)) in out
    code, strict, _ = chronograd("score", "logs", *JUDGED, "--strict", "--json", "s.json")
    assert code == 1
    assert strict.startswith("Written: s.json\n" + out)
    assert f"--strict: {len(said)} warnings" in strict
    assert len(json.loads((tmp_path / "s.json").read_text())["warnings"]) == len(said)


def test_a_strict_run_fails_for_a_missing_study(chronograd, logs):
    shutil.rmtree(logs / "external_tuning/slow/study_2")
    assert chronograd("score", "logs", *JUDGED)[0] == 0
    assert chronograd("score", "logs", *JUDGED, "--strict")[0] == 1


def test_several_folders_make_one_leaderboard_and_a_strict_run_passes(chronograd, logs, tree):
    code, out, _ = chronograd("score", "tree", "logs", *JUDGED, "--strict")
    assert code == 0
    ranked = [
        line.split()[1] for line in out.splitlines() if line.split()[:1] in (["1"], ["2"], ["3"])
    ]
    assert ranked == ["fast", "ours", "slow"]
    assert "times from several folders are compared" in out


def test_one_name_in_two_folders_is_two_submissions(chronograd, logs, tmp_path):
    shutil.copytree(logs, tmp_path / "again")
    code, out, _ = chronograd("score", "logs", "again", *JUDGED)
    assert code == 0
    for name in ("fast (logs)", "fast (again)", "slow (logs)", "slow (again)"):
        assert name in out
    assert "fast: is in 2 folders" in out


def test_the_official_method_can_be_chosen(chronograd, logs):
    lose(logs, trial=1)
    lose(logs, trial=2)
    _, rules, _ = chronograd("score", "logs", *JUDGED)
    _, official, _ = chronograd("score", "logs", *JUDGED, "--method", "official")
    assert "method official" in official
    assert "a missing study is infinite" in rules
    assert "a missing study is left out of the median" in official


def test_a_suite_is_scored_alone(chronograd, logs, tmp_path):
    lose(logs, workload="w")
    options = ("--suite", "half", "--strict", "--json", "s.json")
    assert chronograd("score", "logs", *JUDGED, *options)[0] == 0
    assert json.loads((tmp_path / "s.json").read_text())["workloads"] == ["v"]


def test_every_table_is_written(chronograd, logs, tmp_path):
    code, out, _ = chronograd(
        "score", "logs", *JUDGED, "--csv", "a/s.csv", "--markdown", "b/s.md", "--parquet", "c"
    )
    assert code == 0
    for written in ("a/s.csv", "b/s.md", "c"):
        assert f"Written: {written}" in out
    table = pd.read_csv(tmp_path / "a/s.csv")
    assert table["submission"].tolist() == ["fast", "slow"]
    assert table["score"].tolist() == [1.0, pytest.approx(2 / 3)]
    assert "| 1 | fast | 1.0000 |" in (tmp_path / "b/s.md").read_text()
    assert len(pd.read_parquet(tmp_path / "c/trials.parquet")) == len(TRIALS)
    assert len(pd.read_parquet(tmp_path / "c/evaluations.parquet")) == 2 * len(TRIALS)


def test_the_same_call_writes_the_same_bytes(chronograd, logs, tmp_path):
    for name in ("a.json", "b.json"):
        chronograd("score", "logs", *JUDGED, "--resample", "workloads", "--seed", 3, "--json", name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert read_json(tmp_path / "a.json")["uncertainty"]["resampled"] == "workloads"
    assert read_json(tmp_path / "a.json")["uncertainty"]["seed"] == 3


def test_speedups_over_a_submission_are_shown(chronograd, logs, tmp_path):
    code, out, _ = chronograd("score", "logs", *JUDGED, "--speedup", "slow", "--json", "s.json")
    assert code == 0
    assert "time ratio" in out
    fast, slow = read_json(tmp_path / "s.json")["submissions"]
    assert fast["speedup"]["ratio"] == pytest.approx(0.5)
    assert slow["speedup"]["ratio"] == 1.0


def test_a_frozen_reference_gives_the_same_score_to_a_submission_alone(chronograd, logs, tmp_path):
    chronograd("score", "logs", *JUDGED, "--save-reference", "best.json")
    shutil.rmtree(logs / "external_tuning/fast")
    code, out, _ = chronograd(
        "score", "logs", *JUDGED, "--reference", "best.json", "--json", "s.json"
    )
    assert code == 0
    assert "frozen" in out
    (slow,) = read_json(tmp_path / "s.json")["submissions"]
    assert (slow["score"], slow["reference_score"]) == (1.0, pytest.approx(2 / 3))


def test_names_are_shown_as_they_are(chronograd, tmp_path):
    trials = {("[red]x", "w", 0, 1): 2.0, ("<b>", "w", 0, 1): 4.0}
    write_tree(tmp_path / "tree", trials)
    _, out, _ = chronograd("score", "tree")
    assert "[red]x" in out
    assert "<b>" in out
    assert chronograd("explain", "tree", "[red]x")[1].startswith("[red]x: score 1")
    assert "[red]x" in chronograd("compare", "tree", "[red]x", "<b>")[1]


def test_a_score_is_explained_down_to_file_and_line(chronograd, logs):
    code, out, _ = chronograd("explain", "logs", "slow", *JUDGED)
    assert code == 0
    assert out.startswith("slow: score 0.666667, rank 2 of 2")
    place = log_folder(logs.relative_to(logs.parent), "slow", "w", 1, 1)
    assert f"({place / 'eval_measurements.csv'}:3)" in out
    _, one, _ = chronograd("explain", "logs", "slow", "w", *JUDGED)
    assert one.startswith("w: credit 0.666667")
    assert "v_pytorch" not in one


def test_an_explanation_as_json_holds_the_numbers(chronograd, logs):
    code, out, _ = chronograd("explain", "logs", "slow", "w", *JUDGED, "--json")
    assert code == 0
    reason = json.loads(out)
    assert (reason["workload"], reason["seconds"], reason["ratio"]) == ("w", 22.0, 2.0)
    (median,) = reason["because"]
    rows = [row for study in median["because"] for row in study["because"]]
    assert [row["line"] for row in rows] == [3, 3, 3]
    assert [row["seconds"] for row in rows] == [20.0, 22.0, 24.0]


def test_lost_results_are_in_the_explanation(chronograd, logs):
    lose(logs, trial=1)
    lose(logs, trial=2)
    _, out, _ = chronograd("explain", "logs", "slow", "w", *JUDGED)
    assert "study 1: no trial was read: infinite" in out


def test_two_submissions_are_compared(chronograd, logs):
    code, out, _ = chronograd("compare", "logs", "fast", "slow", *JUDGED)
    assert code == 0
    assert "fast against slow, paired by study" in out
    code, out, _ = chronograd("compare", "logs", "fast", "slow", *JUDGED, "--json")
    comparison = json.loads(out)
    assert comparison["names"] == ["fast", "slow"]
    assert [row["workload"] for row in comparison["workloads"]] == ["v", "w"]
    assert [row["difference"] for row in comparison["workloads"]] == [-11.0, -11.0]
    assert [row["faster"] for row in comparison["workloads"]] == [1.0, 1.0]
    assert comparison["scores"] == [1.0, pytest.approx(2 / 3)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "nowhere"], "nowhere: no such folder"),
        (["score", "toy.toml", *JUDGED], "toy.toml: no such folder"),
        (["score", "."], ".: not a results tree"),
        (["score", "logs"], "name their rules: --ruleset algoperf-0.5"),
        (["score", "empty", *JUDGED], "empty: neither a results tree"),
        (
            ["score", "logs", "--ruleset", "toy.toml", "--tuning", "self"],
            "--tuning self contradicts",
        ),
        (["score", "logs", "--ruleset", "toy", "--tuning", "external"], "no ruleset 'toy'"),
        (["score", "logs", "--ruleset", "bad.toml", "--tuning", "external"], "bad.toml: studies:"),
        (
            ["score", "logs", "--ruleset", "demo", "--tuning", "external"],
            "ruleset demo: has no `scored` workloads",
        ),
        (
            ["score", "logs", *JUDGED, "--suite", "whole"],
            "toy: has no suite 'whole'. There are: half",
        ),
        (["score", "logs", *JUDGED, "--speedup", "nadam"], "no submission 'nadam'"),
        (["score", "logs", *JUDGED, "--reference", "none.json"], "none.json: no such file"),
        (
            ["score", "logs", *JUDGED, "--reference", "toy.toml"],
            "cannot be read as JSON",
        ),
        (["score", "logs", "logs", *JUDGED], "the same folder is given twice"),
        (["score", "tree", "--tuning", "self"], "differ in their tuning (external, self)"),
        (["score", "logs", *JUDGED, "--json", "logs"], "logs: cannot be written"),
        (
            ["score", "logs", *JUDGED, "--csv", "toy.toml/s.csv"],
            "toy.toml/s.csv: cannot be written",
        ),
        (["score", "logs", *JUDGED, "--parquet", "toy.toml"], "toy.toml: cannot be written"),
        (["explain", "logs", "medium", *JUDGED], "no submission 'medium'. There are: fast, slow"),
        (["explain", "logs", "fast", "x", *JUDGED], "no workload 'x'"),
        (["compare", "logs", "fast", "medium", *JUDGED], "no submission 'medium'"),
        (["compare", "logs", "fast", "fast", *JUDGED], "fast is compared with itself"),
    ],
)
def test_wrong_calls_are_one_line_on_stderr_and_exit_2(chronograd, logs, tree, arguments, message):
    (logs.parent / "empty").mkdir()
    (logs.parent / "bad.toml").write_text(RULES.replace("studies = 3", "studies = 0"))
    code, _, err = chronograd(*arguments)
    assert (code, err.count("\n")) == (2, 1), err
    assert err.startswith("chronograd: ")
    assert message in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["score"],
        ["score", "logs", "--method", "fair"],
        ["score", "logs", "--resample", "trials"],
        ["score", "logs", "--tuning", "both"],
        ["score", "logs", "--seed", "-1"],
        ["explain", "logs"],
        ["compare", "logs", "fast"],
    ],
)
def test_wrong_options_exit_2(chronograd, logs, arguments):
    assert chronograd(*arguments)[0] == 2


def test_another_view_is_named_wherever_it_is_shown(chronograd, logs):
    options = ("--relax", "0.1", "--by", "steps", "--json", "s.json", "--html", "page.html")
    shown = "by steps to target, targets relaxed by 10%"
    code, out, _ = chronograd("score", "logs", *JUDGED, *options, "--markdown", "s.md")
    assert code == 0
    assert shown in " ".join(out.split())
    assert "steps to target" in out
    board = read_json(logs.parent / "s.json")
    assert (board["by"], board["relaxed"]) == ("steps", {"v": 0.1, "w": 0.1})
    page = (logs.parent / "page.html").read_text()
    assert f"<title>Leaderboard: toy, external tuning, {shown}</title>" in page
    assert '<li class="mark">by steps to target, targets relaxed by 10%</li>' in page
    assert "Steps to target" in page
    assert shown in (logs.parent / "s.md").read_text()
    code, out, _ = chronograd("score", "logs", *JUDGED, "--relax", "w=0.05")
    assert "targets relaxed: w by 5%" in " ".join(out.split())


def test_step_times_and_ranks_over_relaxation_are_shown(chronograd, logs):
    options = ("--relax-sweep", "0:0.2:0.1", "--step-times", "--json", "s.json")
    files = ("--html", "page.html", "--plots", "plots")
    code, out, _ = chronograd("score", "logs", *JUDGED, *options, *files)
    assert code == 0
    assert "seconds per step" in out
    assert "rank, with all targets relaxed by a fraction" in out
    board = read_json(logs.parent / "s.json")
    assert board["relaxation"]["amounts"] == [0, 0.1, 0.2]
    assert board["relaxation"]["ranks"] == {"fast": [1, 1, 1], "slow": [2, 2, 2]}
    assert board["step_times"]["fast"]["v"] == {
        "framework": "pytorch", "seconds": 0.1, "relative": 1.0,
    }  # fmt: skip
    assert 0 < board["evaluation_share"]["v"] < 1
    page = (logs.parent / "page.html").read_text()
    assert "Ranks with relaxed targets" in page
    assert '<h2 id="efficiency">Step times' in page
    assert (logs.parent / "plots/rank_over_relaxation.png").stat().st_size > 1000
    chronograd("score", "logs", *JUDGED, "--html", "plain.html")
    plain = (logs.parent / "plain.html").read_text()
    assert ("Ranks with relaxed targets" in plain, "Step times <a" in plain) == (False, True)
    for beside in (("--speedup", "fast"), ("--save-reference", "r.json")):
        assert chronograd("score", "logs", *JUDGED, "--by", "steps", *beside)[0] == 2
    assert chronograd("score", "logs", *JUDGED, "--by", "steps", "--method", "official")[0] == 2
