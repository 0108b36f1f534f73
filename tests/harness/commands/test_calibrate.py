"""The target-setting procedure, on a workload reduced to a few dozen steps."""

import io
import statistics
from pathlib import Path

import pytest
from rich.console import Console

import workloads
from harness.commands.calibrate import SEEDS, Calibration, calibrate_suite
from harness.executors.local import LocalExecutor
from harness.progress.live import PlainProgress
from harness.sweep.request import Request
from scoring import rulesets
from scoring.experiment import Experiment
from scoring.plain import read_json
from scoring.records import RunOptions
from scoring.rulesets import Ruleset, WorkloadRules
from scoring.tree import read_trial, trial_folders
from tests.fixtures.mnist import write_mnist
from tests.fixtures.small import MINIS

OPTIONS = RunOptions()


def small(name, data_dir=None, device="cpu"):
    workload = workloads.get(name, data_dir, device)
    if workload.budget_steps is not None:
        workload.budget_steps, workload.eval_period_steps, workload.step_hint = 40, 10, 40
    return workload


def run(name, out):
    callback = PlainProgress(Console(file=io.StringIO()))
    return Calibration(
        load_workload=small, name=name, trials=2, out=out, executor=LocalExecutor(small),
        callback=callback, options=OPTIONS,
    ).run()  # fmt: skip


@pytest.fixture(scope="module")
def diabetes(tmp_path_factory):
    out = tmp_path_factory.mktemp("diabetes")
    return run("diabetes", out), out


def best_values(tree):
    trials = [read_trial(folder) for folder in trial_folders(tree)]
    assert all(result.global_step == 30 for _, result in trials)  # 75% of the budget, to its end
    return {
        (spec.submission, spec.study, spec.trial): min(
            row.metrics["validation/loss"] for row in result.rows
        )
        for spec, result in trials
    }


def test_the_target_is_the_median_over_seeds_of_the_best_point(diabetes):
    found, out = diabetes
    search, seeds = best_values(out / "search"), best_values(out / "seeds")
    assert {key[0] for key in search} == {"adamw", "nadamw", "nesterov", "heavy_ball"}
    assert len(search) == 8
    winner = min(search, key=search.get)
    assert found["winner"] == winner[0]
    assert {key[0] for key in seeds} == {winner[0]}
    assert len(seeds) == SEEDS
    assert len(set(seeds.values())) == SEEDS  # seeds differ
    assert found["validation_target"] == statistics.median(seeds.values())
    points = Experiment.read(out / "seeds").submissions[winner[0]].points
    (point,) = {tuple(study[0].items()) for study in points}
    expected = Experiment.read(out / "search").submissions[winner[0]].points[0][winner[2] - 1]
    assert dict(point) == expected


def test_its_settings_are_written_next_to_the_targets(diabetes):
    found, out = diabetes
    written = read_json(out / "diabetes.target.json")
    assert written["validation_target"] == found["validation_target"]
    assert written["trials_per_submission"] == 2
    assert written["max_steps"] == 30
    assert written["date"]
    assert len(written["validation_by_seed"]) == len(written["test_by_seed"]) == SEEDS


def test_a_second_call_runs_nothing_again(diabetes):
    found, out = diabetes
    stamps = {p: p.stat().st_mtime_ns for p in trial_folders(out / "search")}
    again = run("diabetes", out)
    assert again["validation_target"] == found["validation_target"]
    assert {p: p.stat().st_mtime_ns for p in trial_folders(out / "search")} == stamps


def test_an_exact_optimum_needs_no_search(tmp_path):
    found = run("breast_cancer", tmp_path)
    assert found["method"] == "exact optimum"
    target = found["optimum"] * (1 + found["relative_precision"])
    assert found["validation_target"] == pytest.approx(target)
    assert not (tmp_path / "search").exists()


@pytest.mark.slow
def test_a_suite_s_targets_are_what_its_baseline_reaches(chronograd, tmp_path):
    """From a calibration to a leaderboard, with an official workload on data of its format."""
    data = str(write_mnist(tmp_path / "data"))
    steps = WorkloadRules(budget_steps=30, eval_period_steps=10, step_hint=30)
    rules = Ruleset(
        name="short", studies=2, trials=2, self_tuning_budget_factor=1.5, r_max=4.0,
        provisional="guessed", scored=("diabetes", "mnist"),
        workloads={"diabetes": steps, "mnist": steps},
    )  # fmt: skip
    request = Request(
        submissions=[], workloads=rules.scored, ruleset=rules, tuning="external",
        options=RunOptions(clock="steps", data_dir=data),
    )  # fmt: skip
    callback = PlainProgress(Console(file=io.StringIO()))
    calibrate_suite(request, workloads.get, tmp_path, LocalExecutor(workloads.get), callback)
    found = rulesets.load(str(tmp_path / "short.toml"))
    assert (found.provisional, found.studies) == ("", 2)
    trials = [read_trial(folder) for folder in trial_folders(tmp_path / "baseline")]
    assert len(trials) == 8
    for name, metric, best in (("diabetes", "loss", min), ("mnist", "accuracy", max)):
        of_studies = [
            best(
                row.metrics[f"validation/{metric}"]
                for spec, result in trials
                if (spec.workload, spec.study) == (name, study)
                for row in result.rows
            )
            for study in (0, 1)
        ]
        assert found.goal(name).target == statistics.median(of_studies)
        code, _, error = chronograd(
            "run", "nadamw", "-w", name, "--ruleset", "short.toml", "--clock", "steps",
            "--data-dir", data, "--device", "cpu", "--out", f"results/{name}",
        )  # fmt: skip
        assert code == 0, error
    code, out, error = chronograd("score", "results/mnist", "results/diabetes")
    assert code == 0, error
    assert "nadamw" in out


@pytest.mark.parametrize("name", [*workloads.suite("demo"), *MINIS])
def test_committed_targets_record_how_they_were_found(name):
    (file,) = Path(workloads.__file__).parent.glob(f"*/{name}.target.json")
    targets = read_json(file)
    assert targets["workload"] == name
    assert targets["method"]
    assert targets["date"]
    workload = workloads.get(name)
    assert workload.validation_target_value == targets["validation_target"]
