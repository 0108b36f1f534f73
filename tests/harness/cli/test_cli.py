"""The command line as a user sees it, in this process."""

import json
import tomllib
from pathlib import Path

import pytest

import workloads
from harness.commands.machine import usable_cores
from harness.commands.suites import members
from harness.executors.local import LocalExecutor
from harness.sweep.run import run_sweep
from scoring import rulesets
from scoring.tree import read_trial
from tests.fixtures.faults import write_submission
from tests.fixtures.sweeps import Quiet, plan_faults, plan_toys

QUICK = ("--workload", "diabetes", "--ruleset", "quick.toml", "--clock", "steps")


def test_run_leaves_the_records_of_a_sweep(chronograd, tmp_path):
    folder = write_submission(tmp_path, "well_behaved")
    code, out, _ = chronograd("run", folder, *QUICK, "--out", "results")
    assert code == 0
    assert "out_of_time" in out
    assert "Records in results" in out
    trial = tmp_path / "results/submissions/well_behaved/study_0/diabetes_pytorch/trial_1"
    spec, result = read_trial(trial)
    assert [row.global_step for row in result.rows] == [1, 11, 21, 31, 41]
    assert spec.budget_seconds == 0.0505
    assert result.environment["versions"]["torch"].startswith("2.13.0")
    assert {path.name for path in trial.iterdir()} == {
        "eval_measurements.csv", "meta_data_0.json", "trial.json",
    }  # fmt: skip
    code, out, _ = chronograd("run", folder, *QUICK, "--out", "results")
    assert (code, "All trials (1) are done already: nothing to run." in out) == (0, True)


def test_version_is_that_of_the_project(chronograd):
    code, out, _ = chronograd("--version")
    project = tomllib.loads((Path(workloads.__file__).parents[1] / "pyproject.toml").read_text())
    assert (code, out) == (0, f"chronograd {project['project']['version']}\n")


def test_run_takes_a_point_and_a_step_limit(chronograd, tmp_path):
    point = {"learning_rate": 0.01, "one_minus_beta1": 0.1, "weight_decay": 0, "warmup_factor": 0.1}
    (tmp_path / "point.json").write_text(json.dumps(point))
    for given, out in ((json.dumps(point), "a"), ("point.json", "b")):
        code, *_ = chronograd(
            "run", "nesterov", *QUICK, "--hparams", given, "--max-steps", 5, "--out", out
        )
        assert code == 0
    files = [
        tmp_path / out / "submissions/nesterov/study_0/diabetes_pytorch/trial_1" for out in "ab"
    ]
    assert json.loads((files[0] / "hparams.json").read_text()) == point
    csv = [(file / "eval_measurements.csv").read_bytes() for file in files]
    assert csv[0] == csv[1]
    assert read_trial(files[0])[1].status == "step_limit"


@pytest.mark.parametrize("call", [("run",), ("sweep", "--dry-run"), ("check",)])
def test_a_path_is_a_path_and_an_ambiguous_name_prints_which_is_used(chronograd, tmp_path, call):
    (tmp_path / "nadamw").mkdir()
    (tmp_path / "nadamw" / "submission.py").write_text("raise RuntimeError('this is my own')")
    (tmp_path / "wd.opt").mkdir()
    (tmp_path / "wd.opt" / "submission.py").write_text("raise RuntimeError('this is my own')")
    options = () if call[0] == "check" else (*QUICK, "--out", "out", *call[1:])
    for given in ("./nadamw", "nadamw/submission.py", "wd.opt"):
        code, out, error = chronograd(call[0], given, *options)
        assert "this is my own" in out + error
        assert code == (1 if call[0] == "check" else 2)
    assert f"wd.opt: using {tmp_path / 'wd.opt'}, not an optimizer class" in error
    if call[0] == "sweep":
        code, _, error = chronograd(call[0], "nadamw", *options)
        note = f"using the library's submission; for {tmp_path / 'nadamw'} pass ./nadamw"
        assert (code, error) == (0, f"nadamw: {note}\n")


def test_a_failed_trial_is_recorded_and_exits_1(chronograd, tmp_path):
    folder = write_submission(tmp_path, "raises")
    code, out, _ = chronograd("run", folder, *QUICK, "--out", "results")
    assert code == 1
    assert "failed (submission_error: ValueError: I cannot continue, at submission.py:20 in " in out
    _, out, _ = chronograd("status", "results")
    assert "I cannot continue" in out.replace("\n", " ")
    code, out, _ = chronograd("status", "results", "--json")
    assert json.loads(out)["counts"] == {"failed": 1, "not started": 0}


