"""Small workloads train on the GPU as on the CPU, and taking a batch does not wait for it."""

import contextlib
import itertools
import math

import pytest
import torch

import workloads
from harness.spec import ForwardPassMode
from harness.trial.attempt import run_attempt
from scoring.records import Status
from tests.fixtures.small import MINIS
from tests.harness.checkpoint.test_resume import spec_of
from workloads.librispeech.frontend import SpecAugment

NAMES = ["mnist", *workloads.suite("demo"), *(n for n in MINIS if n != "nanogpt_track3_mini")]
COMPILED = {}  # of which the official workload compiles the model, or the loss
for name in NAMES:
    official = workloads.get(name.removesuffix("_mini"))
    if official.compile_model or official.compile_loss:
        COMPILED[name] = official.compile_model, official.compile_loss
CASES = [(name, compile) for name in NAMES for compile in (False, True)[: 1 + (name in COMPILED)]]


@pytest.fixture
def data_dir(mnist):
    return lambda name: mnist if name == "mnist" else None


def load(name, data_dir, device):
    """The workload; of a mini, what the official one compiles is compiled."""
    workload = workloads.get(name, data_dir, device)
    workload.compile_model, workload.compile_loss = COMPILED.get(name, (False, False))
    return workload


@pytest.mark.parametrize(("name", "compile"), CASES)
def test_thirty_steps(name, compile, device, data_dir):
    if name.startswith("librispeech"):
        pytest.importorskip("jiwer")
    spec = spec_of("nadamw", name, data_dir(name), steps=30, device=device, compile=compile)
    result = run_attempt(load, spec)
    assert result.status is Status.STEP_LIMIT, result.traceback
    assert result.global_step == 30
    first, *_, last = (row.metrics for row in result.rows)
    assert all(math.isfinite(value) for key, value in last.items() if "decile" not in key)
    loss = next(key for key in last if key.startswith("train/") and "loss" in key)
    assert last[loss] != first[loss]


def losses(name, data_dir, device):
    """The losses of five steps of gradient descent; all that is random comes from numpy."""
    workload = workloads.get(name, data_dir, device)
    model, _ = workload.init_model_fn(0, 0.0, 0.0)
    for module in model.modules():
        if isinstance(module, SpecAugment):
            module.eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    found = []
    for batch in itertools.islice(workload.build_input_queue(0, "train", 8), 5):
        logits, _ = workload.model_fn(
            params=model, augmented_and_preprocessed_input_batch=batch, model_state=None,
            mode=ForwardPassMode.TRAIN, rng=(0, 0), update_batch_norm=True,
        )  # fmt: skip
        loss = workload.loss_fn(
            label_batch=batch["targets"], logits_batch=logits, mask_batch=batch.get("weights")
        )
        mean = loss["summed"] / loss["n_valid_examples"]
        optimizer.zero_grad()
        mean.backward()
        optimizer.step()
        found.append(mean.item())
    return found


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_those_of_the_cpu(name, device, data_dir):
    exact = {"enabled": True, "benchmark": False, "deterministic": True, "allow_tf32": False}
    with torch.backends.cudnn.flags(**exact):
        found = losses(name, data_dir(name), device)
    assert found == pytest.approx(losses(name, data_dir(name), "cpu"), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_taking_a_batch_does_not_wait_for_the_device(name, device, data_dir):
    workload = workloads.get(name, data_dir(name), device)
    queue = workload.build_input_queue(0, "train", workload.train_batch_size)
    next(queue)
    with waiting_is_an_error(device):
        for _ in range(3):
            next(queue)


@contextlib.contextmanager
def waiting_is_an_error(device):
    if device == "cpu":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
