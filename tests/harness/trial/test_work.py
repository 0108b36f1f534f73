"""The step clock charges training work: every kind of step against a literal count."""

import copy
import threading

import pytest
import torch
from torch import nn

import workloads
from harness.spec import ForwardPassMode
from harness.trial.attempt import run_attempt
from harness.trial.clock import StepClock
from harness.trial.loop import run_trial
from harness.trial.process_group import ProcessGroup
from scoring.records import Status
from tests.fixtures.toy import FakeTime, Rows, ScriptedWorkload, make_spec, make_submission, run
from tests.fixtures.versions import needs_compile
from tests.harness.checkpoint.test_resume import assert_same_rows, run_in_pieces, spec_of
from tests.harness.trial.test_process_group import Thread

BATCH = ScriptedWorkload.train_batch_size
TRAIN, EVAL = ForwardPassMode.TRAIN, ForwardPassMode.EVAL


def forward(workload, model, batch, mode=TRAIN):
    return workload.model_fn(model, batch, None, mode, None, update_batch_norm=True)[0].sum()


def part(batch, rows):
    return {name: value[:rows] for name, value in batch.items()}


def training(step, prepare=None, batch_size=BATCH, **changes):
    """A submission that calls `step(workload, model, queue, step number)` in every call."""
    workload_of = {}

    def data_selection(workload, input_queue, *_):
        workload_of["queue"] = input_queue
        return input_queue

    def update_params(workload, current_param_container, batch, global_step, **given):
        step(workload, current_param_container, batch, global_step)
        return given["optimizer_state"], current_param_container, given["model_state"]

    def prepare_for_eval(workload, current_param_container, **given):
        prepare(workload, current_param_container, workload_of["queue"])
        return given["optimizer_state"], current_param_container, given["model_state"]

    return make_submission(
        data_selection=data_selection, update_params=update_params,
        prepare_for_eval=prepare and prepare_for_eval,
        get_batch_size=lambda name: batch_size, **changes,
    )  # fmt: skip


def run_steps(submission, workload=None, control=None, ranks=None, **changes):
    """A trial on the step clock, one second per unit."""
    spec = make_spec(clock="steps", step_seconds=1.0, **changes)
    workload = workload or ScriptedWorkload(FakeTime())
    return run_trial(
        spec, workload, submission, StepClock(1.0), control or Rows(), ranks or ProcessGroup()
    )


def sgd_step(workload, model, queue, step):
    forward(workload, model, next(queue)).backward()


def sam_step(workload, model, queue, step):
    batch = next(queue)
    for _ in range(2):
        forward(workload, model, batch).backward()


def lawa_step(workload, model, queue, step):
    for _ in range(13):
        forward(workload, model, next(queue)).backward()


def accumulated_step(workload, model, queue, step):
    batch = next(queue)
    for row in range(BATCH):
        forward(workload, model, {k: v[row : row + 1] for k, v in batch.items()}).backward()


def watched_step(workload, model, queue, step):
    batch = next(queue)
    forward(workload, model, batch).backward()
    for _ in range(5):
        forward(workload, model, batch, EVAL)


def direct_step(workload, model, queue, step):
    model(next(queue)["inputs"]).sum().backward()
    model(next(queue)["inputs"]).sum().backward()


def copied_step(workload, model, queue, step):
    copied = copy.deepcopy(model)
    copied(next(queue)["inputs"])
    forward(workload, copied, next(queue))
    copied.eval()
    copied(next(queue)["inputs"])  # with gradients
    with torch.no_grad():
        copied(next(queue)["inputs"])


def functional_step(workload, model, queue, step):
    weights = dict(model.named_parameters())
    for _ in range(3):
        torch.func.functional_call(model, weights, next(queue)["inputs"])


def idle_step(workload, model, queue, step):
    next(queue)


def small_step(workload, model, queue, step):
    forward(workload, model, part(next(queue), 1))


def uneven_step(workload, model, queue, step):
    for rows in (4, 2, step % 3 or 4):
        forward(workload, model, part(next(queue), rows))


UNEVEN = [1.5 + (step % 3 or 4) / 4 for step in range(1000)]


