"""The environment of a trial: clocks and folders that a submission changes or that are missing."""

import json
import os
import pwd
import time
from pathlib import Path

import pytest

from harness.executors import nodes
from harness.executors.nodes import ClusterError
from harness.submission import loading
from harness.system import timers
from tests.fixtures.faults import write_submission

QUICK = ("--workload", "diabetes", "--ruleset", "quick.toml", "--max-steps", "5", "--out", "out")
STOPPED = "import time\nfor name in ('time', 'monotonic', 'perf_counter', 'process_time'):\n"


@pytest.fixture(autouse=True)
def clocks_are_kept():
    """A trial in this process leaves them replaced."""
    before = dict(vars(time))
    yield
    vars(time).update(before)


def write(folder, at_import="", at_step="pass"):
    file = write_submission(folder, at_step, "meddles") / "submission.py"
    file.write_text(at_import + file.read_text())


def record(folder):
    return json.loads(
        (folder / "submissions/meddles/study_0/diabetes_pytorch/trial_1/trial.json").read_text()
    )


@pytest.mark.parametrize("value", [0.0, 1e300])
def test_clocks_that_a_submission_replaces_at_import_are_not_those_that_measure(
    chronograd, tmp_path, value
):
    write(tmp_path, f"{STOPPED}    setattr(time, name, lambda: {value})\n", "time.sleep(0.002)")
    before = timers.time()
    code, _, err = chronograd("run", "./meddles", *QUICK)
    assert code == 0, err
    result = record(tmp_path / "out")["result"]
    assert 0.01 <= result["submission_seconds"] < 60
    assert 0 < result["cpu_seconds"] < 60
    events = [json.loads(line) for line in (tmp_path / "out/ledger.jsonl").read_text().splitlines()]
    assert all(before <= event["time"] <= timers.time() for event in events)


def test_a_submission_that_was_only_checked_leaves_the_process_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, f"import os\nos.chdir('/')\n{STOPPED}    setattr(time, name, lambda: 0.0)\n")
    loading.validate(tmp_path / "meddles")
    assert time.monotonic is timers.monotonic
    assert time.time is timers.time
    assert os.getcwd() == str(tmp_path)  # noqa: PTH109 - the working directory of the process


@pytest.mark.parametrize("moves", [("import os\nos.chdir('/')\n", "pass"), ("", "os.chdir('/')")])
def test_relative_paths_are_relative_to_where_the_command_was_run(chronograd, tmp_path, moves):
    write(tmp_path, *moves)
    (tmp_path / "point.json").write_text('{"learning_rate": 0.1}')
    arguments = ("--hparams", "point.json", "--clock", "steps", "--tuning", "external")
    code, out, err = chronograd("run", "meddles", *QUICK, *arguments)
    assert code == 0, err
    assert record(tmp_path / "out")["result"]["status"] == "step_limit"
    assert "Records in out" in out.splitlines()


def test_a_relative_cache_is_relative_to_where_the_command_was_run(
    chronograd, tmp_path, monkeypatch
):
    monkeypatch.setenv("CHRONOGRAD_CACHE", "cache")
    chronograd("workloads")
    assert os.environ["CHRONOGRAD_CACHE"] == str(tmp_path / "cache")


@pytest.fixture
def homeless(monkeypatch):
    """A user without HOME and without an entry in the password file, as in a container."""

    def unknown(user):
        raise KeyError(f"getpwuid(): uid not found: {user}")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("CHRONOGRAD_CACHE", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_without_a_home_directory_one_line_names_the_variable(chronograd, homeless):
    for command in (("data", "check", "criteo1tb_mini"), ("run", "sgd", "-w", "criteo1tb_mini")):
        code, _, err = chronograd(*command)
        assert code == 2
        (line,) = err.strip().splitlines()
        assert "there is no home directory; set HOME, or CHRONOGRAD_CACHE to a folder" in line
    with pytest.raises(ClusterError, match="Ray needs a home directory; set HOME"):
        nodes.connect(None)


@pytest.mark.parametrize("variable", ["HOME", "CHRONOGRAD_CACHE"])
def test_a_folder_that_cannot_be_created_is_one_line(chronograd, monkeypatch, variable):
    monkeypatch.delenv("CHRONOGRAD_CACHE", raising=False)
    monkeypatch.setenv(variable, "/proc/none")
    code, _, err = chronograd("run", "sgd", "--workload", "criteo1tb_mini")
    assert code == 2
    assert "cannot be used (No such file or directory); set CHRONOGRAD_CACHE" in err
    if variable == "HOME":
        with pytest.raises(ClusterError, match="/proc/none cannot be written; set HOME"):
            nodes.connect(None)


@pytest.mark.parametrize(
    "command",
    [
        ("new", "/proc/none"),
        ("run", "torch.optim.SGD", "--workload", "diabetes", "--out", "/proc/none"),
        ("run", "nadamw", "--workload", "diabetes", "--out", "/proc/none"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_line(chronograd, command):
    code, _, err = chronograd(*command)
    assert code == 2
    (line,) = err.strip().splitlines()
    assert "/proc/none: " in line
    assert "No such file or directory" in line


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265"])
def test_an_address_of_another_kind_names_the_right_one(address):
    with pytest.raises(ClusterError, match=f"--address {address}: give host:port"):
        nodes.connect(address)


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_ray_gets_a_folder_whose_name_is_short_enough(monkeypatch, tmp_path, capsys, variable):
    given = []
    monkeypatch.setattr("ray.init", lambda **options: given.append(options["_temp_dir"]))
    monkeypatch.setenv(variable, str(tmp_path / ("x" * 60)))
    nodes.connect(None)
    (short,) = given
    assert (
        len(short) + len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store") < 107
    )
    assert Path(short).stat().st_mode & 0o777 == 0o700
    assert f"is too long for Ray's sockets; using {short}" in capsys.readouterr().err
    monkeypatch.setenv(variable, "/tmp")
    nodes.connect(None)
    assert given[1] == f"/tmp/chronograd-ray-{os.geteuid()}"
