"""Commands that run in one process need neither ray nor packages that only others use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
UNUSED = (
    "h5py", "jinja2", "jiwer", "matplotlib", "mlflow", "pandas", "PIL", "pyarrow", "sacrebleu",
    "pytorch_optimizer", "schedulefree", "sentencepiece", "soundfile", "tokenizers", "wandb",
)  # fmt: skip
COMMANDS = """
import sys
from harness.cli import main

def call(line):
    sys.argv = ["chronograd", *line.split()]
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    return 0

if __name__ == "__main__":
    for line in sys.stdin.read().splitlines():
        print("exit code", call(line), "of", line, flush=True)
"""


@pytest.fixture
def commands(tmp_path):
    """Runs command lines one after another as if some packages were not installed."""

    def run(missing, *lines):
        fakes = tmp_path / "fakes"
        fakes.mkdir(exist_ok=True)
        for name in missing:
            (fakes / f"{name}.py").write_text(
                f"raise ModuleNotFoundError('no {name}', name='{name}')"
            )
        (tmp_path / "commands.py").write_text(COMMANDS)
        done = subprocess.run(
            [sys.executable, "commands.py"], input="\n".join(lines), cwd=tmp_path, text=True,
            capture_output=True, check=False, timeout=300,
            env=os.environ | {"PYTHONPATH": f"{fakes}{os.pathsep}{ROOT}"},
        )  # fmt: skip
        codes = [line for line in done.stdout.splitlines() if line.startswith("exit code")]
        return codes, done

    return run


def test_a_trial_and_its_results_need_neither_ray_nor_other_packages(commands):
    lines = [
        "new mine",
        "check mine",
        "run mine --workload breast_cancer --ruleset demo --clock steps --out out --max-steps 150",
        "status out",
        "score out --ruleset demo",
        "explain out mine",
        "replay out --ruleset demo",
        "submissions",
        "data prepare ogbg_mini",
        "data check ogbg_mini",
    ]
    codes, done = commands(("ray", *UNUSED), *lines)
    assert codes == [f"exit code 0 of {line}" for line in lines], done.stdout + done.stderr


@pytest.mark.slow
def test_listing_checking_and_planning_need_no_ray(commands):
    lines = [
        "workloads",
        "doctor --workload breast_cancer",
        "sweep nadamw adamw --suite demo --ruleset demo --out planned --dry-run",
    ]
    sweep = "sweep nadamw --suite demo --ruleset demo --out out"
    codes, done = commands(("ray",), *lines, sweep)
    assert codes[:-1] == [f"exit code 0 of {line}" for line in lines], done.stdout + done.stderr
    assert codes[-1] == f"exit code 2 of {sweep}"
    needs = "this command needs the Python package ray, which is not installed; pip install "
    assert f"{needs}'chronograd[run]'" in done.stderr
    assert "Traceback" not in done.stderr
