"""Every rule of the trial loop, under a clock that only moves when time is spent."""

import asyncio
import math
import os
import signal
from types import MappingProxyType

import pytest
import torch
from torch import nn

from harness.spec import DataError
from harness.system.signals import sigterm_as_interrupt
from harness.trial.loop import ControlError
from scoring.records import Failure, Status
from tests.fixtures.toy import FakeTime, Rows, ScriptedWorkload, make_submission, run


@pytest.fixture
def time():
    return FakeTime()


def seconds_of(result):
    return [row.submission_seconds for row in result.rows]


def test_first_evaluation_follows_step_1_then_one_per_period(time):
    result = run(time, ScriptedWorkload(time), make_submission(time))
    assert [row.global_step for row in result.rows] == [1, 11, 21, 31, 41, 51, 61, 71, 81, 91]
    assert result.status is Status.OUT_OF_TIME


def test_period_is_measured_on_the_submission_clock_from_the_last_evaluation(time):
    workload = ScriptedWorkload(time, eval_seconds=1000.0)
    result = run(time, workload, make_submission(time, step_seconds=7.0))
    assert seconds_of(result) == [7, 21, 35, 49, 63, 77, 91]


def test_a_period_in_steps_evaluates_at_its_multiples_and_at_the_end(time):
    workload = ScriptedWorkload(time, losses=[5.0, 0.5])
    slow = make_submission(time, step_seconds=3.0)  # periods in seconds would end at other steps
    result = run(time, workload, slow, eval_period_steps=4, max_steps=10, until="budget")
    assert [row.global_step for row in result.rows] == [4, 8, 10]
    assert result.status is Status.STEP_LIMIT  # the target was met at step 8


def test_data_selection_update_params_and_prepare_for_eval_are_charged(time):
    submission = make_submission(time, step_seconds=1.0, select_seconds=0.5, prepare_seconds=0.25)
    result = run(time, ScriptedWorkload(time), submission, max_steps=1)
    assert seconds_of(result) == [1.75]
    assert result.cpu_seconds == 1.75


def test_evaluation_and_logging_are_recorded_but_not_charged(time):
    workload = ScriptedWorkload(time, eval_seconds=3.0)  # per split
    control = Rows(time, report_seconds=0.5)
    result = run(time, workload, make_submission(time), control, budget_seconds=12.0)
    assert seconds_of(result) == [1, 11]
    assert [row.eval_seconds for row in result.rows] == [6, 12]  # train and validation
    assert [row.logging_seconds for row in result.rows] == [0, 0.5]
    assert [row.total_seconds for row in result.rows] == [7, 23.5]
    assert result.total_seconds == 12 + 12 + 2 * 0.5


def test_budget_is_checked_after_every_step(time):
    result = run(time, ScriptedWorkload(time), make_submission(time, step_seconds=3.0),
                 budget_seconds=20.0, eval_period_seconds=1000.0)  # fmt: skip
    assert result.status is Status.OUT_OF_TIME
    assert result.submission_seconds == 21.0  # at most one step over
    assert seconds_of(result) == [3.0]


def test_past_its_deadline_a_trial_ends_as_pruned(time):
    control = Rows(time, deadline=30.0)
    result = run(time, ScriptedWorkload(time), make_submission(time), control)
    assert (result.status, result.submission_seconds) == (Status.PRUNED, 31)
    assert seconds_of(result) == [1, 11, 21]


def test_an_evaluation_at_the_deadline_counts_and_one_past_it_does_not(time):
    for deadline, rows in ((21.0, [1, 11, 21]), (20.9, [1, 11])):
        control = Rows(time, deadline=deadline)
        result = run(time, ScriptedWorkload(time), make_submission(time), control)
        assert (result.status, seconds_of(result)) == (Status.PRUNED, rows)


def test_a_deadline_may_be_set_while_the_trial_runs(time):
    control = Rows(time)

    def on_step(step, **_):
        if step == 15:
            control.deadline = 5.0

    result = run(time, ScriptedWorkload(time), make_submission(time, on_step=on_step), control)
    assert (result.status, result.global_step) == (Status.PRUNED, 16)
    assert result.submission_seconds == 16  # the time it had spent, not the deadline


