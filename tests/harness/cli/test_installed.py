"""The installed code runs, even if the working directory has packages of the same names."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("harness", "scoring", "submissions", "workloads")
ONE_TRIAL = (
    "nadamw", "--workload", "diabetes", "--ruleset", "demo", "--clock", "steps", "--out", "out",
)  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A regular installation: copies of the packages, and the command's script."""
    root = tmp_path_factory.mktemp("installed")
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, root / "site" / package, ignore=ignored)
    script = root / "bin" / "chronograd"
    script.parent.mkdir()
    script.write_text("from harness.cli import main\n\nif __name__ == '__main__':\n    main()\n")
    return root


def in_a_clone(installed, folder, packages, *command):
    """Runs Python in a folder with other packages that have the names of ours."""
    for package in packages:
        (folder / package).mkdir()
        text = f"raise AssertionError('{package} of the working directory was imported')\n"
        (folder / package / "__init__.py").write_text(text)
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, capture_output=True, text=True,
        timeout=240, check=False, env=os.environ | {"PYTHONPATH": str(installed / "site")},
    )  # fmt: skip


def test_the_processes_of_a_sweep_import_what_is_installed(installed, tmp_path):
    few = ("--studies", "1", "--trials", "1")
    script = installed / "bin" / "chronograd"
    done = in_a_clone(installed, tmp_path, PACKAGES, script, "sweep", *ONE_TRIAL, *few)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_python_m_and_what_it_spawns_import_what_is_installed_beside_it(installed, tmp_path):
    command = ("-m", "harness.cli", "run", *ONE_TRIAL, "--clock", "wall", "--max-steps", "2")
    done = in_a_clone(installed, tmp_path, PACKAGES[1:], *command)
    assert done.returncode == 0, done.stdout + done.stderr
