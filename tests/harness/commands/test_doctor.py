"""`chronograd doctor` on machines in every state."""

import json
import os
import shutil
import socket
from collections import namedtuple
from types import SimpleNamespace

import psutil
import pynvml
import pytest
import torch
from packaging.requirements import Requirement

import workloads
from harness.commands import doctor, machine
from harness.commands.doctor import GIB
from harness.commands.finding import Finding, State
from tests.fixtures.mnist import write_mnist

PROBLEM, _, WARNING, OK = State


def states(checks):
    return [check.state for check in checks]


@pytest.mark.parametrize(
    ("requirement", "found"),
    [
        ("numpy>=2", None),
        ("numpy<1", "not numpy<1"),
        ("no-such-package>=3", "missing, not no-such-package>=3"),
        ("no-such-package; extra == 'dev'", None),
        ("no-such-package; extra == 'run'", "missing, not no-such-package"),
        ("no-such-package; python_version < '3'", None),
    ],
)
def test_a_requirement_that_is_not_met_is_a_problem(requirement, found):
    checks = doctor.unmet([Requirement(requirement)])
    assert states(checks) == ([] if found is None else [PROBLEM])
    assert all(found in check.what and "pip install" in check.fix for check in checks)


def test_this_environment_meets_all_requirements():
    first, *others = doctor.versions()
    assert f"torch {torch.__version__}" in first.what
    assert PROBLEM not in states(others)


@pytest.mark.parametrize(("load", "state"), [(0.4, OK), (2.1, WARNING)])
def test_a_load_of_half_the_cores_is_too_much(monkeypatch, load, state):
    monkeypatch.setattr(machine, "usable_cores", lambda: 4)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert machine.processor().state is state


@pytest.mark.parametrize(("free", "state"), [(5, OK), (3, WARNING)])
def test_memory_is_read_from_the_system(tmp_path, monkeypatch, free, state):
    sizes = {"MemTotal": 16, "MemFree": 1, "MemAvailable": free, "Buffers": 0, "Cached": 0}
    sizes |= {"Shmem": 0, "Active": 1, "Inactive": 1, "SReclaimable": 0}
    lines = [f"{name}: {gib * 2**20} kB" for name, gib in sizes.items()]
    (tmp_path / "meminfo").write_text("\n".join([*lines, "HugePages_Free: 0", ""]))
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    check = machine.memory()
    assert (check.state, check.what) == (state, f"16.0 GiB, {free:.1f} GiB available")


@pytest.fixture
def driver(monkeypatch):
    """Replaces NVIDIA's library, as pynvml calls it.

    A GPU has a name, total MiB and free MiB; no sizes if it does not report them, and no name if it
    does not answer. `fault` is what initialising the library returns.
    """

    def install(*gpus, fault=0, seen=0):
        asked = []

        def set_text(value, text):
            text.value = value.encode()
            return 0

        def set_count(count):
            count._obj.value = len(gpus)
            return 0

        def open_gpu(index, device):
            asked[:] = gpus[index.value]
            return 0 if asked else pynvml.NVML_ERROR_GPU_IS_LOST

        def set_memory(device, info):
            if len(asked) == 1:
                return pynvml.NVML_ERROR_NOT_SUPPORTED
            info._obj.total, info._obj.free = (mib * 2**20 for mib in asked[1:])
            return 0

        library = SimpleNamespace(
            nvmlInitWithFlags=lambda flags: fault,
            nvmlShutdown=lambda: 0,
            nvmlSystemGetDriverVersion=lambda text, length: set_text("570.1", text),
            nvmlDeviceGetCount_v2=set_count,
            nvmlDeviceGetHandleByIndex_v2=open_gpu,
            nvmlDeviceGetName=lambda device, text, length: set_text(asked[0], text),
            nvmlDeviceGetMemoryInfo=set_memory,
        )
        monkeypatch.setattr(pynvml, "nvmlLib", library)
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)

    return install


def test_gpus_with_their_driver_and_memory(driver):
    h100 = "NVIDIA H100 80GB HBM3"
    driver((h100, 81920, 81000), (h100, 81920, 40960), ("NVIDIA GB10",), seen=3)
    checks = machine.gpus()
    assert states(checks) == [OK, WARNING, OK, OK]
    assert checks[1].what == f"{h100}, driver 570.1, 80.0 GiB, 40.0 GiB free"
    assert checks[2].what == "NVIDIA GB10, driver 570.1, memory unknown"
    assert "sees 3 of 3" in checks[3].what


def test_a_gpu_that_is_lost_hides_no_other(driver):
    driver((), ("NVIDIA L4", 23034, 23000), seen=1)
    checks = machine.gpus()
    assert states(checks) == [WARNING, OK, OK]
    assert checks[0].what == "fails: GPU is lost"
    assert "sees 1 of 2" in checks[2].what


def test_gpus_that_torch_does_not_see(driver):
    driver(("NVIDIA L4", 23034, 23000), seen=0)
    checks = machine.gpus()
    assert states(checks) == [OK, WARNING]
    assert "sees 0 of 1" in checks[1].what