def test_a_target_met_over_the_budget_does_not_count(time):
    workload = ScriptedWorkload(time, losses=[5.0, 0.5])
    submission = make_submission(time, step_seconds=6.0, prepare_seconds=5.0)
    result = run(time, workload, submission, budget_seconds=20.0, eval_period_seconds=6.0)
    assert result.status is Status.OUT_OF_TIME
    assert seconds_of(result) == [11.0]  # the second would have come at 22 s
    assert result.submission_seconds == 22.0


def test_exactly_at_the_budget_is_over_it(time):
    result = run(time, ScriptedWorkload(time, losses=[0.5]), make_submission(time),
                 budget_seconds=1.0)  # fmt: skip
    assert (result.status, result.rows) == (Status.OUT_OF_TIME, [])


def test_stops_at_the_validation_target_and_meets_it_when_equal(time):
    workload = ScriptedWorkload(time, losses=[5.0, 1.0], test_losses=[9.0])
    result = run(time, workload, make_submission(time))
    assert (result.status, result.global_step) == (Status.REACHED, 11)
    assert result.rows[-1].metrics["test/loss"] == 9.0
    assert "test/loss" not in result.rows[0].metrics


def test_until_test_continues_to_the_test_target_and_goals_are_sticky(time):
    workload = ScriptedWorkload(time, losses=[1.0, 5.0], test_losses=[5.0, 5.0, 1.0])
    result = run(time, workload, make_submission(time), until="test")
    assert (result.status, result.global_step) == (Status.REACHED, 21)


def test_until_budget_never_stops_early(time):
    workload = ScriptedWorkload(time, losses=[0.5], test_losses=[0.5])
    result = run(time, workload, make_submission(time), until="budget")
    assert (result.status, len(result.rows)) == (Status.OUT_OF_TIME, 10)


def test_nan_never_meets_a_target(time):
    result = run(time, ScriptedWorkload(time, losses=[math.nan]), make_submission(time))
    assert result.status is Status.OUT_OF_TIME


@pytest.mark.parametrize(
    ("ending", "status"),
    [({"complete_after": 4}, Status.TRAINING_COMPLETE), ({}, Status.STEP_LIMIT)],
)
def test_completion_and_the_step_limit_give_a_last_free_evaluation(time, ending, status):
    workload = ScriptedWorkload(time, eval_seconds=50.0)
    result = run(time, workload, make_submission(time, **ending), max_steps=4)
    assert (result.status, result.global_step) == (status, 4)
    assert [row.global_step for row in result.rows] == [1, 4]
    assert result.submission_seconds == 4.0
    assert "test/loss" in result.rows[-1].metrics


def test_a_target_met_at_the_last_evaluation_counts(time):
    workload = ScriptedWorkload(time, losses=[5.0, 0.5])
    result = run(time, workload, make_submission(time, complete_after=4))
    assert result.status is Status.REACHED


def test_no_last_evaluation_when_the_time_is_up(time):
    result = run(time, ScriptedWorkload(time), make_submission(time, complete_after=3),
                 budget_seconds=3.0)  # fmt: skip
    assert (result.status, len(result.rows)) == (Status.OUT_OF_TIME, 1)


def test_the_evaluated_parameters_are_those_that_prepare_for_eval_returned(time):
    averaged = nn.Linear(2, 1)

    def prepare_for_eval(*, optimizer_state, model_state, **_):
        return optimizer_state, averaged, model_state

    workload = ScriptedWorkload(time)
    run(time, workload, make_submission(time, prepare_for_eval=prepare_for_eval), max_steps=1)
    assert {weight for _, weight in workload.evaluated} == {averaged.weight[0, 0].item()}


