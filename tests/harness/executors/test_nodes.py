"""Nodes with fake GPUs: all are used, one joins, one is killed."""

import os
import pickle
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import workloads
from harness.executors.cluster import Cluster
from harness.executors.local import LocalExecutor
from harness.executors.team import TrialResources
from harness.sweep.ledger import read
from harness.sweep.options import EVERY_TRIAL
from harness.sweep.run import run_sweep
from harness.system import timers
from scoring.records import Status
from scoring.tree import read_trial, trial_folder
from tests.fixtures.faults import write_submission
from tests.fixtures.sweeps import Quiet, plan_faults

pytestmark = pytest.mark.ray


class Nodes:
    """A head without slots for trials, and nodes with one CPU and one GPU that come and go.

    A node counts as dead after three failed health checks, one per second.
    """

    def __init__(self):
        from ray.cluster_utils import Cluster as RayNodes

        config = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": config}
        self._nodes = RayNodes(initialize_head=True, head_node_args=head)
        self.address = self._nodes.address

    def add(self, **resources):
        return self._nodes.add_node(**{"num_cpus": 1, "num_gpus": 1, **resources})

    def kill(self, node):
        """Kills a node's raylet, and with it all its processes."""
        self._nodes.remove_node(node, allow_graceful=False)

    def clear(self):
        """Removes all nodes except the head."""
        for node in list(self._nodes.worker_nodes):
            self._nodes.remove_node(node)
        self._nodes.wait_for_nodes()

    def close(self):
        self._nodes.shutdown()


@pytest.fixture(scope="module")
def head():
    with closing(Nodes()) as found:
        yield found