def test_a_broken_driver(driver):
    driver(fault=pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    (check,) = machine.gpus()
    assert (check.state, check.what) == (WARNING, "the NVIDIA driver fails: Driver Not Loaded")


def test_no_driver(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", missing)
    (check,) = machine.gpus()
    assert (check.state, check.what) == (OK, "none: trials train on the CPU")


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(("gib", "state"), [(10.5, OK), (9.5, WARNING), (0.9, PROBLEM)])
def test_little_free_space_on_a_disk(monkeypatch, tmp_path, gib, state):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, gib * GIB))
    check = machine.disk("data", tmp_path / "made" / "later")
    assert (check.state, f"{gib:.1f} GiB free" in check.what) == (state, True)
    assert bool(check.fix) == (state is not OK)


def test_folders_that_are_missing_or_cannot_be_written(monkeypatch, tmp_path):
    absent = tmp_path / "absent"
    assert machine.disk("data", absent, must_exist=True).state is PROBLEM
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    check = machine.disk("checkpoints", absent)
    assert (check.state, "not writable" in check.what) == (PROBLEM, True)


def test_data_by_workload(tmp_path):
    def look(data_dir, needed):
        checks = doctor.datasets(workloads.get, ["digits", "mnist"], data_dir, needed=needed)
        assert (checks[0].check, checks[0].state) == ("data", OK)
        assert checks[0].what.startswith("digits: need no files")
        return checks[1]

    unsought = look(None, needed=False)
    assert (unsought.state, unsought.what.startswith("mnist: need files")) == (OK, True)
    assert look(None, needed=True).state is PROBLEM
    missing = look(tmp_path, needed=False)
    assert (missing.where, missing.state) == ("mnist", WARNING)
    assert f"{tmp_path}/train-images-idx3-ubyte: no such file" in missing.what
    write_mnist(tmp_path)
    assert look(tmp_path, needed=True) == Finding("data", "mnist", OK, f"found in {tmp_path}")


def test_a_workload_that_cannot_be_loaded_is_a_problem():
    def load(name, data_dir, device):
        raise ImportError("no module named chess")

    (check,) = doctor.datasets(load, ["theirs"], None, needed=True)
    assert check.state is PROBLEM
    assert check.what == "cannot be checked: ImportError: no module named chess"


def test_nodes_of_a_cluster():
    h100 = {"CPU": 16.0, "GPU": 8.0, "memory": 64 * GIB, "accelerator_type:H100": 1.0}
    head = {"CPU": 4.0, "memory": 8 * GIB}
    idle = doctor.nodes([("head", head), ("a", h100)], {"CPU": 20.0, "GPU": 8.0})
    assert states(idle) == [OK, OK]
    assert idle[1] == Finding("Ray", "a", OK, "16 CPUs, 8 GPUs H100, 64.0 GiB")
    l4 = {**h100, "accelerator_type:L4": 1.0}
    del l4["accelerator_type:H100"]
    mixed = doctor.nodes([("a", h100), ("b", l4)], {"CPU": 30.0, "GPU": 16.0})
    assert states(mixed) == [OK, OK, WARNING, WARNING]
    assert mixed[2].what == "2 of 32 CPUs are in use"
    assert mixed[3].what == "GPUs differ: H100, L4"


def test_an_address_without_a_cluster():
    (check,) = doctor.cluster("127.0.0.1:1")
    assert check.state is PROBLEM
    assert check.what.startswith("no Ray cluster at 127.0.0.1:1: ")


def test_a_server_that_never_answers_does_not_hang_the_command(monkeypatch):
    monkeypatch.setattr(doctor, "ANSWER_SECONDS", 3.0)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        (check,) = doctor.cluster(address)
    assert (check.state, check.what) == (PROBLEM, f"{address}: no answer in 3 s")


@pytest.mark.ray
def test_a_real_cluster(address):
    checks = doctor.cluster(address)
    assert checks[0].state is OK
    assert "2 CPUs, 2 GPUs" in checks[0].what


@pytest.mark.parametrize(("second", "state"), [(0.00109, OK), (0.0012, WARNING)])
def test_steps_that_differ_from_process_to_process(second, state):
    check = doctor.steps("adam on toy", [0.001, second])
    assert check.state is state
    assert check.what.startswith("adam on toy: 1 ms and ")


def test_the_command_checks_everything_and_exits_1_for_a_problem(chronograd):
    code, out, _ = chronograd("doctor", "-w", "digits", "-w", "mnist", "--json")
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert code == 1
    assert [name for name, check in checks.items() if check["state"] == "problem"] == [
        "data: mnist"
    ]
    assert checks.keys() >= {"versions", "CPU", "memory", "data", "step time"}
    assert "nadamw on digits" in checks["step time"]["found"]
    assert "ms per step" in checks["step time"]["found"]
    assert all(check["state"] == "ok" or check["advice"] for check in checks.values())


def test_warnings_exit_0_and_a_broken_probe_is_a_problem(chronograd, monkeypatch):
    probe = "harness.executors.local.LocalExecutor.time_baseline"
    monkeypatch.setattr(os, "getloadavg", lambda: (1000.0, 0.0, 0.0))
    monkeypatch.setattr(probe, lambda self, spec: {"here": 0.001})
    code, out, _ = chronograd("doctor", "-w", "digits")
    assert (code, "end it, or wait" in out) == (0, True)

    def broken(self, spec):
        raise RuntimeError("CUDA error: no kernel image")

    monkeypatch.setattr(probe, broken)
    code, out, _ = chronograd("doctor", "-w", "digits")
    assert (code, "no kernel image" in out) == (1, True)