def test_a_failing_evaluation_fails_the_trial_at_once(time):
    workload = ScriptedWorkload(time, losses=[5.0, RuntimeError("broken metric"), 0.5])
    result = run(time, workload, make_submission(time))
    assert (result.status, result.failure) == (Status.FAILED, Failure.EVALUATION_ERROR)
    assert result.message == "RuntimeError: broken metric"
    assert "broken metric" in result.traceback
    assert len(result.rows) == 1  # what was measured stays
    assert result.submission_seconds == 11.0


def test_evaluation_without_the_target_metric_is_an_error(time):
    workload = ScriptedWorkload(time)
    workload.eval_model = lambda *_: {"accuracy": 1.0}
    result = run(time, workload, make_submission(time))
    assert result.failure is Failure.EVALUATION_ERROR
    assert "'loss' is missing" in result.message


def fill_with_nan(steps):
    def on_step(params, step, **_):
        params.weight.data.fill_(math.nan if step in steps else 0.0)

    return on_step


def test_non_finite_parameters_at_two_evaluations_in_a_row_end_the_trial(time):
    submission = make_submission(time, on_step=fill_with_nan(range(1000)))
    result = run(time, ScriptedWorkload(time), submission)
    assert (result.status, len(result.rows)) == (Status.DIVERGED, 2)


def test_a_submission_that_recovers_between_evaluations_continues(time):
    submission = make_submission(time, on_step=fill_with_nan({0, 20, 40, 60}))  # every second one
    result = run(time, ScriptedWorkload(time), submission)
    assert result.status is Status.OUT_OF_TIME


def test_divergence_can_be_tolerated(time):
    submission = make_submission(time, on_step=fill_with_nan(range(50)))
    workload = ScriptedWorkload(time, losses=[math.nan] * 6 + [0.5])
    result = run(time, workload, submission, stop_diverged=False)
    assert result.status is Status.REACHED


def raises(error):
    def function(*args, **kwargs):
        raise error

    return function


@pytest.mark.parametrize(
    ("function", "error", "failure"),
    [
        ("update_params", ValueError("bad step"), Failure.SUBMISSION_ERROR),
        ("update_params", SystemExit(3), Failure.SUBMISSION_ERROR),
        ("data_selection", KeyError("targets"), Failure.SUBMISSION_ERROR),
        ("init_optimizer_state", TypeError("bad init"), Failure.SUBMISSION_ERROR),
        ("get_batch_size", TypeError("scripted"), Failure.SUBMISSION_ERROR),
        ("prepare_for_eval", ValueError("bad switch"), Failure.SUBMISSION_ERROR),
        ("update_params", torch.OutOfMemoryError("CUDA out of memory"), Failure.OOM),
        ("update_params", MemoryError(), Failure.OOM),
    ],
)
def test_faults_of_a_submission_are_recorded_with_their_class(time, function, error, failure):
    submission = make_submission(time, **{function: raises(error)})
    result = run(time, ScriptedWorkload(time), submission)
    assert (result.status, result.failure) == (Status.FAILED, failure)
    assert type(error).__name__ in result.message
    assert "Traceback" in result.traceback


@pytest.mark.parametrize(
    ("method", "error", "failure"),
    [
        ("init_model_fn", ValueError("bad model"), Failure.WORKLOAD_ERROR),
        ("build_input_queue", OSError("no file"), Failure.DATA_ERROR),
        ("eval_model", torch.OutOfMemoryError("CUDA out of memory"), Failure.OOM),
    ],
)
def test_faults_of_a_workload_are_recorded_with_their_class(time, method, error, failure):
    workload = ScriptedWorkload(time)
    setattr(workload, method, raises(error))
    result = run(time, workload, make_submission(time))
    assert (result.status, result.failure) == (Status.FAILED, failure)


def test_an_error_of_the_input_pipeline_is_not_the_submissions(time):
    def queue(*_):
        yield {"inputs": torch.ones(4, 2), "targets": torch.ones(1)}
        raise OSError("disk gone")

    workload = ScriptedWorkload(time)
    workload.build_input_queue = queue
    result = run(time, workload, make_submission(time))
    assert result.failure is Failure.DATA_ERROR
    assert "disk gone" in result.message


