"""The submissions against torch.optim and the schedulefree package, in plain loops."""

import doctest
import itertools
import json
import math

import pytest
import torch
from schedulefree import AdamWScheduleFree
from torch.nn import functional as F  # noqa: N812 - the usual name

import workloads
from harness.submission import loading, search_space
from harness.submission.files import runs_on
from harness.trial.attempt import run_attempt
from harness.trial.clock import StepClock
from harness.trial.loop import run_trial
from harness.trial.seeds import Streams
from scoring.records import Status
from scoring.tree import SEARCH_SPACE_FILE
from submissions import recipe
from tests.fixtures.toy import Rows, make_spec

ENOUGH = 120  # steps in which every submission learns something, Prodigy too
STEPS = 40  # the step hint; the horizon of schedules is three quarters of it
HORIZON = 30
SGD_POINT = {"learning_rate": 0.05, "one_minus_beta1": 0.1, "weight_decay": 1e-3,
             "warmup_factor": 0.2}  # fmt: skip
ADAM_POINT = {**SGD_POINT, "beta2": 0.99}


def spec_of(name, point, workload="digits", **changes):
    folder = loading.find(name)
    library = workloads.get(workload)
    fields = {
        "submission": folder.name, "submission_path": str(folder), "workload": workload,
        "hyperparameters": point, "goal": library.goal, "test_goal": library.test_goal,
        "step_hint": STEPS, "max_steps": STEPS, "clock": "steps", "step_seconds": 0.001,
        "budget_seconds": 1.0, "eval_period_seconds": 1.0, "until": "budget",
    }  # fmt: skip
    return make_spec(**{**fields, **changes})


def final_parameters(spec):
    """The parameters after a trial, as the last evaluation saw them."""
    workload = workloads.get(spec.workload)
    seen = []
    evaluate = workload.eval_model

    def eval_model(params, model_state, split):
        seen[:] = [p.detach().clone() for p in params.parameters()]
        return evaluate(params, model_state, split)

    workload.eval_model = eval_model
    loaded = loading.load(loading.find(spec.submission))
    result = run_trial(spec, workload, loaded, StepClock(spec.step_seconds), Rows())
    assert result.status is Status.STEP_LIMIT, result.traceback
    return seen


def learning_rate(step, peak=0.05, warmup=6):
    """Linear warm-up from nothing, half a cosine down to zero, zero: the formula itself."""
    if step < warmup:
        return peak * (1e-10 + (1 - 1e-10) * step / warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (HORIZON - warmup))))


def plain_loop(make_optimizer, spec, scheduled=True):
    """The same training without recipe or harness; the schedule is a formula."""
    workload = workloads.get(spec.workload)
    streams = Streams.of(spec)
    model, _ = workload.init_model_fn(streams.model)
    optimizer = make_optimizer(model.parameters())
    queue = workload.build_input_queue(streams.data, "train", workload.train_batch_size)
    model.train()
    for step, batch in enumerate(itertools.islice(queue, STEPS)):
        if scheduled:
            optimizer.param_groups[0]["lr"] = learning_rate(step)
        else:
            optimizer.train()
        optimizer.zero_grad()
        F.cross_entropy(model(batch["inputs"]), batch["targets"]).backward()
        optimizer.step()
    if not scheduled:
        optimizer.eval()
    return [p.detach() for p in model.parameters()]


ADAM = {"lr": 0.05, "betas": (0.9, 0.99), "weight_decay": 1e-3}
SGD = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}
REFERENCES = {
    "adamw": (ADAM_POINT, lambda p: torch.optim.AdamW(p, **ADAM)),
    "nadamw": (ADAM_POINT, lambda p: torch.optim.NAdam(p, **ADAM, decoupled_weight_decay=True)),
    "nesterov": (SGD_POINT, lambda p: torch.optim.SGD(p, **SGD, nesterov=True)),
    "heavy_ball": (SGD_POINT, lambda p: torch.optim.SGD(p, **SGD)),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_scheduled_submissions_equal_a_plain_torch_loop(name):
    point, make_optimizer = REFERENCES[name]
    spec = spec_of(name, point)
    for ours, theirs in zip(final_parameters(spec), plain_loop(make_optimizer, spec), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_schedule_free_equals_its_own_package_and_evaluates_the_average():
    spec = spec_of("schedule_free_adamw", ADAM_POINT)
    expected = plain_loop(lambda p: AdamWScheduleFree(p, **ADAM, warmup_steps=6), spec, False)
    for ours, theirs in zip(final_parameters(spec), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "workload"),
    [
        # those that train digits train the two others in the slow tests
        pytest.param(
            name, workload, marks=[pytest.mark.slow] * (suited is None and workload != "digits")
        )
        for name in loading.available()
        for workload in workloads.suite("demo")
        if (suited := runs_on(loading.library() / name)) is None or workload in suited.workloads
    ],
)
def test_every_submission_trains_every_demo_workload(name, workload):
    folder = loading.find(name)
    point = None
    if name.startswith("external_tuning"):
        point = search_space.load(folder / SEARCH_SPACE_FILE).points(0, 1, 1)[0][0]
    steps = ENOUGH if runs_on(folder) is None else 20  # of all examples
    spec = spec_of(
        name, point, workload, tuning=name.split("_")[0], submission_path=str(folder),
        step_hint=steps, max_steps=steps, budget_seconds=10.0, eval_period_seconds=10.0,
    )  # fmt: skip
    result = run_attempt(workloads.get, spec)
    assert result.status is Status.STEP_LIMIT, result.traceback
    first, last = (row.metrics["train/loss"] for row in result.rows)
    assert last < first


@pytest.mark.parametrize("name", loading.available())
def test_every_submission_says_what_it_is(name):
    folder = loading.library() / name
    info = json.loads((folder / "submission_info.json").read_text())
    assert {"title", "authors", "paper", "description", "differs"} <= info.keys()
    if name.startswith("external_tuning"):
        points = search_space.load(folder / SEARCH_SPACE_FILE).points(0, 3, 5)
        assert len(points[0]) == 5


def test_the_example_in_the_recipe_runs():
    assert doctest.testmod(recipe).attempted >= 3
    assert doctest.testmod(recipe).failed == 0


def test_optional_hyperparameters_are_used():
    plain = final_parameters(spec_of("heavy_ball", SGD_POINT))
    for extra in ({"label_smoothing": 0.2}, {"grad_clip": 1e-3}):
        other = final_parameters(spec_of("heavy_ball", {**SGD_POINT, **extra}))
        assert not torch.equal(plain[0], other[0])
    same = final_parameters(spec_of("heavy_ball", {**SGD_POINT, "dropout_rate": 0.1}))
    assert torch.equal(plain[0], same[0])  # these models have no dropout
