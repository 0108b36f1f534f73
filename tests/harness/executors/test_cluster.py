"""Sweeps on a real local Ray: processes, resources, streams, and everything that can be killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import workloads
from harness.executors import cluster, process
from harness.executors.cluster import Cluster
from harness.executors.local import LocalExecutor
from harness.executors.nodes import ClusterError
from harness.executors.team import TrialResources
from harness.submission import shipping
from harness.sweep import ledger
from harness.sweep.run import run_sweep
from harness.trial.attempt import prepare_process
from harness.trial.messages import Ended, Measured, Started
from scoring.records import Failure, Status, TrialResult
from scoring.tree import read_trial, trial_folder
from tests.fixtures.faults import RULESET, write_submission
from tests.fixtures.sweeps import Quiet, ledger_rows, make_row, plan_faults, plan_toys
from tests.fixtures.toy import make_spec

pytestmark = pytest.mark.ray
STEPS = [1, 11, 21, 31, 41]


def wait_for(condition, seconds=90):
    """Waits until a condition is true; returns its value."""
    late = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < late, "timed out"
        time.sleep(0.05)
    return value


class Command:
    """A `chronograd sweep` in its own process group, as a shell would start it."""

    def __init__(self, folder, *arguments, options=()):
        (folder / "quick.toml").write_text(RULESET)
        self._log = folder / "log.txt"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "harness.cli", *options, "sweep", *map(str, arguments)],
                cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self):
        """Returns exit code and output."""
        code = self.process.wait(timeout=120)
        return code, self._log.read_text()


def chronograd_sweep(folder, *arguments, options=()):
    with Command(folder, *arguments, options=options) as command:
        return command.end()


QUICK = ("--workload", "diabetes", "--ruleset", "quick.toml", "--clock", "steps")


def results_of(out, specs):
    return {spec.submission: read_trial(trial_folder(out, spec))[1] for spec in specs}


def csv_of(out, spec):
    return (trial_folder(out, spec) / "eval_measurements.csv").read_bytes()


def run_here(folder, *submissions):
    """Runs the same trials undisturbed and without Ray; returns their results."""
    experiment = plan_faults(folder, *submissions)
    run_sweep(experiment, folder / "undisturbed", LocalExecutor(workloads.get), Quiet())
    return results_of(folder / "undisturbed", experiment.specs())


def event_of(out, kind, **fields):
    found = [e for e in ledger.read(out) if e["event"] == kind]
    return [e for e in found if all(e[name] == value for name, value in fields.items())]


# ---- a sweep in which one trial raises and another one is killed --------------------------------


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    names = ("well_behaved", "raises", "dies")
    submissions = [write_submission(folder, name) for name in names]
    out = folder / "out"
    arguments = (*names, *QUICK, "--out", "out")
    code, output = chronograd_sweep(folder, *arguments, options=["--verbose"])
    specs = {spec.submission: spec for spec in plan_faults(folder, *submissions).specs()}
    return SimpleNamespace(
        folder=folder, out=out, code=code, output=output, specs=specs, submissions=submissions,
        results=results_of(out, specs.values()), csv=csv_of(out, specs["well_behaved"]),
    )  # fmt: skip


@pytest.fixture(scope="module")
def resumed(swept, address):
    (swept.folder / "dies.fixed").touch()
    code, output = chronograd_sweep(swept.folder, "--resume", "out", "--address", address)
    undisturbed = run_here(swept.folder, *swept.submissions)
    results = results_of(swept.out, swept.specs.values())
    return SimpleNamespace(code=code, output=output, results=results, undisturbed=undisturbed)


@pytest.mark.slow
def test_each_worker_has_a_debug_log_that_survives_it(swept):
    logs = {file.name: file.read_text() for file in swept.out.glob("logs/*/study_0/diabetes/*")}
    assert len(logs) == len(list(swept.out.glob("logs/dies/*/*/*"))) == 3
    lost = f"{swept.specs['dies'].key}: process lost, worker_lost"
    assert swept.output.count(lost) == 3


def test_a_crash_is_recorded_and_does_not_affect_other_trials(swept):
    assert swept.code == 1, swept.output
    assert swept.results["well_behaved"].status is Status.OUT_OF_TIME
    raised, killed = swept.results["raises"], swept.results["dies"]
    assert (raised.status, raised.failure) == (Status.FAILED, Failure.SUBMISSION_ERROR)
    assert raised.message == "ValueError: I cannot continue, at submission.py:20 in update_params"
    assert "Traceback" in raised.traceback
    assert "submission.py" in raised.traceback
    folder = trial_folder(swept.out, swept.specs["raises"])
    assert (folder / "traceback.txt").read_text() == raised.traceback
    assert (folder / "log.txt").read_text() == "".join(f"step {n}\n" for n in range(26))
    assert f"Traceback: {trial_folder(Path('out'), swept.specs['raises'])}" in swept.output
    assert not (swept.out / "running").exists()
    assert (killed.status, killed.failure) == (Status.FAILED, Failure.WORKER_LOST)
    assert "its worker process has died" in killed.message
    assert killed.message.partition(": ")[2] in killed.traceback
    assert "1 out_of_time" in swept.output
    for line in ("failed: raises/study_0/diabetes/trial_1 (submission_error): ValueError",
                 "failed: dies/study_0/diabetes/trial_1 (worker_lost): "):  # fmt: skip
        assert line in swept.output


def test_rows_of_a_killed_trial_are_kept(swept):
    spec, result = swept.specs["dies"], swept.results["dies"]
    assert [row.global_step for row in result.rows] == STEPS[:3]
    assert ledger_rows(swept.out, spec.key) == result.rows
    assert result.submission_seconds == result.rows[-1].submission_seconds


def test_resume_runs_only_the_killed_trial(swept, resumed):
    assert resumed.code == 0, resumed.output
    assert "Trials: 3 planned, 2 done already, 1 to run." in resumed.output
    attempts = {name: result.attempts for name, result in resumed.results.items()}
    assert attempts == {"well_behaved": 1, "raises": 1, "dies": 4}  # three and one
    assert resumed.results["raises"].status is Status.FAILED
    assert ledger_rows(swept.out, swept.specs["dies"].key, 1) == swept.results["dies"].rows


def test_ray_gives_the_same_rows_as_this_process(swept, resumed):
    for name, undisturbed in resumed.undisturbed.items():
        assert undisturbed.rows, name
        assert resumed.results[name].rows == undisturbed.rows, name
    assert swept.csv == csv_of(swept.folder / "undisturbed", swept.specs["well_behaved"])


def test_a_second_run_reports_that_nothing_is_left(swept, resumed, address):
    before = ledger.read(swept.out)
    code, output = chronograd_sweep(
        swept.folder, "well_behaved", "raises", "dies", *QUICK, "--out", "out", "--address", address
    )
    assert code == 0, output
    assert "All trials (3) are done already: nothing to run." in output
    assert [event["event"] for event in ledger.read(swept.out)[len(before) :]] == ["driver_started"]


# ---- a driver that is stopped -------------------------------------------------------------------


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def waiting(tmp_path):
    """Two submissions that wait for the file `go` half-way, and their specs."""
    submissions = [write_submission(tmp_path, "waits", name) for name in ("a", "b")]
    specs = list(plan_faults(tmp_path, *submissions).specs())

    def go():
        for submission in submissions:
            submission.with_name(submission.name + ".go").touch()
        return submissions

    return SimpleNamespace(folder=tmp_path, out=tmp_path / "out", specs=specs, go=go)


@pytest.fixture
def half_way(waiting):
    """Stops the n-th sweep with a signal while both trials wait; returns exit code and output."""

    def stop(nth, send, *arguments):
        with Command(waiting.folder, *arguments) as command:
            for spec in waiting.specs:
                wait_for(lambda spec=spec: last_step(waiting.out, spec.key, nth) == STEPS[2])
            assert not event_of(waiting.out, "attempt_ended")  # the rows were streamed
            send(command.process.pid)
            return command.end()

    return stop


def last_step(out, name, attempt):
    """Returns the last known step of an attempt: of its checkpoint or its rows."""
    resumed = event_of(out, "attempt_resumed", trial=name, attempt=attempt)
    steps = [event["step"] for event in resumed]
    return max(steps + [row.global_step for row in ledger_rows(out, name, attempt)], default=0)


def assert_interrupted(waiting, code, output, attempt):
    """Checks that the sweep was stopped cleanly and printed how to continue."""
    assert code == 130, output
    assert f"chronograd resume {waiting.out}" in output
    assert "Traceback" not in output
    for spec in waiting.specs:
        result = read_trial(trial_folder(waiting.out, spec))[1]
        assert (result.status, result.attempts) == (Status.INTERRUPTED, attempt)
        assert [row.global_step for row in result.rows] == STEPS[:3]
        assert result.rows == ledger_rows(waiting.out, spec.key, 1)


def test_a_driver_that_is_killed_and_then_stopped_by_ctrl_c_loses_nothing(
    waiting, half_way, address
):
    out, specs = waiting.out, waiting.specs
    sweep = ("a", "b", *QUICK, "--out", out, "--address", address)
    code, _ = half_way(1, lambda pid: os.kill(pid, signal.SIGKILL), *sweep)
    assert code == -signal.SIGKILL
    pids = [event["pid"] for event in event_of(out, "attempt_started")]
    assert len(set(pids)) == 2
    wait_for(lambda: not any(map(is_alive, pids)))
    kept = [ledger_rows(out, spec.key) for spec in specs]
    assert [[row.global_step for row in rows] for rows in kept] == [STEPS[:3]] * 2

    ctrl_c = half_way(2, lambda pid: os.killpg(pid, signal.SIGINT), "--resume", out)
    assert_interrupted(waiting, *ctrl_c, attempt=2)

    submissions = waiting.go()
    code, output = chronograd_sweep(waiting.folder, "--resume", out, "--address", address)
    assert code == 0, output
    assert "Trials: 2 planned, 2 to run." in output
    assert [ledger_rows(out, spec.key) for spec in specs] == kept
    undisturbed = run_here(waiting.folder, *submissions)
    for result in results_of(out, specs).values():
        assert (result.status, result.attempts) == (Status.OUT_OF_TIME, 3)
        assert [row.global_step for row in result.rows] == STEPS
    for spec in specs:  # only steps after the last checkpoint were repeated
        for event in event_of(out, "attempt_resumed", trial=spec.key):
            assert event["step"] in STEPS[1:3]
        assert {row.global_step for row in ledger_rows(out, spec.key, 3)} <= set(STEPS[2:])
    assert {name: r.rows for name, r in results_of(out, specs).items()} == {
        name: r.rows for name, r in undisturbed.items()
    }


def test_sigterm_stops_cleanly_and_changed_code_is_not_resumed(waiting, half_way, address):
    sweep = ("a", "b", *QUICK, "--out", waiting.out, "--address", address)
    stopped = half_way(1, lambda pid: os.kill(pid, signal.SIGTERM), *sweep)
    assert_interrupted(waiting, *stopped, attempt=1)
    with (waiting.folder / "a" / "submission.py").open("a") as file:
        file.write("# a change\n")
    code, output = chronograd_sweep(waiting.folder, "--resume", waiting.out, "--address", address)
    assert code == 2, output
    assert "the code of submission a has changed" in output


# ---- the processes of trials --------------------------------------------------------------------


@pytest.mark.parametrize(("names", "cpus"), [(("a", "b"), 1), (("c",), 2)])
def test_a_trial_has_its_own_process_and_threads(tmp_path, address, names, cpus):
    submissions = [write_submission(tmp_path, "records", name) for name in names]
    experiment = plan_faults(tmp_path, *submissions, cpus_per_trial=cpus)
    with closing(Cluster(workloads.get, address, TrialResources(cpus=cpus))) as executor:
        assert executor.slots() == 2 // cpus
        run_sweep(experiment, tmp_path / "out", executor, Quiet())
    files = sorted(tmp_path.glob("process_*"))
    results = results_of(tmp_path / "out", experiment.specs()).values()
    assert [f.name for f in files] == sorted(f"process_{r.environment['pid']}" for r in results)
    assert len(files) == len(names)
    assert {file.read_text() for file in files} == {repr((str(cpus), "", cpus))}


def test_the_cluster_is_announced_once_with_its_size(address):
    lines = []
    resources = TrialResources(cpus=1, gpus=1)
    with closing(Cluster(workloads.get, address, resources, announce=lines.append)) as executor:
        executor.connect()
        executor.connect()
    assert lines == [f"Ray at {address}: 1 node, 2 CPUs, 2 GPUs: 2 trials at once"]


def test_a_row_reaches_the_ledger_while_its_trial_runs(tmp_path, address):
    folder = write_submission(tmp_path, "waits")
    experiment, out = plan_faults(tmp_path, folder), tmp_path / "out"
    (spec,) = experiment.specs()

    def release(spec, row):
        assert ledger_rows(out, spec.key)[-1] == row
        if row.global_step == 21:
            folder.with_name("waits.go").touch()

    with closing(Cluster(workloads.get, address)) as executor:
        run_sweep(experiment, out, executor, Quiet(release))
    assert read_trial(trial_folder(out, spec))[1].status is Status.OUT_OF_TIME


def test_a_trial_continues_only_after_its_row_was_received(monkeypatch):
    continued, row = threading.Event(), make_row(1)

    def attempt(load_workload, spec, control, rank, rendezvous):
        control.report(row)
        continued.set()
        return "the result"

    monkeypatch.setattr(process, "run_attempt", attempt)
    monkeypatch.setattr(shipping, "unpack", lambda spec, code: spec)
    stream = process.TrialProcess(0, lambda: "n").run(None, make_spec(), b"", None, float("inf"))
    assert isinstance(next(stream), Started)
    assert next(stream) == Measured(row)
    assert not continued.wait(0.5)  # a process that is killed now has lost nothing
    assert next(stream) == Ended("the result")
    assert continued.is_set()


class GpuProbe:
    """Replaces a trial's process: reports its GPU, and waits for another trial."""

    def __init__(self, rank, node_id, log):
        pass

    def run(self, load_workload, spec, code, checkpoints, deadline, rendezvous):
        prepare_process(spec)
        gpu, pid = os.environ["CUDA_VISIBLE_DEVICES"], os.getpid()
        yield Started({"gpu": gpu, "host": "", "pid": pid})
        meeting = Path(spec.data_dir)
        (meeting / str(pid)).touch()
        wait_for(lambda: len(list(meeting.iterdir())) >= 2)
        yield Ended(TrialResult(status=Status.STEP_LIMIT))

    def forget(self, checkpoints):
        pass


