"""How a sweep stands, while it runs and afterwards."""

import pytest

from harness import ledger
from harness.status import read_status
from harness.sweep import InterruptedSweepError, run_sweep
from scoring.records import Failure, RecordError, Status, TrialResult
from tests.fixtures.sweeps import Quiet, Script, make_row, plan_toys


def end(status, seconds, **details):
    """A trial that measures one row at 600 s and ends."""

    def act(driver, spec):
        driver.started(spec, {"host": "h", "pid": 1})
        driver.measured(spec, make_row(600))
        driver.ended(spec, TrialResult(status=status, submission_seconds=seconds, **details))

    return act


def hang(driver, spec):
    driver.started(spec, {"host": "h", "pid": 1})
    driver.measured(spec, make_row(1800))


def lose(driver, spec):
    driver.started(spec, {"host": "h", "pid": 1})
    driver.measured(spec, make_row(900))
    driver.lost(spec, Failure.WORKER_LOST, "gone", "")


def press_ctrl_c(driver, spec):
    raise KeyboardInterrupt


def die_with_the_driver(driver, spec):
    raise MemoryError


MID_SWEEP = (
    end(Status.REACHED, 3600.0),
    end(Status.FAILED, 900.0, failure=Failure.SUBMISSION_ERROR, message="ValueError: no"),
    lose,
    hang,
)


@pytest.fixture
def mid_sweep(tmp_path):
    """Five trials: reached, failed, lost, under way when the driver died, never started."""
    experiment = plan_toys(*"abcde")
    with pytest.raises(MemoryError):
        run_sweep(
            experiment, tmp_path, Script(*MID_SWEEP, die_with_the_driver), Quiet(), max_attempts=1
        )
    return tmp_path


COUNTS = {"under way": 1, "reached": 1, "failed": 2, "not started": 1}
FAILURES = [
    "b/study_0/toy/trial_1 (submission_error): ValueError: no",
    "c/study_0/toy/trial_1 (worker_lost): gone",
]


def test_a_sweep_in_the_middle(mid_sweep):
    state = read_status(mid_sweep)
    assert state.counts == COUNTS
    assert state.hours_spent == pytest.approx(1.0 + 0.25 + 0.25 + 0.5)
    assert state.failures == FAILURES
    assert state.to_plain() == {
        "counts": COUNTS, "hours_spent": state.hours_spent, "failures": FAILURES,
    }  # fmt: skip


def test_half_a_line_at_the_end_of_the_ledger_is_no_matter(mid_sweep):
    state = read_status(mid_sweep)
    with (mid_sweep / ledger.FILE).open("a") as file:
        file.write('{"sequence": 99, "event": "attempt_en')
    assert read_status(mid_sweep) == state


def test_a_sweep_at_its_end_counts_the_hours_of_lost_attempts_too(mid_sweep):
    experiment = plan_toys(*"abcde")
    acts = (end(Status.REACHED, 3600.0), end(Status.DIVERGED, 720.0), end(Status.REACHED, 360.0))
    run_sweep(experiment, mid_sweep, Script(*acts), Quiet())
    state = read_status(mid_sweep)
    assert state.counts == {"reached": 3, "diverged": 1, "failed": 1, "not started": 0}
    assert state.hours_spent == pytest.approx(2.0 + 1.0 + 0.2 + 0.1)
    assert state.failures == FAILURES[:1]


def test_an_interrupted_sweep(tmp_path):
    with pytest.raises(InterruptedSweepError):
        run_sweep(plan_toys(*"abc"), tmp_path, Script(hang, press_ctrl_c, hang), Quiet())
    assert read_status(tmp_path).counts == {"interrupted": 1, "not started": 2}


def test_single_trials_in_one_tree_are_not_counted_below_zero(tmp_path):
    for study in (0, 1):
        experiment = plan_toys("a", studies=2, only=(study, 1))
        run_sweep(experiment, tmp_path, Script(end(Status.REACHED, 1.0)), Quiet())
    assert read_status(tmp_path).counts == {"reached": 2, "not started": 0}


def test_a_directory_without_a_plan_is_refused(tmp_path):
    with pytest.raises(RecordError, match="is this a results directory"):
        read_status(tmp_path)
