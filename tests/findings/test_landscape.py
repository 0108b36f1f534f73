"""The loss around weights: against quadratics, and the command on a finished trial."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import workloads
from findings.frame import landscape


class Vector(nn.Module):
    def __init__(self, x):
        super().__init__()
        self.x = nn.Parameter(torch.tensor(x))


def test_eigenvalues_and_gradient_of_a_quadratic():
    model = Vector([1.0, -2.0, 0.5, 3.0])
    scales = torch.tensor([1.0, 7.0, 3.0, 0.1])
    loss = lambda: (scales * model.x**2).sum() / 2  # noqa: E731
    assert landscape.largest_eigenvalues(model, loss, 2) == pytest.approx([7, 3], rel=1e-3)
    assert landscape.gradient(model, loss).tolist() == pytest.approx((scales * model.x).tolist())


def test_a_plane_is_the_loss_at_each_point_and_the_weights_are_restored():
    model = Vector([1.0, 2.0])
    loss = lambda: (model.x**2).sum()  # noqa: E731
    one, two = [torch.tensor([1.0, 0.0])], [torch.tensor([0.0, 1.0])]
    a, b = np.array([-1.0, 0.0, 2.0]), np.array([0.0, 1.0])
    found = landscape.plane(model, loss, (one, two), a, b)
    assert found == pytest.approx((1 + a[:, None]) ** 2 + (2 + b) ** 2)
    assert model.x.tolist() == [1, 2]
    assert landscape.line(model, loss, one, a) == pytest.approx((1 + a) ** 2 + 4)


def test_directions_have_the_norm_of_each_filter():
    model, _ = workloads.get("digits").init_model_fn((0, 0))
    first, again = (landscape.filter_normalised(model, 3) for _ in range(2))
    for weight, direction, same in zip(model.parameters(), first, again, strict=True):
        assert torch.equal(direction, same)
        if weight.dim() < 2:
            assert not direction.any()
        else:
            norms = direction.flatten(1).norm(dim=1)
            assert torch.allclose(norms, weight.detach().flatten(1).norm(dim=1), rtol=1e-5)


def test_the_loss_is_the_mean_over_the_same_examples():
    workload = workloads.get("digits")
    model, _ = workload.init_model_fn((0, 0))
    loss = landscape.fixed_loss(workload, model, 64)
    buffers = {name: b.clone() for name, b in model.named_buffers() if "running" in name}
    assert loss().item() == loss().item()
    assert all(torch.equal(dict(model.named_buffers())[n], b) for n, b in buffers.items())


def test_the_command_draws_a_trial_that_kept_its_weights(chronograd, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    words = ("run", "nadamw", "--workload", "digits", "--ruleset", "demo", "--clock", "steps",
             "--max-steps", "3", "--until", "budget")  # fmt: skip
    assert chronograd(*words, "--out", "kept", "--keep-checkpoint")[0] == 0
    asked = ("trial_1", "--points", "3", "--examples", "32")
    code, _, error = chronograd("landscape", "kept", *asked)
    assert code == 0, error
    folder = tmp_path / "kept/landscape/nadamw/study_0/digits/trial_1"
    result = json.loads((folder / "result.json").read_text())
    assert result["plane"]["losses"][1][1] == pytest.approx(result["loss"], rel=1e-5)
    assert result["eigenvalues"] == sorted(result["eigenvalues"], reverse=True)
    assert (folder / "figure.png").stat().st_size > 10_000
    assert chronograd("score", "kept")[0] == 0  # the folder does not disturb the tree

    assert chronograd(*words, "--out", "other")[0] == 0
    code, _, error = chronograd("landscape", "other", *asked)
    assert code == 2
    assert "--keep-checkpoint" in error
    code, _, error = chronograd("landscape", "other", "trial_7")
    assert code == 2
    assert "no finished trial 'trial_7'" in error
