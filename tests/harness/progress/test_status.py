"""The status of a sweep, while it runs and afterwards."""

import json
from dataclasses import replace

import pytest
from rich.text import Text

from harness.progress.status import SweepStatus, read_status
from harness.sweep import ledger
from harness.sweep.events import AttemptEnded, AttemptStarted, Evaluated, Pruned
from harness.sweep.interruption import InterruptedSweepError
from harness.sweep.ledger import Ledger
from harness.sweep.options import EVERY_TRIAL
from harness.sweep.run import run_sweep
from harness.system import timers
from scoring.records import Failure, RecordError, Status, TrialResult
from scoring.tree import LEDGER_FILE
from tests.fixtures.sweeps import Quiet, Script, make_row, plan_toys

WHERE = {"host": "h", "pid": 1}


def end(status, seconds, **details):
    """Returns an act: a trial that measures one row at 600 s and ends."""

    def act(driver, spec):
        driver.started(spec, WHERE)
        driver.measured(spec, make_row(600))
        driver.ended(spec, TrialResult(status=status, submission_seconds=seconds, **details))

    return act


def hang(driver, spec):
    driver.started(spec, WHERE)
    driver.measured(spec, make_row(1800))


def lose(driver, spec):
    driver.started(spec, WHERE)
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
    """Five trials: reached, failed, lost, running when the driver died, never started."""
    experiment = plan_toys(*"abcde")
    with pytest.raises(MemoryError):
        run_sweep(
            experiment,
            tmp_path,
            Script(*MID_SWEEP, die_with_the_driver),
            Quiet(),
            options=replace(EVERY_TRIAL, max_attempts=1),
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


def test_an_incomplete_last_line_of_the_ledger_is_ignored(mid_sweep):
    state = read_status(mid_sweep)
    with (mid_sweep / LEDGER_FILE).open("a") as file:
        file.write('{"sequence": 99, "event": "attempt_en')
    assert read_status(mid_sweep).to_plain() == state.to_plain()


def test_the_hours_of_a_complete_sweep_include_lost_attempts(mid_sweep):
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


@pytest.fixture
def clock(monkeypatch):
    """The current time: a list with one number, which the test sets."""
    now = [1000.0]
    monkeypatch.setattr("harness.system.timers.time", lambda: now[0])
    return now


class Book:
    """Writes a tree's ledger as a driver would, with trials on workloads `toy` and `long`."""

    def __init__(self, out, *names, clock, **changes):
        toy = plan_toys("a").workloads["toy"]
        rules = {"toy": toy, "long": toy.model_copy(update={"budget_seconds": 10_000.0})}
        self.experiment = plan_toys(*names, workloads=rules, **changes)  # budgets times 1.5
        self.experiment.write(out)
        self.ledger, self.clock = Ledger(out), clock

    def name(self, submission, workload):
        return self.experiment.spec(submission, workload, 0, 1).key

    def start(self, *place):
        self.ledger.append(AttemptStarted(trial=self.name(*place), attempt=1, where=WHERE))

    def row(self, *place, step):
        self.ledger.append(Evaluated(trial=self.name(*place), attempt=1, row=make_row(step)))

    def end(self, *place, status=Status.REACHED, seconds=0.0, total=0.0, **more):
        end = {"status": status, "submission_seconds": seconds, "total_seconds": total, **more}
        result = TrialResult(**end)
        self.ledger.append(AttemptEnded(trial=self.name(*place), attempt=1, result=result))


def test_the_time_left_is_unknown_until_a_trial_has_ended(tmp_path, clock):
    book = Book(tmp_path, "a", "b", clock=clock)
    assert read_status(tmp_path).seconds_left() is None
    book.start("a", "toy")
    assert read_status(tmp_path).seconds_left() is None
    failed = {"status": Status.FAILED, "failure": "oom", "message": "too big"}
    book.end("a", "toy", **failed)
    book.start("b", "toy")
    assert read_status(tmp_path).seconds_left() is None


def test_the_time_left_depends_on_workload_budget_and_slots(tmp_path, clock):
    book = Book(tmp_path, *"abcd", clock=clock)
    status = SweepStatus(tmp_path)
    for submission in "ab":  # two at once
        book.start(submission, "toy")
    clock[0] += 50
    book.end("a", "toy", total=50.0)
    book.start("c", "toy")
    clock[0] += 20
    status.refresh()
    # b has run for 70 s, longer than a: the rest of its 150 s; c as long as a: 30 s; then d: 50 s;
    # then the four long ones, for which only the budget of 15,000 s is known:
    # slot 1: b 80, a 15,080, c 30,080; slot 2: c 30, d 80, b 15,080, d 30,080
    assert status.seconds_left() == pytest.approx(30_080)
    for submission in "bcd":
        book.end(submission, "toy", total=130.0)
    for submission in "ab":
        book.start(submission, "long")
        book.row(submission, "long", step=500)  # total_seconds 1,000
    clock[0] += 100
    status.refresh()
    assert status.seconds_left() == pytest.approx(15_000 - 600 + 15_000)
    book.end("a", "long", total=1_200.0)
    status.refresh()
    assert status.seconds_left() == pytest.approx(100 + 1_200)  # b then d; c
    book.start("c", "long")
    book.end("c", "long", total=1_600.0)
    status.refresh()
    # b: the mean of a and c, 300 s left; d on the free slot, the mean of a and c: 1,400 s
    assert status.seconds_left() == pytest.approx(1_400)


def test_the_time_left_is_unknown_without_a_driver(tmp_path, clock):
    book = Book(tmp_path, "a", "b", clock=clock)
    book.start("a", "toy")
    book.end("a", "toy", total=50.0)
    book.start("b", "toy")
    assert read_status(tmp_path).seconds_left() == pytest.approx(50 + 2 * 15_000)
    with book.ledger:
        pass
    state = read_status(tmp_path)
    assert (state.alive, state.running, state.seconds_left()) == (False, {}, None)
    assert state.counts == {"under way": 1, "reached": 1, "not started": 2}


def test_hours_saved_are_the_rest_of_the_budget(tmp_path, clock):
    book = Book(tmp_path, "a", "b", clock=clock)
    book.start("a", "long")
    book.row("a", "long", step=6_000)
    book.end("a", "long", status=Status.PRUNED, seconds=7_800.0)
    book.ledger.append(Pruned(trial=book.name("b", "toy"), attempt=0))
    state = read_status(tmp_path)
    assert state.hours_saved_at_most == pytest.approx((15_000 - 7_800 + 150) / 3600)
    assert state.hours_spent == pytest.approx(7_800 / 3600)
    book.start("b", "toy")  # an extended plan needs it
    assert read_status(tmp_path).hours_saved_at_most == pytest.approx(2.0)


def test_a_new_driver_runs_interrupted_and_lost_trials_again(tmp_path, clock):
    book = Book(tmp_path, "a", "b", "c", clock=clock)
    lost = {"status": Status.FAILED, "failure": Failure.WORKER_LOST, "message": "gone"}
    raised = {"status": Status.FAILED, "failure": Failure.OOM, "message": "too big"}
    for submission, end in zip("abc", (lost, raised, {"status": Status.INTERRUPTED}), strict=True):
        book.start(submission, "toy")
        book.end(submission, "toy", **end)
    book.start("a", "long")
    status = read_status(tmp_path)
    done = {name for name, trial in status.trials.items() if trial.done}
    assert done == {book.name("a", "toy"), book.name("b", "toy")}
    assert list(status.running) == [book.name("a", "long")]
    with book.ledger:
        pass
    with Ledger(tmp_path):
        status.refresh()
        done = {name for name, trial in status.trials.items() if trial.done}
        assert (done, status.running) == ({book.name("b", "toy")}, {})


def test_json_has_the_driver_and_running_trials(mid_sweep, chronograd):
    with Ledger(mid_sweep) as book:
        book.append(AttemptStarted(trial="e/study_0/toy/trial_1", attempt=1, where=WHERE))
        book.append(Evaluated(trial="e/study_0/toy/trial_1", attempt=1, row=make_row(18)))
        _, out, _ = chronograd("status", mid_sweep, "--json")
    plain = json.loads(out)
    assert plain["counts"] == {"under way": 2, "reached": 1, "failed": 2, "not started": 0}
    assert plain["failures"] == FAILURES
    assert plain["hours_spent"] == pytest.approx(2.005)
    assert (plain["hours_saved_at_most"], plain["gpus_per_trial"]) == (0.0, 0)
    assert plain["driver"]["alive"] is True
    assert set(plain["driver"]) == {"alive", "host", "pid"}
    (running,) = plain["running"]
    assert (running["trial"], running["row"]["global_step"]) == ("e/study_0/toy/trial_1", 18)


def test_watch_refreshes_until_the_driver_has_stopped(mid_sweep, chronograd, monkeypatch):
    book = Ledger(mid_sweep)
    sleeps = []

    def continue_sweep(seconds):
        sleeps.append(seconds)
        if len(sleeps) == 1:
            book.append(Pruned(trial="e/study_0/toy/trial_1", attempt=0))
        else:
            with book:
                book.append(Pruned(trial="d/study_0/toy/trial_1", attempt=1))

    monkeypatch.setattr(timers, "sleep", continue_sweep)
    code, out, _ = chronograd("status", mid_sweep, "--watch")
    output = Text.from_ansi(out).plain
    assert (code, sleeps) == (0, [2.0, 2.0])
    assert "4 of 5 trials done: 1 reached, 2 pruned, 2 failed" in output
    assert "No driver is running; the last one was process" in output
    assert "c/study_0/toy/trial_1 (worker_lost): gone" in output


def test_ctrl_c_ends_watching_and_not_the_sweep(mid_sweep, chronograd, monkeypatch):
    def press(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(timers, "sleep", press)
    with Ledger(mid_sweep):
        code, out, _ = chronograd("status", mid_sweep, "--watch")
        assert ledger.is_held(mid_sweep)
    assert code == 0
    assert "The driver (process" in out
    assert "--resume" not in out


def test_status_without_a_driver_shows_how_to_continue(mid_sweep, chronograd):
    _, out, _ = chronograd("status", mid_sweep)
    assert f"Continue with: chronograd resume {mid_sweep}" in out


def test_watching_writes_no_json(mid_sweep, chronograd):
    code, _, err = chronograd("status", mid_sweep, "--watch", "--json")
    assert code == 2
    assert "--watch and --json cannot be combined" in err


def test_a_damaged_ledger_is_reported_even_after_it_is_set_aside(tmp_path, chronograd):
    run_sweep(plan_toys("a"), tmp_path, Script(end(Status.REACHED, 600.0)), Quiet())
    assert read_status(tmp_path).notices == []
    path = tmp_path / LEDGER_FILE
    path.write_bytes(path.read_bytes().replace(b'"attempt_started"', b'"attempt_ztarted"'))
    code, output, _ = chronograd("status", tmp_path)
    assert (code, "ledger.jsonl is damaged (invalid lines: 1" in output) == (0, True)
    with Ledger(tmp_path):
        pass
    code, output, _ = chronograd("status", tmp_path)
    assert (code, "ledger.jsonl is damaged" in output) == (0, False)
    assert "ledger.damaged-1.jsonl is a damaged ledger that was set aside" in output
    _, output, _ = chronograd("status", tmp_path, "--json")
    assert [line.split()[0] for line in json.loads(output)["notices"]] == ["ledger.damaged-1.jsonl"]


def test_status_from_latest_rows_equals_that_from_all_rows(tmp_path):
    """All rows are parsed in a ledger without checksums."""
    acts = (*MID_SWEEP[:2], lose, hang)
    with pytest.raises(ZeroDivisionError):
        run_sweep(
            plan_toys("a", "b", "c", "d"), tmp_path,
            Script(*acts[:3], lambda driver, spec: hang(driver, spec) or 1 / 0), Quiet(),
        )  # fmt: skip
    found = read_status(tmp_path)
    path = tmp_path / LEDGER_FILE
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["crc32"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_status(tmp_path).trials == found.trials
    assert read_status(tmp_path).hours_spent == pytest.approx(found.hours_spent)
