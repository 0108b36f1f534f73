"""An official workload's first steps, from files to records."""

import workloads
from harness.submission import loading
from harness.submission.search_space import load
from harness.trial.attempt import run_attempt
from scoring.tree import SEARCH_SPACE_FILE
from tests.fixtures.toy import make_spec


def two_steps(name, files, **options):
    """The evaluations of nadamw's first two steps, by the trial loop and on the step clock."""
    folder = loading.find("nadamw")
    point = load(folder / SEARCH_SPACE_FILE).points(0, 1, 1)[0][0]
    workload = workloads.get(name, files)
    workload.prepare_data()
    spec = make_spec(
        submission="nadamw", submission_path=str(folder), workload=name,
        hyperparameters=point, goal=workload.goal, test_goal=workload.test_goal,
        data_dir=str(files), max_steps=2, step_hint=workload.step_hint, clock="steps",
        step_seconds=0.001, **options,
    )  # fmt: skip
    result = run_attempt(workloads.get, spec)
    assert result.rows, result.traceback
    return [row.metrics for row in result.rows]
