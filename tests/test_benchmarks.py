"""The scripts in benchmarks/ run: each with the smallest numbers that it takes."""

import subprocess
import sys
from pathlib import Path

import pytest

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
