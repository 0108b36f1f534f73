"""The README's first command, as a stranger runs it."""

import subprocess
from pathlib import Path

import pytest

from scoring.tree import read_trial, trial_folders

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_make_demo_in_a_fresh_clone_ends_with_a_leaderboard(tmp_path):
    clone = tmp_path / "chronograd"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    first = subprocess.run(["make", "demo"], cwd=clone, capture_output=True, text=True)
    assert first.returncode == 0, first.stdout + first.stderr
    results = clone / "results/demo"
    ended = [read_trial(folder)[1] for folder in trial_folders(results)]
    assert len(ended) == 4 * 3 * 3 * 2
    statuses = {result.status for result in ended}
    assert "reached" in statuses
    assert statuses <= {"reached", "out_of_time", "pruned"}
    assert "</html>" in (results / "leaderboard.html").read_text()
    assert f"Written: {Path('results/demo/leaderboard.html')}" in first.stdout
    again = subprocess.run(["make", "demo"], cwd=clone, capture_output=True, text=True, check=True)
    assert "All trials (72) are done already: nothing to run." in again.stdout
