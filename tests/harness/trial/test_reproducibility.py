"""The harness does not change training, and is reproducible bit for bit."""

import numpy as np
import pytest
import torch

import workloads
from harness.submission import loading
from harness.submission.loading import WorkloadView
from harness.trial.attempt import run_attempt
from harness.trial.clock import WallClock
from harness.trial.loop import run_trial
from harness.trial.seeds import Streams
from scoring.records import Status
from scoring.tree import SEARCH_SPACE_FILE
from tests.fixtures.toy import Rows, make_spec

STEPS = 60


def spec_of(workload_name, submission_name, **changes):
    workload = workloads.get(workload_name)
    folder = loading.find(submission_name)
    first = None
    if (folder / SEARCH_SPACE_FILE).is_file():
        from harness.submission.search_space import load

        first = load(folder / SEARCH_SPACE_FILE).points(0, 1, 1)[0][0]
    fields = {
        "submission": folder.name, "submission_path": str(folder), "workload": workload_name,
        "hyperparameters": first, "goal": workload.goal, "test_goal": workload.test_goal,
        "budget_seconds": 1.0, "eval_period_seconds": 0.02, "step_hint": STEPS,
        "clock": "steps", "step_seconds": 0.001, "max_steps": STEPS, "until": "budget",
    }  # fmt: skip
    return make_spec(**{**fields, **changes})


def outside(spec):
    """The same trial without the harness: a loop over the submission's own functions."""
    streams = Streams.of(spec)
    streams.seed_generators()
    workload = workloads.get(spec.workload)
    loaded = loading.load(loading.find(spec.submission))
    view = WorkloadView(workload, spec)
    params, model_state = workload.init_model_fn(streams.model)
    size = workload.train_batch_size
    queue = workload.build_input_queue(streams.data, "train", size)
    point = type("Point", (), spec.hyperparameters)
    state = loaded.init_optimizer_state(view, params, model_state, point, None)
    trajectory = []
    for step in range(STEPS):
        batch = loaded.data_selection(view, queue, state, params, model_state, point, step, None)
        state, params, model_state = loaded.update_params(
            workload=view, current_param_container=params, model_state=model_state,
            current_params_types=view.model_params_types, hyperparameters=point, batch=batch,
            loss_type=workload.loss_type, optimizer_state=state, eval_results=[],
            global_step=step, rng=None,
        )  # fmt: skip
        trajectory.append([p.detach().clone() for p in params.parameters()])
    return trajectory


@pytest.mark.parametrize("workload", workloads.suite("demo"))
@pytest.mark.parametrize("name", ["nadamw", "adamw", "nesterov", "heavy_ball"])
def test_a_submission_takes_the_same_path_inside_and_outside(workload, name):
    spec = spec_of(workload, name)
    inside = []
    loaded = loading.load(loading.find(name))

    def update_params(**arguments):
        returned = original(**arguments)
        inside.append([p.detach().clone() for p in returned[1].parameters()])
        return returned

    original = loaded.update_params
    watched = type(loaded)(
        **{f: getattr(loaded, f) for f in loaded.__slots__ if f != "update_params"},
        update_params=update_params,
    )
    result = run_trial(spec, workloads.get(workload), watched, WallClock(), Rows())
    assert result.status is Status.STEP_LIMIT, result.traceback
    assert len(result.rows) >= 2
    for here, there in zip(inside, outside(spec), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


@pytest.mark.parametrize("workload", workloads.suite("demo"))
def test_two_runs_on_the_step_clock_are_equal_in_every_digit(workload):
    spec = spec_of(workload, "schedule_free_adamw")
    runs = [run_attempt(workloads.get, spec) for _ in range(2)]
    assert runs[0].status is Status.STEP_LIMIT, runs[0].traceback
    assert len(runs[0].rows) >= 3
    assert runs[0].rows == runs[1].rows


def test_values_at_equal_steps_agree_between_the_clocks():
    steps = run_attempt(workloads.get, spec_of("diabetes", "nadamw"))
    wall = run_attempt(
        workloads.get,
        spec_of("diabetes", "nadamw", clock="wall", budget_seconds=60.0, eval_period_seconds=0.0),
    )
    by_step = {row.global_step: row.metrics for row in wall.rows}
    assert all(by_step[row.global_step] == row.metrics for row in steps.rows)


def test_streams_are_shared_only_between_submissions():
    base = Streams.of(make_spec())
    same = Streams.of(make_spec(submission="other", hyperparameters=None))
    assert all(np.array_equal(getattr(base, s), getattr(same, s)) for s in base.__slots__)
    words = {tuple(getattr(base, s)) for s in base.__slots__}
    assert len(words) == 4
    for change in ({"seed": 1}, {"study": 1}, {"trial": 2}, {"workload": "other"}):
        other = Streams.of(make_spec(**change))
        assert not words & {tuple(getattr(other, s)) for s in other.__slots__}


def test_streams_do_not_depend_on_the_process():
    streams = Streams.of(make_spec(workload="digits"))
    assert streams.model.tolist() == [1092776912, 71072834]  # recorded once; must never change