@pytest.fixture
def nodes(head, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # trials in this process cleared it
    yield head
    head.clear()


class AtRow(Quiet):
    """Calls functions at the n-th row of the sweep."""

    def __init__(self, at):
        super().__init__(self.count)
        self.at, self.rows = at, 0

    def count(self, spec, row):
        self.rows += 1
        if self.rows in self.at:
            self.at[self.rows]()


def results_of(out, experiment):
    return {spec.key: read_trial(trial_folder(out, spec))[1] for spec in experiment.specs()}


class Kills(Quiet):
    """Adds a node at step 21, and kills one on which a trial waits there; it lets the others go on.

    Args:
        nodes: All nodes.
        out: Results tree.
        known: The nodes so far; the first is never killed.
    """

    def __init__(self, nodes, out, *known):
        super().__init__(self.change)
        self.nodes, self.out, self.kept = nodes, out, known[0].node_id
        self.known, self.victim = {node.node_id: node for node in known}, None

    def change(self, spec, row):
        if row.global_step != 21:
            return
        if len(self.known) == 2:
            added = self.nodes.add()
            self.known[added.node_id] = added
        started = [e for e in read(self.out) if e["event"] == "attempt_started"]
        (node,) = {e["node"] for e in started if e["trial"] == spec.key and e["attempt"] == 1}
        all_used = len({e["node"] for e in started}) == 3
        if self.victim is None and all_used and node != self.kept:
            self.victim = spec.key
            self.nodes.kill(self.known[node])
        else:
            self.let_go(spec)

    def on_trial_start(self, spec):
        if spec.key == self.victim:
            self.let_go(spec)

    def let_go(self, spec):
        Path(f"{spec.submission_path}.go").touch()


def test_a_sweep_uses_a_node_that_joins_and_survives_the_loss_of_one(tmp_path, nodes):
    names = [f"waits_{number}" for number in range(8)]
    experiment = plan_faults(tmp_path, *(write_submission(tmp_path, "waits", n) for n in names))
    out, first = tmp_path / "out", nodes.add()
    callback = Kills(nodes, out, first, nodes.add())
    with closing(Cluster(workloads.get, nodes.address, TrialResources(gpus=1))) as executor:
        assert executor.slots() == 2
        summary = run_sweep(experiment, out, executor, callback)
    assert summary.by_status == {Status.OUT_OF_TIME: 8}
    run_sweep(experiment, tmp_path / "undisturbed", LocalExecutor(workloads.get), Quiet())
    results, undisturbed = (
        results_of(out, experiment),
        results_of(tmp_path / "undisturbed", experiment),
    )
    for name, result in results.items():
        assert result.rows == undisturbed[name].rows
    events = read(out)
    used = {e["node"] for e in events if e["event"] == "attempt_started" and "node" in e}
    assert len(used) == 3
    assert first.node_id in used
    lost = [event for event in events if event["event"] == "attempt_lost"]
    assert [event["trial"] for event in lost] == [callback.victim]
    assert {event["failure"] for event in lost} == {"worker_lost"}
    assert max(running_at(events)) <= 3


def running_at(events):
    """Yields the number of running trials at each event."""
    running = 0
    for event in events:
        running += event["event"] == "attempt_started"
        running -= event["event"] in ("attempt_ended", "attempt_lost")
        yield running


@pytest.mark.slow
def test_a_trial_on_an_exclusive_node_has_it_to_itself(tmp_path, nodes):
    nodes.add(num_cpus=3, num_gpus=0)
    nodes.add(num_cpus=2, num_gpus=0)
    names = [f"a_{number}" for number in range(3)]  # more than nodes
    folders = [write_submission(tmp_path, "well_behaved", name) for name in names]
    experiment = plan_faults(tmp_path, *folders)
    for exclusive, slots in ((True, 2), (False, 5)):
        out = tmp_path / f"out_{exclusive}"
        room = TrialResources(exclusive=exclusive)
        with closing(Cluster(workloads.get, nodes.address, room)) as executor:
            assert executor.slots() == slots
            assert len(executor.time_baseline(next(iter(experiment.specs())))) == 1
            run_sweep(experiment, out, executor, Quiet())
        shared = [r.environment["shared_node"] for r in results_of(out, experiment).values()]
        assert any(shared) is not exclusive
        assert max(running_at(read(out))) <= slots


@pytest.mark.slow
def test_a_sweep_waits_for_a_node_if_none_is_left(tmp_path, nodes, monkeypatch):
    """Also if a trial's exclusive node is lost before it starts."""
    node, added = nodes.add(), []
    experiment = plan_faults(tmp_path, *(write_submission(tmp_path, "slow", n) for n in "ab"))

    def sleep(seconds):  # called by the driver if nothing runs
        time.sleep(seconds)
        if not added:
            added.append(nodes.add())

    patched = SimpleNamespace(**{**vars(timers), "sleep": sleep})
    monkeypatch.setattr("harness.executors.cluster.timers", patched)
    out = tmp_path / "out"
    with closing(Cluster(workloads.get, nodes.address, TrialResources(exclusive=True))) as executor:
        callback = AtRow({2: lambda: nodes.kill(node)})
        summary = run_sweep(
            experiment, out, executor, callback, options=replace(EVERY_TRIAL, max_attempts=2)
        )
    assert added
    assert summary.by_status == {Status.OUT_OF_TIME: 2}
    used = {e["node"] for e in read(out) if e["event"] == "attempt_started" and "node" in e}
    assert len(used) == 2


@pytest.mark.slow
def test_the_number_of_concurrent_trials_can_be_limited(tmp_path, address):
    folders = [write_submission(tmp_path, "well_behaved", name) for name in "abc"]
    experiment = plan_faults(tmp_path, *folders)
    with closing(Cluster(workloads.get, address, max_concurrent=1)) as executor:
        run_sweep(experiment, tmp_path / "out", executor, Quiet())
    assert max(running_at(read(tmp_path / "out"))) == 1


def test_the_submissions_folder_is_sent_to_a_node_without_it(tmp_path):
    """The subprocess acts as another machine, which does not have the driver's folder."""
    folder = write_submission(tmp_path / "driver", "well_behaved")
    (folder / "part.py").write_text("VALUE = 1\n")
    with (folder / "submission.py").open("a") as file:
        file.write("\nimport part\nassert part.VALUE == 1\n")
    (spec,) = plan_faults(tmp_path, folder).specs()
    code = f"""
import pickle, sys
from pathlib import Path
from harness.submission.shipping import pack, unpack
spec = pickle.loads({pickle.dumps(spec)!r})
code = pack(Path(spec.submission_path))
Path(spec.submission_path).rename({str(tmp_path / "gone")!r})
import workloads
from harness.trial.attempt import run_attempt
for _ in range(2):
    here = unpack(spec, code)
    assert here.submission_path != spec.submission_path
    print(run_attempt(workloads.get, here).status)
"""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.stdout.split() == ["out_of_time"] * 2, done.stderr