@pytest.mark.parametrize(
    ("step", "units"),
    [
        (sgd_step, 1), (sam_step, 2), (lawa_step, 13), (accumulated_step, 1), (watched_step, 1),
        (direct_step, 2), (copied_step, 3), (functional_step, 3), (idle_step, 1), (small_step, 1),
        (uneven_step, UNEVEN),
    ],
)  # fmt: skip
def test_a_step_is_charged_the_examples_it_passes_forward_and_the_budget_cuts_there(step, units):
    each = units if isinstance(units, list) else [units] * 1000
    budget, period = 60.0, 7.0
    expected, total, last, steps = [], 0.0, -100.0, 0
    while total < budget:  # a literal loop over the rules
        total += each[steps]
        steps += 1
        if total < budget and total - last >= period:
            expected.append((steps, total, total))
            last = total
    result = run_steps(training(step), budget_seconds=budget, eval_period_seconds=period)
    assert result.status is Status.OUT_OF_TIME, result.traceback
    assert [(r.global_step, r.work, r.submission_seconds) for r in result.rows] == expected
    assert (result.global_step, result.work, result.submission_seconds) == (steps, total, total)


def test_l_bfgs_is_charged_for_each_call_of_its_closure():
    calls = []

    def step(workload, model, queue, number):
        optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=2 + number % 4)
        batch = next(queue)

        def closure():
            calls.append(number)
            optimizer.zero_grad()
            loss = (model_fn(workload, model, batch) - 1.0).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)

    def model_fn(workload, model, batch):
        return workload.model_fn(
            params=model, augmented_and_preprocessed_input_batch=batch, model_state=None,
            mode=TRAIN, rng=None, update_batch_norm=True,
        )[0]  # fmt: skip

    result = run_steps(training(step), budget_seconds=50.0, eval_period_seconds=1.0)
    assert 50 <= result.work == len(calls) < 50 + 10
    assert len(set(calls)) == result.global_step < len(calls)
    for row in result.rows:
        assert row.work == sum(number < row.global_step for number in calls)


@pytest.mark.parametrize(
    ("own", "given", "units"), [(8, None, 2.0), (6, None, 1.5), (2, None, 1.0), (4, 8, 1.0)]
)
def test_the_unit_is_the_workloads_batch_or_the_one_given(own, given, units):
    result = run_steps(training(sgd_step, batch_size=own), batch_size=given, max_steps=10)
    assert (result.batch_size, result.work) == (given or own, 10 * units)


def test_work_in_prepare_for_eval_is_charged_and_none_there_costs_nothing():
    def refresh(workload, model, queue):
        for _ in range(3):
            forward(workload, model, next(queue))

    result = run_steps(training(sgd_step, refresh), max_steps=21)
    assert [(row.global_step, row.work) for row in result.rows] == [(1, 4), (11, 17), (21, 30)]
    result = run_steps(training(sgd_step, lambda *_: None), max_steps=21)
    assert [(row.global_step, row.work) for row in result.rows] == [(1, 1), (11, 11), (21, 21)]


def test_evaluations_and_initialisation_are_not_training_work():
    class Evaluates(ScriptedWorkload):
        def eval_model(self, params, model_state, split):
            params(
                torch.ones(64, 2)
            )  # in train mode and with gradients, as in a careless evaluation
            return super().eval_model(params, model_state, split)

    def init(workload, model, *_):
        forward(workload, model, {"inputs": torch.ones(64, 2)})
        return {}

    submission = training(sgd_step, init_optimizer_state=init)
    result = run_steps(submission, Evaluates(FakeTime()), max_steps=30, eval_period_seconds=1.0)
    assert [row.work for row in result.rows] == list(range(1, 31))


def test_padding_is_not_an_example():
    workload = ScriptedWorkload(FakeTime())
    workload.padding_rows = 1
    submission = training(lambda *given: [forward(*given[:2], next(given[2])) for _ in range(2)])
    assert run_steps(submission, workload, max_steps=8).work == 8 * 2 * 3 / 4