def test_score_writes_every_form(chronograd, tmp_path):
    folder = write_submission(tmp_path, "well_behaved")
    chronograd("run", folder, *QUICK, "--out", "results")
    code, out, _ = chronograd(
        "score", "results", "--json", "a/s.json", "--csv", "b/s.csv", "--html", "c/s.html",
        "--plots", "d",
    )  # fmt: skip
    assert code == 0
    assert "well_behaved" in out
    scores = json.loads((tmp_path / "a/s.json").read_text())
    assert scores["submissions"][0]["score"] == 0.0  # the target was missed
    assert scores["submissions"][0]["times"] == {"diabetes": None}
    assert (tmp_path / "b/s.csv").read_text().startswith("rank,submission,")
    assert "</html>" in (tmp_path / "c/s.html").read_text()
    assert list((tmp_path / "d").glob("*.png"))


def test_listings(chronograd):
    code, out, _ = chronograd("workloads", "--json")
    assert code == 0
    listed = json.loads(out)
    assert listed["mnist"]["goal"]["target"] == 0.97
    remark = listed["mnist"]["target_remark"]
    assert remark.startswith("no optimizer tried reaches it")
    classic = set(workloads.suite("classic"))
    said = {name for name, facts in listed.items() if facts["target_remark"]}
    assert said - classic == {"mnist"}
    table = "".join(chronograd("workloads")[1].split())  # cells are wrapped at any place
    assert all(word in table for word in ("optimizer", "reaches", "constants"))
    for page in ("docs/differences.md", "docs/workloads.md"):
        assert remark in (Path(__file__).parents[3] / page).read_text(encoding="utf-8")
    code, out, _ = chronograd("submissions", "--json")
    listed = json.loads(out)
    assert listed["external_tuning/nadamw"]["title"] == "NadamW"
    assert listed["external_tuning/nadamw"]["state_bytes_per_parameter"] == 8.0  # two moments
    assert "12.00" in chronograd("submissions")[1]  # three, AMSGrad's
    for listing in ("workloads", "submissions"):
        assert chronograd(listing)[0] == 0


def test_dry_run_checks_everything_and_runs_nothing(chronograd, tmp_path):
    code, out, _ = chronograd(
        "sweep", "nadamw", "adamw", "--suite", "demo", "--ruleset", "demo", "--out", "r",
        "--dry-run",
    )  # fmt: skip
    assert code == 0
    text = " ".join(out.split())
    assert "= 36 trials" in text
    assert "36 trials to run, hours estimated from: complete budgets" in text
    assert f"Ray on this machine: {usable_cores()} trial" in text
    assert "without pruning: " in text
    assert f"hours on {usable_cores()} slot" in text
    assert "with pruning: " not in text.replace("without pruning: ", "")
    assert "What pruning saves cannot be estimated without records" in text
    assert "are in baseline steps, which are not timed yet" in text
    assert "GiB free" in text
    assert not (tmp_path / "r").exists()


def test_dry_run_estimates_what_is_left_from_the_trials_that_ended(chronograd, tmp_path):
    experiment = plan_faults(tmp_path, write_submission(tmp_path, "well_behaved"), clock="wall")
    run_sweep(experiment, tmp_path / "out", LocalExecutor(workloads.get), Quiet())
    dry = ("resume", "out", "--studies", "4", "--dry-run", "--max-concurrent", "1")
    code, out, err = chronograd(*dry, "--pruning", "exact")
    assert code == 0, err
    assert "3 trials to run, hours estimated from: 1 recorded trial\n" in out
    assert "Ray on this machine: 1 trial at once\n" in out
    assert out.count("with pruning: ") == 1
    assert out.count("without pruning: ") == 1
    code, out, _ = chronograd(*dry)
    assert "Nothing is pruned.\n" in out  # as was recorded
    assert "with pruning: " not in out.replace("without", "")


def test_dry_run_refuses_what_the_sweep_refuses(chronograd, tmp_path):
    place = ("sweep", "nadamw", "-w", "diabetes", "--ruleset", "demo", "--out", "r", "--dry-run")
    plan_toys("nadamw").write(tmp_path / "r")
    code, _, error = chronograd(*place)
    assert (code, "was planned with" in error) == (2, True)
    code, _, error = chronograd(*place[:6], "--out", "q", "--dry-run", "--address", "127.0.0.1:1")
    assert (code, "no Ray cluster at 127.0.0.1:1" in error) == (2, True)
    code, _, error = chronograd(*place[:6], "--out", "q", "--dry-run", "--pruning", "predict")
    assert (code, "--pruning predict and --history DIR must" in error) == (2, True)


@pytest.mark.parametrize(
    ("ruleset", "count"),
    [("algoperf-0.5", 8), ("algoperf-0.6", 8), ("algoperf-0.6-a100", 9), ("mini", 9)],
)
def test_a_suite_has_the_workloads_that_the_ruleset_scores(ruleset, count):
    names = members("algoperf", rulesets.load(ruleset))
    assert len(names) == count
    assert ("finewebedu_lm" in names) == (count == 9)
    assert members("demo", rulesets.load(ruleset)) == workloads.suite("demo")
    assert members("qualification", rulesets.load(ruleset)) == ["criteo1tb", "ogbg", "wmt"]