@pytest.fixture
def sent_by_value():
    """Sends this file's classes to Ray's workers by value, as they cannot import tests."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.mark.usefixtures("sent_by_value")
def test_a_gpu_belongs_to_one_trial_at_a_time(tmp_path, address, monkeypatch):
    monkeypatch.setattr(cluster, "TrialProcess", GpuProbe)
    (tmp_path / "meeting").mkdir()
    experiment = plan_toys("a", "b", "c", gpus_per_trial=1, data_dir=str(tmp_path / "meeting"))
    with closing(Cluster(workloads.get, address, TrialResources(gpus=1))) as executor:
        assert executor.slots() == 2
        summary = run_sweep(experiment, tmp_path, executor, Quiet())
    assert [result.message for _, result in summary.failed] == []
    assert summary.by_status == {Status.STEP_LIMIT: 3}
    started = event_of(tmp_path, "attempt_started")
    assert {event["gpu"] for event in started[:2]} == {"0", "1"}  # they ran at the same time
    assert started[2]["gpu"] in ("0", "1")
    assert len({event["pid"] for event in started}) == 3


def test_a_failure_outside_the_trial_is_reported_with_its_traceback(tmp_path, address):
    experiment = plan_toys("a", gpus_per_trial=1)  # there is no GPU, so reading its name fails
    with closing(Cluster(workloads.get, address, TrialResources(gpus=1))) as executor:
        summary = run_sweep(experiment, tmp_path, executor, Quiet())
    ((_, result),) = summary.failed
    assert result.failure is Failure.WORKER_LOST
    assert "environment.py" in result.traceback
    assert result.message in result.traceback


# ---- clusters that cannot be used ---------------------------------------------------------------


@pytest.mark.parametrize("nowhere", ["127.0.0.1:1", "no.such.host.invalid:6379", "nonsense"])
def test_an_address_without_a_cluster_is_one_clear_line_at_once(nowhere):
    before, began = signal.getsignal(signal.SIGTERM), time.monotonic()
    with pytest.raises(ClusterError, match=f"^no Ray cluster at {nowhere}: .+$"):
        Cluster(workloads.get, nowhere).connect()
    assert time.monotonic() - began < 30
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_trial_that_fits_nowhere_is_refused(address):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ClusterError, match="room for a trial with 99 CPUs and 0 GPUs") as error:
        Cluster(workloads.get, address, TrialResources(cpus=99)).connect()
    assert "\n" not in str(error.value)
    assert signal.getsignal(signal.SIGTERM) is before


# ---- a driver of many trials --------------------------------------------------------------------


def test_all_streams_with_a_message_are_handled_in_one_turn(tmp_path, monkeypatch):
    """Fifty streams with one message each: two calls of `ray.wait`, whatever the number."""
    experiment, asked = plan_toys("a", studies=50), []
    waits = []

    class Driver:
        def deadline(self, spec):
            return float("inf")

        def measured(self, spec, row):
            asked.append((spec.key, row))

    def wait(refs, num_returns, timeout):
        waits.append((num_returns, timeout))
        return refs[:num_returns], refs[num_returns:]

    monkeypatch.setattr(cluster, "ray", SimpleNamespace(wait=wait, get=lambda ref: ref))
    team = SimpleNamespace(followers=[], node=None)
    running = {
        iter([Measured(make_row(1))]): cluster.RemoteAttempt(team, spec, float("inf"), started=True)
        for spec in experiment.specs()
    }
    Cluster(workloads.get)._handle_events([], running, Driver())
    assert sorted(name for name, *_ in asked) == sorted(s.key for s in experiment.specs())
    assert waits == [(1, cluster.TURN_SECONDS), (50, 0)]


def test_the_actor_class_is_created_once():
    from harness.executors.team import _actor_class

    assert _actor_class(GpuProbe) is _actor_class(GpuProbe)


def test_trials_run_at_the_priority_of_the_driver(tmp_path, address):
    (spec,) = (experiment := plan_faults(tmp_path, write_submission(tmp_path, "raises"))).specs()
    with closing(Cluster(workloads.get, address)) as executor:
        run_sweep(experiment, tmp_path / "out", executor, Quiet())
    (event,) = event_of(tmp_path / "out", "attempt_started", trial=spec.key)
    assert event["niceness"] == os.nice(0)


LISTENING = """
import json
from harness.executors import nodes
nodes.connect(None)
import psutil
import ray
ray.get(ray.remote(lambda: None).remote())  # so that there are workers
me = psutil.Process()
found = {c.laddr.ip for p in [me, *me.children(recursive=True)] for c in p.net_connections("inet")
         if c.status == "LISTEN"}
print(json.dumps(sorted(found)))
"""


def test_ray_on_one_machine_cannot_be_reached_from_others():
    ran = subprocess.run(
        [sys.executable, "-c", LISTENING], capture_output=True, text=True, check=True, timeout=120
    )
    addresses = json.loads(ran.stdout.splitlines()[-1])
    assert addresses
    assert {address.removeprefix("::ffff:") for address in addresses} <= {"127.0.0.1", "::1"}