def test_data_errors_keep_their_message(time):
    workload = ScriptedWorkload(time)
    workload.build_input_queue = raises(DataError("day_0: put it there"))
    assert "day_0: put it there" in run(time, workload, make_submission(time)).message


def test_a_control_that_cannot_record_is_not_the_trials_fault(time):
    class FullDisk(Rows):
        def report(self, row):
            raise OSError("no space left on device")

    with pytest.raises(ControlError, match="cannot record"):
        run(time, ScriptedWorkload(time), make_submission(time), FullDisk())


def test_ctrl_c_keeps_what_was_measured(time):
    def on_step(step, **_):
        if step == 15:
            os.kill(os.getpid(), signal.SIGINT)

    with sigterm_as_interrupt():
        result = run(time, ScriptedWorkload(time), make_submission(time, on_step=on_step))
    assert (result.status, len(result.rows)) == (Status.INTERRUPTED, 2)


class MuteError(Exception):
    def __str__(self):
        raise KeyboardInterrupt


class OverriddenText(str):
    __slots__ = ()

    def split(self, *_):
        raise KeyboardInterrupt

    isprintable = encode = __str__ = split


class TextError(Exception):
    def __str__(self):
        return OverriddenText("the text")


class NamelessClass(type):
    __name__ = property(lambda cls: int(1 / 0))


class NamelessError(Exception, metaclass=NamelessClass):
    pass


class AttributesError(Exception):
    """Asking for its class, its cause or its notes raises."""

    @property
    def __class__(self):
        raise SystemExit

    __cause__ = __context__ = __notes__ = __suppress_context__ = __class__


def syntax_error(**changes):
    error = SyntaxError("x", ("file", 1, 1, "text"))
    for name, value in changes.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (asyncio.CancelledError("late"), "CancelledError: late"),
        (SystemExit(0), "SystemExit: 0"),
        (BaseException("x"), "BaseException: x"),
        (MuteError(), "MuteError: (its __str__ raised KeyboardInterrupt)"),
        (ValueError("\n\n  the text\nmore"), "ValueError: the text"),
        (ValueError("\udcff \x1b[2J\0\r\u202e"), r"ValueError: \udcff \x1b[2J\x00\r\u202e"),
    ],
)
def test_whatever_a_submission_raises_is_reported_in_one_printable_line(time, error, message):
    def on_step(step, **_):
        if step == 15:
            raise error

    result = run(time, ScriptedWorkload(time), make_submission(time, on_step=on_step))
    assert (result.status, result.failure) == (Status.FAILED, Failure.SUBMISSION_ERROR)
    assert (result.message, len(result.rows)) == (message, 2)
    assert result.traceback.replace("\n", "").isprintable()
    result.traceback.encode()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (TextError, "TextError: the text"),
        (NamelessError, "NamelessError"),
        (lambda: AttributesError("x"), "AttributesError: x"),
        (lambda: syntax_error(filename=5, lineno="a", text=object()), "SyntaxError: x"),
        (
            lambda: syntax_error(msg=OverriddenText("y")),
            "SyntaxError: (its __str__ raised KeyboardInterrupt)",
        ),
    ],
    ids=["text", "class", "attributes", "line", "message"],
)
def test_an_exception_whose_parts_raise_is_reported_too(time, make, message):
    def on_step(step, **_):
        if step == 15:
            raise make()

    result = run(time, ScriptedWorkload(time), make_submission(time, on_step=on_step))
    assert (result.status, result.failure) == (Status.FAILED, Failure.SUBMISSION_ERROR)
    assert (result.message, len(result.rows)) == (message, 2)
    assert "in on_step" in result.traceback


def test_a_message_is_of_limited_length(time):
    def on_step(**_):
        raise ValueError("x" * 10**6)

    result = run(time, ScriptedWorkload(time), make_submission(time, on_step=on_step))
    assert len(result.message) == 1000


