"""The scripts in benchmarks/ run: each with the smallest numbers that it takes."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import study_noise
from scoring.reading.read import read
from tests.scoring.logs import WORKLOAD, make_rules, write_logs

ROOT = Path(__file__).parents[1]
ON_A_DEVICE = {  # what takes --device
    "overhead": ["--pairs", "1", "--steps", "20"],
    "throughput": ["ogbg_mini", "--steps", "2"],
    "split_layers": ["--batch", "4", "--repeats", "1"],
}


def output_of(script, *options):
    """What a script prints."""
    command = [sys.executable, "-m", f"benchmarks.{script}", *options]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("script", ON_A_DEVICE)
def test_what_takes_a_device_runs_on_the_cpu(script):
    assert output_of(script, *ON_A_DEVICE[script], "--device", "cpu")


def test_optimizers_runs():
    assert "lion" in output_of(
        "optimizers", "lion", "--rounds", "1", "--steps", "1", "--width", "32"
    )


@pytest.mark.parametrize(("trials", "expected"), [(1, 1.0), (2, math.sqrt(0.03125 / 0.09375))])
def test_studies_of_more_trials_have_less_noise(tmp_path, trials, expected):
    """One submission reaches the target in half of its trials: a study with n reaches it with
    probability 1 - 1/2^n; the other always does, in the same time."""
    rules = make_rules(
        scored=("w",), held_out={}, suites={}, studies=2, trials=1, workloads={"w": WORKLOAD}
    )
    reached, missed = [(5.0, 0.9), (10.0, 0.4)], [(5.0, 0.9), (10.0, 0.8)]
    curves = {("a", "w", 0, 1): reached, ("a", "w", 1, 1): missed}
    curves |= {("b", "w", study, 1): reached for study in (0, 1)}
    results = read([write_logs(tmp_path, curves)], rules)
    results = replace(results, scope=replace(results.scope, studies=400))
    assert study_noise.ratios(results, trials, 20)["w"] == pytest.approx(expected, rel=0.1)
