"""A driver that is killed at any point, and faults of disks, clocks and users."""

import os
import random
import resource
import shutil
import signal
import time
from collections import Counter
from dataclasses import replace

import pytest

from harness.sweep import ledger
from harness.sweep.ledger import LedgerError
from harness.sweep.run import run_sweep
from harness.system import timers
from scoring.experiment import Experiment
from scoring.records import Status, TrialResult
from scoring.tree import EXPERIMENT_FILE, LEDGER_FILE, read_trial, trial_folder
from tests.fixtures.faults import write_submission
from tests.fixtures.sweeps import Quiet, ledger_rows, make_row, plan_faults, plan_toys
from tests.harness.executors.test_cluster import QUICK, Command, chronograd_sweep, run_here

POINTS = int(os.environ.get("CHRONOGRAD_KILLS", "3"))  # 100 once, by hand


class Nothing:
    """An executor whose trials only report two rows."""

    def run(self, specs, driver):
        waiting = list(specs)
        while (spec := driver.next(waiting, wait=False)) is not None:
            driver.started(spec, {"host": "h", "pid": 1})
            rows = [make_row(10), make_row(20, loss=0.5)]
            for row in rows:
                driver.measured(spec, row)
            result = TrialResult(
                status=Status.REACHED, rows=rows, global_step=20, submission_seconds=20.0
            )
            driver.ended(spec, result)


def trees_of(out, experiment):
    """Returns the result of each trial, without its attempts and environment."""
    found = [read_trial(trial_folder(out, spec)) for spec in experiment.specs()]
    return {spec.key: replace(result, attempts=1, environment={}) for spec, result in found}


def in_a_child(prepare, experiment, out):
    """Runs `prepare` and a sweep in a forked process; returns its status as `os.wait` does."""
    child = os.fork()
    if child == 0:
        try:
            prepare()
            run_sweep(experiment, out, Nothing(), Quiet())
            os._exit(0)
        except LedgerError:
            os._exit(3)
        finally:
            os._exit(4)
    return os.waitpid(child, 0)[1]


def dies_at(call):
    """Makes the n-th call that writes records to disk kill this process."""
    counter = Counter()

    def fatal(function):
        def counted(*arguments, **options):
            counter["calls"] += 1
            if counter["calls"] == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return counted

    for name in ("write", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir"):
        setattr(os, name, fatal(getattr(os, name)))


def test_a_driver_killed_at_any_call_to_the_disk_leaves_a_tree_that_is_resumed(tmp_path):
    experiment = plan_toys("a", "b", studies=2)
    run_sweep(experiment, tmp_path / "undisturbed", Nothing(), Quiet())
    undisturbed = trees_of(tmp_path / "undisturbed", experiment)
    kills = 0
    for call in range(1, 1000):
        out = tmp_path / f"out_{call}"
        status = in_a_child(lambda call=call: dies_at(call), experiment, out)
        run_sweep(experiment, out, Nothing(), Quiet())
        assert trees_of(out, experiment) == undisturbed, call
        sequence = [event["sequence"] for event in ledger.read(out)]
        assert sequence == list(range(len(sequence))), call
        if os.WIFEXITED(status):
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        kills += 1
    assert os.WEXITSTATUS(status) == 0
    assert kills > 40


@pytest.mark.parametrize("room", [600, 1000, 1500, 2000])
def test_a_full_disk_is_a_clear_error_and_no_record_is_lost(tmp_path, room):
    experiment, out = plan_toys("a", "b"), tmp_path / "out"

    def fill():  # files cannot grow beyond it, even in the middle of a line
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    status = in_a_child(fill, experiment, out)
    assert (os.WIFEXITED(status), os.WEXITSTATUS(status)) == (True, 3)
    content = (out / LEDGER_FILE).read_bytes()
    assert content.endswith(b"\n")
    before = ledger.read(out)
    run_sweep(experiment, out, Nothing(), Quiet())
    assert ledger.read(out)[: len(before)] == before
    run_sweep(experiment, tmp_path / "undisturbed", Nothing(), Quiet())
    assert trees_of(out, experiment) == trees_of(tmp_path / "undisturbed", experiment)


@pytest.mark.parametrize("gone", ["deleted", "replaced"])
def test_a_tree_that_disappears_during_a_sweep_is_a_clear_error(tmp_path, gone):
    out = tmp_path / "out"

    def remove(spec, row):
        shutil.rmtree(out)
        if gone == "replaced":
            out.mkdir()
            (out / LEDGER_FILE).write_text("")

    with pytest.raises(LedgerError, match=f"{out}: was deleted or moved during the sweep"):
        run_sweep(plan_toys("a"), out, Nothing(), Quiet(remove))


def test_a_clock_that_moves_backwards_changes_nothing(tmp_path, monkeypatch):
    now = iter(range(10**9, 0, -(10**6)))
    with monkeypatch.context() as broken:
        broken.setattr(timers, "time", lambda: next(now))
        run_sweep(plan_toys("a", "b"), tmp_path / "out", Nothing(), Quiet())
    run_sweep(plan_toys("a", "b"), tmp_path / "undisturbed", Nothing(), Quiet())
    experiment = plan_toys("a", "b")
    assert trees_of(tmp_path / "out", experiment) == trees_of(tmp_path / "undisturbed", experiment)
    events = ledger.read(tmp_path / "out")
    assert [event["sequence"] for event in events] == list(range(len(events)))


@pytest.mark.ray
@pytest.mark.slow
def test_a_sweep_on_ray_whose_driver_is_killed_repeatedly_gives_the_same_results(tmp_path, address):
    names = ["a", "b", "c", "d", "e", "f"]
    submissions = [write_submission(tmp_path, "well_behaved", name) for name in names]
    out, rng = tmp_path / "out", random.Random(0)
    sweep = ("--address", address, "--pruning", "off")
    arguments = (*names, *QUICK, "--studies", "2", "--out", out, *sweep)
    for _ in range(POINTS):
        with Command(tmp_path, *arguments) as command:
            time.sleep(rng.uniform(1, 9))
            command.process.kill()
            command.process.wait()
        arguments = ("--resume", out, *sweep) if (out / EXPERIMENT_FILE).exists() else arguments
    code, output = chronograd_sweep(tmp_path, *arguments)
    assert code == 0, output
    undisturbed = run_here(tmp_path, *submissions)
    experiment = Experiment.read(out).at(out)
    assert len(list(experiment.specs())) == 12
    for spec in experiment.specs():
        _, result = read_trial(trial_folder(out, spec))
        if spec.study == 0:
            assert result.rows == undisturbed[spec.submission].rows
        assert [row.global_step for row in result.rows] == [1, 11, 21, 31, 41]
        rows = [row for n in range(result.attempts) for row in ledger_rows(out, spec.key, n + 1)]
        assert all(row in result.rows for row in rows)
    assert plan_faults(tmp_path, *submissions).ruleset == experiment.ruleset