@pytest.mark.parametrize(
    ("function", "returned", "rule"),
    [
        ("init_optimizer_state", [], "init_optimizer_state must return a dict"),
        ("update_params", None, "update_params must return a tuple (optimizer_state, params"),
        ("update_params", ({}, None), "update_params must return a tuple"),
        ("update_params", ({}, nn.Linear(3, 1), None), "names and shapes unchanged"),
        ("update_params", ({}, None, None), "update_params must return the model"),
        (
            "update_params",
            ({}, torch.compile(torch.nn.Linear(3, 1), backend="eager"), None),
            "names and shapes unchanged; got OptimizedModule",
        ),
        ("prepare_for_eval", "x", "prepare_for_eval must return a tuple"),
        ("get_batch_size", 0, "get_batch_size must return an int, 1 or more; got 0"),
        ("get_batch_size", True, "get_batch_size must return an int"),
        ("get_batch_size", 4.0, "get_batch_size must return an int"),
        ("get_eval_batch_size", 4.0, "get_eval_batch_size must return an int"),
    ],
)
def test_what_a_submission_returns_is_validated(time, function, returned, rule):
    submission = make_submission(time, **{function: lambda *a, **k: returned})
    result = run(time, ScriptedWorkload(time), submission)
    assert result.failure is Failure.SUBMISSION_ERROR
    assert rule in result.message


def test_parameters_reshaped_in_place_are_noticed_at_the_next_evaluation(time):
    def on_step(params, **_):
        params.bias = nn.Parameter(torch.zeros(7))

    result = run(time, ScriptedWorkload(time), make_submission(time, on_step=on_step))
    assert result.failure is Failure.SUBMISSION_ERROR
    assert "names and shapes unchanged" in result.message


def test_the_workloads_batch_size_is_used_if_a_submission_has_none(time):
    submission = make_submission(time, get_batch_size=raises(ValueError("unknown workload")))
    result = run(time, ScriptedWorkload(time), submission, max_steps=1)
    assert result.batch_size == 4
    assert run(time, ScriptedWorkload(time), submission, max_steps=1, batch_size=8).batch_size == 8


class ScriptedVariant(ScriptedWorkload):
    name = "scripted_variant"


@pytest.mark.parametrize(
    ("sizes", "used"),
    [
        ({"scripted_variant": 8, "scripted": 16}, 8),
        ({"scripted": 16}, 16),  # of the workload that this one is a variant of
        ({"scripted": 64}, 64),
        ({"scripted": 65}, 4),  # more than there are training examples
        ({"other": 16}, 4),
    ],
)
@pytest.mark.parametrize("error", [KeyError, ValueError])
def test_the_batch_size_is_the_submissions_if_it_has_one_that_fits(time, sizes, used, error):
    asked = []

    def get_batch_size(name):
        asked.append(name)
        if name not in sizes:
            raise error(name)
        return sizes[name]

    submission = make_submission(time, get_batch_size=get_batch_size)
    workload = ScriptedVariant(time)
    result = run(time, workload, submission, max_steps=1, workload="scripted_variant")
    assert result.batch_size == used
    assert asked == ["scripted_variant", "scripted"][: len(asked)]


def test_a_submission_may_set_the_evaluation_batch_size(time):
    workload = ScriptedWorkload(time)
    submission = make_submission(time, get_eval_batch_size={"scripted": 3}.get)
    run(time, workload, submission, max_steps=1)
    assert workload.eval_batch_size == 3


def test_a_submission_sees_only_facts_and_functions(time):
    seen = {}

    def on_step(workload, hyperparameters, **_):
        seen["hint"] = (workload.step_hint, workload.max_allowed_runtime_sec)
        seen["learning_rate"] = hyperparameters.learning_rate
        for name in ("eval_model", "build_input_queue", "goal", "validation_target_value"):
            with pytest.raises(AttributeError, match="off limits"):
                getattr(workload, name)
        with pytest.raises(AttributeError, match="read-only"):
            workload.step_hint = 1
        with pytest.raises(AttributeError, match="read-only"):
            workload.new_fact = 1

    result = run(time, ScriptedWorkload(time), make_submission(time, on_step=on_step), max_steps=1)
    assert result.status is Status.STEP_LIMIT, result.traceback
    assert seen == {"hint": (100, 100.0), "learning_rate": 0.1}