@pytest.mark.parametrize("ruleset", ["algoperf-0.6", "algoperf-0.6-a100"])
def test_a_sweep_takes_its_suite_from_the_ruleset(chronograd, ruleset, tmp_path):
    options = ("--suite", "algoperf", "--ruleset", ruleset, "--out", tmp_path / "r", "--dry-run")
    code, _, err = chronograd("sweep", "self_tuning/nadamw", *options, "--until", "test")
    message = " ".join(err.split())
    assert code == 2
    assert ("finewebedu_lm has no test split" in message) == (ruleset == "algoperf-0.6-a100")
    assert ("pass --data-dir" in message) == (ruleset == "algoperf-0.6")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nadam", "-w", "digits"], "Did you mean 'nadamw'?"),
        (["run", "nadamw", "-w", "digit"], "Did you mean 'digits'?"),
        (["run", "nadamw", "-w", "digits", "--ruleset", "dem"], "Did you mean 'demo'?"),
        (["run", "nadamw", "-w", "digits", "--ruleset", "no.toml"], "no ruleset 'no.toml'"),
        (["run", "nadamw", "-w", "mnist"], "pass --data-dir DIR"),
        (["run", "nadamw", "-w", "mnist", "--data-dir", "none"], "no such file; put"),
        (["run", "nadamw", "-w", "digits", "--trial", "6"], "lists 5 points, but 6 trials"),
        (["run", "nadamw", "-w", "digits", "--tuning", "self", "--trial", "2"], "--trial 1"),
        (["run", "nadamw", "-w", "digits", "--hparams", '{"a": {}}'], "--hparams: a: must be"),
        (
            ["run", "adamw", "-w", "digits", "--hparams", '{"lr": 1}'],
            "unknown: lr; missing",
        ),
        (
            ["run", "adamw", "-w", "digits", "--hparams", '{"learning_rate": 1}'],
            "--hparams for adamw: missing: one_minus_beta1, ",
        ),
        (["sweep", "nadamw", "--suite", "huge", "--out", "r"], "no suite 'huge'"),
        (["sweep", "--resume", "nowhere"], "is this a results directory"),
        (["score", "."], "not a results tree"),
        (["status", "."], "is this a results directory"),
        (["calibrate", "digit"], "Did you mean 'digits'?"),
    ],
)
def test_wrong_calls_are_one_line_on_stderr_and_exit_2(chronograd, arguments, message):
    code, _, err = chronograd(*arguments)
    assert (code, err.count("\n")) == (2, 1), err
    assert err.startswith("chronograd: ")
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "nadamw", "--out", "r"], "either --suite or"),
        (["sweep", "nadamw", "--suite", "demo", "-w", "wmt", "--out", "r"], "cannot be combined"),
        (["sweep", "nadamw", "--suite", "demo"], "Missing option '--out'"),
        (["sweep", "nadamw", "--resume", "r"], "unexpected extra argument"),
        (["sweep", "--resume", "r", "--seed", "1"], "No such option: --seed"),
        (["resume", "r", "--suite", "demo"], "No such option: --suite"),
        (["run", "nadamw", "-w", "digits", "--hparams", "no.json"], "--hparams no.json"),
        (["run", "nadamw", "-w", "digits", "--device", "cuda"], "sees no GPU"),
        (["run", "nadamw", "-w", "digits", "--seed", "-1"], "--seed"),
        (["frobnicate"], "No such command"),
    ],
)
def test_wrong_options_exit_2(chronograd, arguments, message):
    code, _, err = chronograd(*arguments)
    assert code == 2
    assert message in err.replace("\n", " ")


def test_debug_shows_the_traceback(chronograd):
    with pytest.raises(Exception, match="no submission"):
        chronograd("--debug", "run", "nadam", "-w", "digits")


def test_rulesets_are_listed_and_printed(chronograd, tmp_path):
    code, out, _ = chronograd("rulesets")
    assert code == 0
    assert all(name in out for name in rulesets.names())
    code, text, _ = chronograd("rulesets", "demo")
    assert tomllib.loads(text)["max_budget_seconds"] == 4.0
    (tmp_path / "mine.toml").write_text(text)
    assert chronograd("rulesets", "mine.toml")[1] == text
    assert json.loads(chronograd("rulesets", "demo", "--json")[1])["trials"] == 2
    code, _, err = chronograd("rulesets", "dmo")
    assert (code, "Did you mean 'demo'?" in err) == (2, True)


def test_a_sweep_takes_a_suite_of_an_own_ruleset(chronograd, tmp_path):
    text = chronograd("rulesets", "demo")[1] + '\n[suites]\nsmall = ["diabetes"]\n'
    (tmp_path / "mine.toml").write_text(text)
    place = ("sweep", "nadamw", "--ruleset", "mine.toml", "--out", "r", "--dry-run")
    code, out, _ = chronograd(*place, "--suite", "small")
    assert (code, "1 workload (diabetes)" in out) == (0, True)
    code, _, err = chronograd(*place, "--suite", "smal")
    assert (code, "Did you mean 'small'?" in err) == (2, True)
