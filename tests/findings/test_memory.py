"""The account of memory agrees with sums by hand and with what the allocator says."""

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import workloads
from findings.frame import memory
from harness.cli import app
from harness.submission import loading
from scoring.files import parse_json

POINT = {
    "learning_rate": 0.01, "one_minus_beta1": 0.1, "beta2": 0.99, "weight_decay": 0.0,
    "warmup_factor": 0.05,
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "digits",
        "nanogpt_mini",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("cifar_mini", "wmt_mini")),
    ],
)
def test_counted_and_measured_agree(name):
    arguments = (workloads.get(name), loading.load(loading.find("adamw")), POINT, 16)
    counted, measured = memory.count(*arguments), memory.measure(*arguments)
    parameters = sum(p.numel() for p in arguments[0].init_model_fn((0, 0))[0].parameters())
    assert counted.weights == measured.weights >= 4 * parameters
    assert counted.gradients == measured.gradients == 4 * parameters
    assert counted.state == pytest.approx(measured.state, rel=0.01)
    assert counted.state == pytest.approx(8 * parameters, rel=0.02)
    assert counted.activations == pytest.approx(measured.activations, rel=0.1)
    assert counted.kept == pytest.approx(measured.kept, rel=0.1)


def test_activations_of_a_perceptron_by_hand():
    model = nn.Sequential(nn.Linear(10, 20), nn.Tanh(), nn.Linear(20, 5))
    inputs = torch.randn(7, 10)
    found = memory.saved_by(model, lambda: model(inputs).square().sum(), [inputs])
    hidden, output = 4 * 7 * 20, 4 * 7 * 5
    assert found[0] == hidden + output


def test_half_precision_halves_the_weights_and_batches_add_activations():
    workload, submission = workloads.get("nanogpt_mini"), loading.load(loading.find("adamw"))
    full = memory.count(workload, submission, POINT, 4)
    half = memory.count(workload, submission, POINT, 4, torch.bfloat16)
    double = memory.count(workload, submission, POINT, 8)
    assert 2 * half.weights == full.weights
    assert double.activations == pytest.approx(2 * full.activations, rel=0.001)


def test_the_command_prints_both_columns():
    called = CliRunner().invoke(app, ["memory", "digits", "torch.optim.Adam", "--batch-size", "8",
                                      "--hparams", '{"lr": 0.1}'])  # fmt: skip
    assert called.exit_code == 0, called.output
    assert "optimizer state" in called.output
    called = CliRunner().invoke(app, ["memory", "digits", "adamw", "--json"])
    found = parse_json(called.stdout)
    assert found["counted"]["weights"] == found["measured"]["weights"]
