"""Experiment trackers: what they receive, and that none of them can affect a sweep."""

import io
import sys
import threading
import tomllib
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import pytest
from rich.console import Console

from harness.cli.options import Track
from harness.progress import track
from harness.progress.live import PlainProgress
from harness.progress.track import PACKAGES, tracking
from harness.progress.trackers import TRACKERS
from harness.sweep.run import run_sweep
from scoring.records import Failure, Status, TrialResult, UserError
from scoring.tree import read_trial
from tests.fixtures.faults import write_submission
from tests.fixtures.sweeps import Quiet, Script, make_row, plan_toys

WHERE = {"host": "h", "pid": 1}
POINT = {"learning_rate": 0.1, "schedule": "cosine", "nesterov": True, "betas": [0.9, 0.99]}


def plan(*names, **changes):
    """Plans toys with hyperparameters."""
    experiment = plan_toys(*names, tuning="external", **changes)
    points = [[POINT] * experiment.trials] * experiment.studies
    submissions = {
        name: planned.model_copy(update={"points": points})
        for name, planned in experiment.submissions.items()
    }
    return experiment.model_copy(update={"submissions": submissions})


def finish(driver, spec):
    driver.started(spec, WHERE)
    rows = [make_row(10), make_row(20, loss=0.5)]
    for row in rows:
        driver.measured(spec, row)
    end = {"global_step": 20, "submission_seconds": 20.0}
    driver.ended(spec, TrialResult(status=Status.REACHED, rows=rows, **end))


def fail(driver, spec):
    driver.started(spec, WHERE)
    driver.measured(spec, make_row(10, loss=float("nan")))
    driver.failed(spec, Failure.OOM, "too big")


def lose_and_finish(driver, spec):
    """Loses the first attempt at step 30; the second one repeats step 20."""
    driver.started(spec, WHERE)
    for step in (10, 20, 30):
        driver.measured(spec, make_row(step, loss=8.0))
    driver.lost(spec, Failure.WORKER_LOST, "gone", "")
    driver.started(spec, WHERE)
    driver.resumed(spec, [make_row(10, loss=8.0)])
    driver.measured(spec, make_row(20, loss=7.0))
    driver.ended(spec, TrialResult(status=Status.OUT_OF_TIME, submission_seconds=25.0))


def hang_on(driver, spec):
    driver.started(spec, WHERE)
    driver.measured(spec, make_row(10))


def sweep(out, experiment, acts, names, **options):
    """Runs it with these trackers; returns the summary and the warnings."""
    warnings = []
    with tracking(Quiet(), names, out, warnings.append, **options) as callback:
        summary = run_sweep(experiment, out, Script(*acts), callback)
    return summary, warnings


# What is written, read back with the readers of the packages


