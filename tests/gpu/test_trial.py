"""A trial's clock, memory, processes and checkpoints on the GPU, and the benchmarks there."""

import json
import multiprocessing
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import workloads
from harness.submission import loading
from harness.trial.attempt import Attempt, prepare_process, run_attempt
from harness.trial.clock import WallClock
from harness.trial.loop import run_trial
from harness.trial.process_group import Rendezvous
from scoring.records import Status
from tests import test_benchmarks
from tests.harness.checkpoint.test_resume import spec_of

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from harness.cli import main; main()"]


class CpuEvent:
    """What a CUDA event does, for trying these checks where there is no GPU."""

    def record(self):
        self.at = time.perf_counter()

    def elapsed_time(self, end):
        return 1e3 * (end.at - self.at)


class ObservedClock(WallClock):
    """A submission clock, and events of the device around all that it charges."""

    def __init__(self, device):
        self.on_gpu = device == "cuda"
        super().__init__(torch.cuda.synchronize if self.on_gpu else lambda: None)
        self.stretches, self.began = [], None

    def mark(self):
        event = torch.cuda.Event(enable_timing=True) if self.on_gpu else CpuEvent()
        event.record()
        return event

    def resume(self):
        super().resume()
        self.began = self.mark()

    def pause(self):
        if self.began is not None:
            self.stretches.append((self.began, self.mark()))
            self.began = None
        super().pause()

    def observed(self):
        return sum(began.elapsed_time(end) for began, end in self.stretches) / 1e3


@pytest.mark.parametrize("queued", [0, 20])
def test_the_clock_charges_what_the_device_worked(device, queued):
    spec = spec_of("nadamw", "nanogpt_mini", steps=60, device=device)
    workload = workloads.get("nanogpt_mini", None, device)
    loaded = loading.load(Path(spec.submission_path))
    matrix = torch.rand(*(2 * [2048 if device == "cuda" else 128]), device=device)

    def update_params(**arguments):
        for _ in range(queued):  # the device falls behind, and nobody waits for it
            torch.mm(matrix, matrix)
        return loaded.update_params(**arguments)

    clock = ObservedClock(device)
    prepare_process(spec)
    result = run_trial(
        spec, workload, replace(loaded, update_params=update_params), clock, Attempt()
    )
    assert result.status is Status.STEP_LIMIT, result.traceback
    assert len(clock.stretches) > 1
    assert result.submission_seconds == pytest.approx(clock.observed(), rel=0.02)


def test_peak_memory_is_the_devices(device):
    spec = spec_of("nadamw", "digits", steps=4, device=device)
    loaded = loading.load(Path(spec.submission_path))
    ballast = 2**29

    def update_params(**arguments):
        torch.ones(ballast, dtype=torch.uint8, device=device)
        return loaded.update_params(**arguments)

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    workload = workloads.get("digits", None, device)
    result = run_trial(
        spec, workload, replace(loaded, update_params=update_params), ObservedClock(device),
        Attempt(),
    )  # fmt: skip
    assert result.status is Status.STEP_LIMIT, result.traceback
    assert result.peak_memory_bytes >= ballast
    if device == "cuda":
        assert result.peak_memory_bytes == torch.cuda.max_memory_allocated()
        assert result.peak_memory_bytes < 2 * ballast


def train_in_a_group(spec):
    """A trial as the only process of a group, as every rank of several runs it."""
    prepare_process(spec)
    result = run_attempt(workloads.get, spec, Attempt(), 0, Rendezvous.called(["0"]))
    return result, torch.distributed.get_world_size(), torch.distributed.get_backend_config()


def test_one_process_trains_in_a_group_as_alone(device):
    spec = spec_of("nadamw", "diabetes", steps=8, device=device)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        result, size, backends = pool.submit(train_in_a_group, spec).result()
    assert result.status is Status.STEP_LIMIT, result.traceback
    assert size == 1
    assert ("cuda:nccl" in backends) == (device == "cuda"), backends
    alone = run_attempt(workloads.get, spec)
    assert len(result.rows) == len(alone.rows)
    for one, other in zip(result.rows, alone.rows, strict=True):
        assert one.metrics["train/loss"] == pytest.approx(other.metrics["train/loss"], rel=1e-4)


def events_of(out):
    """The events of a ledger; a line that is being written is left out."""
    file = out / "ledger.jsonl"
    whole = file.read_text().rpartition("\n")[0] if file.is_file() else ""
    return [json.loads(line) for line in whole.splitlines()]


def losses_of(out, attempt=None):
    """The validation loss by step."""
    return {
        event["row"]["global_step"]: event["row"]["metrics"]["validation/loss"]
        for event in events_of(out)
        if event["event"] == "row" and attempt in (None, event["attempt"])
    }


def test_a_trial_that_is_killed_resumes_from_its_checkpoint(device, tmp_path):
    pytest.importorskip("pydantic")
    options = ["--workload", "breast_cancer", "--ruleset", "demo", "--clock", "steps"]
    run = [*COMMAND, "run", "nadamw", *options, "--device", device, "--max-steps", "1000", "--out"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*run, str(whole)], cwd=ROOT, check=True, timeout=300)
    with subprocess.Popen([*run, str(killed)], cwd=ROOT) as process:
        give_up = time.monotonic() + 300
        while time.monotonic() < give_up and process.poll() is None:
            if len(losses_of(killed)) >= 3:
                process.kill()
                break
            time.sleep(0.01)
    subprocess.run([*run, str(killed)], cwd=ROOT, check=True, timeout=300)
    (resumed,) = (event for event in events_of(killed) if event["event"] == "attempt_resumed")
    assert min(losses_of(killed, attempt=2)) > resumed["step"] >= 1
    assert losses_of(killed) == pytest.approx(losses_of(whole), rel=1e-4)


@pytest.mark.parametrize("script", test_benchmarks.ON_A_DEVICE)
def test_benchmarks_run(script, device):
    print(
        test_benchmarks.output_of(script, *test_benchmarks.ON_A_DEVICE[script], "--device", device)
    )