def test_hyperparameters_are_none_under_self_tuning(time):
    seen = []
    submission = make_submission(time, on_step=lambda **k: seen.append(k["hyperparameters"]))
    run(time, ScriptedWorkload(time), submission, tuning="self", hyperparameters=None, max_steps=1)
    assert seen == [None]


def test_earlier_evaluations_are_visible_and_a_copy(time):
    seen = []

    def on_step(eval_results, **_):
        seen.append(list(eval_results))
        for _, values in eval_results:
            values["validation/loss"] = -1.0

    workload = ScriptedWorkload(time, losses=[5.0, 4.0])
    result = run(time, workload, make_submission(time, on_step=on_step), max_steps=12)
    assert seen[0] == []
    step, values = seen[1][0]
    assert (step, values["score"], values["accumulated_submission_time"]) == (1, 1.0, 1.0)
    assert [row.metrics["validation/loss"] for row in result.rows] == [5.0, 4.0, 4.0]


def test_train_state_is_read_only_and_passed_only_if_it_is_asked_for(time):
    seen = []

    def update_params(*, optimizer_state, current_param_container, train_state, **_):
        time.spend(1.0)
        seen.append((type(train_state), dict(train_state)))
        return optimizer_state, current_param_container, None

    submission = make_submission(time, update_params=update_params, wants_train_state=True)
    run(time, ScriptedWorkload(time), submission, max_steps=2)
    kind, state = seen[1]
    assert kind is MappingProxyType
    assert state["accumulated_submission_time"] == 1.0
    assert state["is_time_remaining"]
    assert not state["training_complete"]
    assert set(state) == {
        "validation_goal_reached", "test_goal_reached", "is_time_remaining", "last_eval_time",
        "training_complete", "accumulated_submission_time", "accumulated_eval_time",
        "accumulated_logging_time", "last_step_end_time",
    }  # fmt: skip


def test_rng_is_a_pair_that_differs_from_step_to_step(time):
    pairs = []
    submission = make_submission(time, on_step=lambda rng, **_: pairs.append(tuple(rng)))
    run(time, ScriptedWorkload(time), submission, max_steps=5)
    assert all(len(pair) == 2 for pair in pairs)
    assert len(set(pairs)) == 5


def test_peak_memory_is_recorded(time):
    result = run(time, ScriptedWorkload(time), make_submission(time), max_steps=1)
    assert result.peak_memory_bytes > 10 * 2**20


@pytest.mark.parametrize(("gpus", "wanted", "times"), [(0, True, 0), (1, True, 1), (1, False, 0)])
def test_a_workload_may_have_its_model_compiled_on_gpus(time, monkeypatch, gpus, wanted, times):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    workload = ScriptedWorkload(time)
    options = {"max_steps": 1, "gpus_per_trial": gpus, "compile": wanted}
    run(time, workload, make_submission(time), **options)
    assert compiled == []
    workload.compile_model = workload.compile_loss = True
    run(time, workload, make_submission(time), **options)
    assert len(compiled) == 2 * times


@pytest.mark.parametrize("wanted", [True, False])
def test_cudnn_benchmark_is_set_if_the_workload_asks_for_it(time, monkeypatch, wanted):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", not wanted)
    seen = []
    submission = make_submission(
        time, on_step=lambda **_: seen.append(torch.backends.cudnn.benchmark)
    )
    workload = ScriptedWorkload(time)
    workload.cudnn_benchmark = wanted
    run(time, workload, submission, max_steps=1)
    assert seen == [wanted]
    assert torch.backends.cudnn.benchmark is not wanted


def test_a_cudnn_setting_of_a_submission_that_fails_does_not_outlive_its_trial(time, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)

    def on_step(**_):
        torch.backends.cudnn.benchmark = True
        raise ValueError("no more")

    run(time, ScriptedWorkload(time), make_submission(time, on_step=on_step), max_steps=1)
    assert torch.backends.cudnn.benchmark is False