def read_scalars(folder):
    """Tag -> [(step, wall time, value)] as TensorBoard itself reads a folder, and its plugins."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator(str(folder))
    accumulator.Reload()
    tags = accumulator.Tags()
    scalars = {
        tag: [(e.step, e.wall_time, pytest.approx(e.value, nan_ok=True)) for e in events]
        for tag in tags["scalars"]
        for events in [accumulator.Scalars(tag)]
    }
    return scalars, accumulator


def test_tensorboard_has_every_row_against_step_and_submission_clock(tmp_path):
    experiment = plan("a", "b")
    _, warnings = sweep(tmp_path, experiment, (finish, fail), ["tensorboard"])
    a, b = experiment.specs()
    scalars, accumulator = read_scalars(tmp_path / "tensorboard" / a.key)
    assert scalars == {
        "validation/loss": [(10, 10.0, 2.0), (20, 20.0, 0.5)],
        "submission_seconds": [(10, 10.0, 10.0), (20, 20.0, 20.0)],
    }
    (ending,) = accumulator.Tensors("end/text_summary")
    assert b"reached at step 20, 20.00 s" in ending.tensor_proto.string_val[0]
    scalars, accumulator = read_scalars(tmp_path / "tensorboard" / b.key)
    assert scalars["validation/loss"] == [(10, 10.0, float("nan"))]
    (ending,) = accumulator.Tensors("end/text_summary")
    assert b"failed (oom: too big)" in ending.tensor_proto.string_val[0]
    assert warnings == []


def test_tensorboard_has_the_hyperparameters(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.plugins.hparams import plugin_data_pb2

    experiment = plan("a")
    sweep(tmp_path, experiment, (finish,), ["tensorboard"])
    (spec,) = experiment.specs()
    _, accumulator = read_scalars(tmp_path / "tensorboard" / spec.key)
    content = accumulator.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    data = plugin_data_pb2.HParamsPluginData.FromString(content)
    given = {
        name: getattr(value, value.WhichOneof("kind"))
        for name, value in data.session_start_info.hparams.items()
    }
    assert given == {**POINT, "betas": "[0.9, 0.99]"}


def test_tensorboard_shows_a_trial_once_however_many_attempts_it_took(tmp_path):
    experiment = plan("a")
    sweep(tmp_path, experiment, (lose_and_finish,), ["tensorboard"])
    (spec,) = experiment.specs()
    scalars, _ = read_scalars(tmp_path / "tensorboard" / spec.key)
    assert scalars["validation/loss"] == [(10, 10.0, 8.0), (20, 20.0, 7.0)]


def test_a_trial_that_was_pruned_before_it_started_is_not_written(tmp_path, monkeypatch):
    never = Faulty("", None)
    monkeypatch.setitem(TRACKERS, "wandb", never.make)
    (spec,) = plan("a").specs()
    with tracking(Quiet(), ["wandb"], tmp_path, print) as callback:
        callback.on_trial_end(spec, TrialResult(status=Status.PRUNED))
    assert never.calls == []


def test_run_writes_the_same_numbers_as_its_records(chronograd, tmp_path):
    folder = write_submission(tmp_path, "well_behaved")
    quick = ("--workload", "diabetes", "--ruleset", "quick.toml", "--clock", "steps")
    code, out, _ = chronograd("run", folder, *quick, "--out", "out", "--track", "tensorboard")
    assert (code, "warning" in out) == (0, False)
    (records,) = (tmp_path / "out/submissions").glob("*/*/*/*")
    spec, result = read_trial(records)
    scalars, _ = read_scalars(tmp_path / "out/tensorboard" / spec.key)
    assert scalars[spec.goal_column] == [
        (row.global_step, row.submission_seconds, row.metrics[spec.goal_column])
        for row in result.rows
    ]


def test_mlflow_has_one_run_per_attempt(tmp_path, monkeypatch):
    monkeypatch.setattr(track, "CLOSE_SECONDS", 600.0)  # it creates its tables first
    tracking_of = pytest.importorskip("mlflow.tracking")
    pytest.importorskip("sqlalchemy")
    experiment = plan("a", "b", "c", "d")
    acts = (finish, fail, lose_and_finish, hang_on)
    _, warnings = sweep(tmp_path, experiment, acts, ["mlflow"])
    assert warnings == []
    client = tracking_of.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    found = client.get_experiment_by_name(f"chronograd {tmp_path.name}")
    runs = client.search_runs([found.experiment_id], order_by=["attributes.start_time"])
    names = [spec.key for spec in experiment.specs()]
    assert sorted((run.info.run_name, run.info.status) for run in runs) == [
        (names[0], "FINISHED"), (names[1], "FAILED"), (names[2], "FINISHED"), (names[2], "KILLED"),
        (names[3], "KILLED"),
    ]  # fmt: skip
    (first,) = (run for run in runs if run.info.run_name == names[0])
    assert first.data.params == {name: str(value) for name, value in POINT.items()}
    assert first.data.tags["end"].startswith("reached at step 20, 20.00 s")
    assert first.data.tags["workload"] == "toy"
    history = client.get_metric_history(first.info.run_id, "validation/loss")
    assert [(m.step, m.timestamp, m.value) for m in history] == [(10, 10_000, 2), (20, 20_000, 0.5)]


def test_wandb_writes_offline_without_an_account(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(track, "CLOSE_SECONDS", 600.0)
    _, warnings = sweep(tmp_path, plan("a", "b"), (lose_and_finish, fail), ["wandb"])
    assert warnings == []
    files = sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 3
    written = b"".join(file.read_bytes() for file in files)
    for text in (b"validation/loss", b"learning_rate", b"failed (oom: too big)", b"out_of_time"):
        assert text in written


# Calls to packages that are too large to install for tests


@pytest.fixture
def stand_in(monkeypatch):
    """Replaces a package by a stand-in; returns it."""

    def put(name, *modules, **content):
        package = ModuleType(name)
        vars(package).update(content)
        monkeypatch.setitem(sys.modules, name, package)
        for module in modules:
            child = ModuleType(f"{name}.{module}")
            vars(child).update(content)
            monkeypatch.setitem(sys.modules, child.__name__, child)
            setattr(package, module, child)
        return package

    return put


def test_mlflow_calls(tmp_path, stand_in, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    client = MagicMock()
    client.get_experiment_by_name.return_value = SimpleNamespace(experiment_id="7")
    client.create_run.return_value.info.run_id = "r"
    make = MagicMock(return_value=client)
    entity = {"Param": lambda *given: given, "Metric": lambda *given: given}
    stand_in("mlflow", "tracking", "entities", MlflowClient=make, **entity)
    _, warnings = sweep(tmp_path, plan("a"), (fail,), ["mlflow"])
    assert warnings == []
    make.assert_called_once_with("http://server")
    assert client.create_run.call_args.args == ("7",)
    parameters, metrics = (call.kwargs for call in client.log_batch.call_args_list)
    assert ("learning_rate", "0.1") in parameters["params"]
    assert metrics["metrics"][1] == ("submission_seconds", 10.0, 10_000, 10)
    client.set_terminated.assert_called_once_with("r", status="FAILED")


@pytest.mark.parametrize(
    ("wanted", "account", "mode"),
    [(None, True, "online"), (None, False, "offline"), ("shared", False, "shared")],
)
def test_wandb_calls(tmp_path, stand_in, monkeypatch, wanted, account, mode):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if wanted:
        monkeypatch.setenv("WANDB_MODE", wanted)
    runs = [MagicMock(summary={}) for _ in range(3)]
    settings = MagicMock()
    init = MagicMock(side_effect=runs)
    login = MagicMock(return_value=account)
    stand_in("wandb", login=login, init=init, Settings=settings)
    acts = (lose_and_finish, hang_on)
    _, warnings = sweep(tmp_path, plan("a", "b"), acts, ["wandb"])
    assert warnings == []
    assert all(call.kwargs == {"prompt": False} for call in login.call_args_list)
    assert settings.call_args.kwargs["mode"] == mode
    assert init.call_args.kwargs["config"]["learning_rate"] == 0.1
    assert [run.finish.call_args.kwargs for run in runs] == [
        {"exit_code": 1}, {"exit_code": 0}, {"exit_code": 1},
    ]  # fmt: skip
    runs[1].log.assert_called_once_with(
        {"validation/loss": 7.0, "submission_seconds": 20.0}, step=20
    )
    assert runs[1].summary["end"].startswith("out_of_time")


# Trackers that fail


class Faulty:
    """A tracker that records calls; one of its methods calls `act` first."""

    calls: list[str]

    def __init__(self, method, act):
        self.calls = []
        self.method, self.act = method, act

    def make(self, out):
        self.call("make")
        return self

    def call(self, name, *_):
        if name == self.method:
            self.act()
        self.calls.append(name)

    def __getattr__(self, name):
        return lambda *given: self.call(name, *given)


METHODS = ("make", "begin", "write", "end", "close")


def raises(error):
    def act():
        raise error

    return act


def trial_files(out):
    """The content of every file below OUT/submissions."""
    files = sorted(path for path in (out / "submissions").rglob("*") if path.is_file())
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.mark.parametrize("patience", [0.0, 60.0])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("error", [ValueError("no\nmore"), SystemExit(3), KeyboardInterrupt()])
def test_an_exception_in_a_tracker_switches_it_off(tmp_path, monkeypatch, method, error, patience):
    bad, good = Faulty(method, raises(error)), Faulty("", None)
    monkeypatch.setitem(TRACKERS, "mlflow", bad.make)
    monkeypatch.setitem(TRACKERS, "wandb", good.make)
    experiment, acts = plan("a", "b"), (finish, lose_and_finish)
    undisturbed, _ = sweep(tmp_path / "undisturbed", experiment, acts, [])
    names = ["mlflow", "wandb"]
    summary, warnings = sweep(tmp_path / "out", experiment, acts, names, patience=patience)
    assert summary == undisturbed
    assert trial_files(tmp_path / "out") == trial_files(tmp_path / "undisturbed")
    (warning,) = warnings
    assert warning.startswith(f"warning: --track mlflow failed ({type(error).__name__}")
    assert "\n" not in warning
    a = ["begin", "write", "write", "end"]
    b = ["begin", "write", "write", "write", "begin", "write", "end"]
    assert good.calls == ["make", *a, *b, "close"]
    assert bad.calls == good.calls[: good.calls.index(method)]


@pytest.fixture
def stuck():
    """A function that blocks until the end of the test."""
    over = threading.Event()
    yield over.wait
    over.set()


@pytest.mark.parametrize("method", METHODS)
def test_a_tracker_that_hangs_does_not_block_the_sweep(tmp_path, monkeypatch, method, stuck):
    monkeypatch.setattr(track, "CLOSE_SECONDS", 0.05)
    bad = Faulty(method, stuck)
    monkeypatch.setitem(TRACKERS, "wandb", bad.make)
    summary, (warning,) = sweep(tmp_path, plan("a", "b"), (finish, finish), ["wandb"])
    assert summary.by_status == {Status.REACHED: 2}
    assert warning == "warning: --track wandb took longer than 0.05 s and is switched off"


def test_calls_that_do_not_fit_in_the_queue_are_dropped_with_one_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(track, "MAX_QUEUED", 2)
    busy, free = threading.Event(), threading.Event()

    def be_slow():
        busy.set()
        free.wait(60)

    slow = Faulty("make", be_slow)
    monkeypatch.setitem(TRACKERS, "wandb", slow.make)

    def train(driver, spec):
        driver.started(spec, WHERE)
        busy.wait(60)
        for step in range(1, 9):
            driver.measured(spec, make_row(step))
        free.set()
        driver.ended(spec, TrialResult(status=Status.OUT_OF_TIME))

    summary, warnings = sweep(tmp_path, plan("a"), (train,), ["wandb"])
    assert summary.by_status == {Status.OUT_OF_TIME: 1}
    dropped = "hangs or is too slow; some evaluations are dropped"
    assert warnings == [f"warning: --track wandb {dropped}"]
    assert slow.calls[:4] == ["make", "begin", "write", "write"]
    assert slow.calls[-1] == "close"
    assert slow.calls.count("write") == 2


def test_with_patience_a_row_is_written_before_the_trial_continues(tmp_path, monkeypatch):
    fine = Faulty("", None)
    monkeypatch.setitem(TRACKERS, "wandb", fine.make)
    seen = []

    def look(driver, spec):
        driver.started(spec, WHERE)
        seen.append(list(fine.calls))
        driver.measured(spec, make_row(1))
        seen.append(list(fine.calls))

    sweep(tmp_path, plan("a"), (look,), ["wandb"], patience=60.0)
    assert seen == [["make", "begin"], ["make", "begin", "write"]]


def test_patience_ends(tmp_path, monkeypatch, stuck):
    bad = Faulty("write", stuck)
    monkeypatch.setitem(TRACKERS, "wandb", bad.make)
    summary, warnings = sweep(tmp_path, plan("a"), (finish,), ["wandb"], patience=0.05)
    assert summary.by_status == {Status.REACHED: 1}
    assert warnings == ["warning: --track wandb took longer than 0.05 s and is switched off"]
    assert bad.calls == ["make", "begin"]


def test_a_sweep_with_nothing_to_run_creates_no_tracker(tmp_path, monkeypatch):
    never = Faulty("", None)
    monkeypatch.setitem(TRACKERS, "wandb", never.make)
    sweep(tmp_path, plan("a"), (finish,), [])
    _, warnings = sweep(tmp_path, plan("a"), (), ["wandb"])
    assert (never.calls, warnings) == ([], [])


def test_all_callbacks_receive_all_events(tmp_path):
    consoles = [Console(file=io.StringIO(), soft_wrap=True) for _ in range(2)]
    lines = [PlainProgress(console, rows=True) for console in consoles]
    with nullcontext(track.CallbackList(lines)) as callback:
        run_sweep(plan("a", "b"), tmp_path, Script(lose_and_finish, finish), callback)
    first, second = (console.file.getvalue() for console in consoles)
    assert first == second
    assert "resumes from its checkpoint" in first
    assert "[2/2]" in first


# Missing packages


def test_a_missing_package_is_refused_before_anything_runs(chronograd, tmp_path, monkeypatch):
    monkeypatch.setattr(track, "find_spec", lambda name: None)
    for command in (("run", "nadamw", "-w", "digits"), ("sweep", "nadamw", "--suite", "demo")):
        code, _, err = chronograd(*command, "--out", "out", "--track", "mlflow")
        assert code == 2
        assert "--track mlflow: mlflow, sqlalchemy, alembic is not installed" in err
        assert "pip install mlflow-skinny sqlalchemy alembic" in err.replace("\n", " ")
    assert not (tmp_path / "out").exists()


def test_a_folder_left_by_a_tracker_is_not_a_package(tmp_path, monkeypatch):
    (tmp_path / "somebody").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(PACKAGES, "wandb", {"somebody": "somebody"})
    with pytest.raises(UserError, match="pip install somebody"):
        track.require(["wandb"])


def test_trackers_options_and_extras_have_the_same_names():
    root = Path(track.__file__).parents[2]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = extras["optional-dependencies"]
    assert set(TRACKERS) == set(PACKAGES) == {option.value for option in Track}
    for name, packages in PACKAGES.items():
        assert [wanted.partition(">=")[0] for wanted in extras[name]] == list(packages.values())