def test_on_the_wall_clock_work_is_recorded_and_time_is_charged():
    time = FakeTime()

    def step(*given):
        time.spend(1.0)
        sam_step(*given)

    result = run(time, ScriptedWorkload(time), training(step), max_steps=21)
    rows = [(row.global_step, row.work, row.submission_seconds) for row in result.rows]
    assert rows == [(1, 2, 1), (11, 22, 11), (21, 42, 21)]


@pytest.mark.parametrize("clock", ["steps", "wall"])
@pytest.mark.parametrize(("passes", "units"), [((2, 2), 2.0), ((2, 4), 3.0), ((1, 4), 2.5)])
def test_several_ranks_share_a_trials_work(clock, passes, units):
    """Each rank's batch is half of the global one; a step is charged the work of all ranks."""
    table, barrier, results = [None, None], threading.Barrier(2), [None, None]

    def train(rank):
        def step(workload, model, queue, number):
            for _ in range(passes[rank]):
                forward(workload, model, part(next(queue), BATCH // 2))

        results[rank] = run_trial(
            make_spec(clock=clock, step_seconds=1.0, max_steps=20),
            ScriptedWorkload(FakeTime()), training(step), StepClock(1.0), Rows(),
            Thread(rank, table, barrier),
        )  # fmt: skip

    threads = [threading.Thread(target=train, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    for result in results:
        assert [row.work for row in result.rows] == [units * row.global_step for row in result.rows]
        assert len(result.rows) > 2


DIRECT = '''
"""Momentum whose steps train on one to three batches, past model_fn."""
import torch


def get_batch_size(workload_name):
    return 48


def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    return {"optimizer": torch.optim.SGD(model_params.parameters(), lr=0.01, momentum=0.9)}


def data_selection(workload, input_queue, optimizer_state, current_param_container, model_state,
                   hyperparameters, global_step, rng):
    return [next(input_queue) for _ in range(1 + global_step % 3)]


def update_params(workload, current_param_container, current_params_types, model_state,
                  hyperparameters, batch, loss_type, optimizer_state, eval_results, global_step,
                  rng):
    for part in batch:
        optimizer_state["optimizer"].zero_grad()
        logits = current_param_container(part["inputs"])
        workload.loss_fn(part["targets"], logits)["summed"].div(48).backward()
        optimizer_state["optimizer"].step()
    return optimizer_state, current_param_container, model_state
'''


def test_a_trial_in_pieces_has_the_same_work_bit_for_bit(tmp_path):
    (tmp_path / "direct").mkdir()
    (tmp_path / "direct" / "submission.py").write_text(DIRECT)
    unit = workloads.get("digits").train_batch_size
    spec = spec_of(str(tmp_path / "direct"), "digits", steps=20)
    whole = run_attempt(workloads.get, spec)
    expected = [max(1.0, 48 * (1 + step % 3) / unit) for step in range(20)]
    assert whole.work == pytest.approx(sum(expected), rel=1e-12)
    assert whole.work != whole.global_step
    pieces, attempts = run_in_pieces(spec, tmp_path / "checkpoints", rows=1)
    assert attempts > 2
    assert_same_rows(whole, pieces)
    assert [row.work for row in whole.rows] == [row.work for row in pieces.rows]
    assert whole.work == pieces.work


@needs_compile
def test_counting_does_not_make_a_compiled_model_compile_again():
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    model = {}

    def step(workload, params, queue, number):
        fast = model.setdefault("fast", torch.compile(params, backend=backend, dynamic=False))
        for _ in range(3):
            forward(workload, fast, next(queue))

    result = run_steps(training(step), max_steps=10)
    assert result.work == 30, result.traceback
    assert len(compiled) == 1


class Sees(nn.Module):
    """A model with two outputs, in a mapping."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 2))
        self.bias = nn.Parameter(torch.ones(1))

    def forward(self, inputs):
        return {"logits": (inputs @ self.weight.T + self.bias, None)}


def test_the_examples_of_nested_outputs_are_counted():
    class Nested(ScriptedWorkload):
        def init_model_fn(self, rng):
            return Sees(), None

    def step(workload, model, queue, number):
        workload.model_fn(model, next(queue), None, TRAIN, None, True)
        model(next(queue)["inputs"])

    assert run_steps(training(step), Nested(FakeTime()), max_steps=5).work == 10
