"""Muon, AdEMAMix, cautious NadamW and DiLoCo against literal loops in float64."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from torch import zeros_like as zeros

from harness.submission import loading
from submissions import muon as muons
from tests.submissions import problem
from tests.submissions.problem import assert_same, learning_rate, literal, points, start, trained
from tests.submissions.test_special_references import nadam, newton_schulz

NUMBERS = pytest.mark.parametrize("number", range(5))


def adam_moments(g, s, beta1, beta2):
    s.m = beta1 * getattr(s, "m", 0) + (1 - beta1) * g
    s.v = beta2 * getattr(s, "v", 0) + (1 - beta2) * g**2


def adamw(w, g, s, t, lr, h, beta1=None):
    """Loshchilov and Hutter 2019, algorithm 2."""
    beta1 = 1 - h.one_minus_beta1 if beta1 is None else beta1
    adam_moments(g, s, beta1, h.beta2)
    step = s.m / (1 - beta1**t) / ((s.v / (1 - h.beta2**t)).sqrt() + 1e-8)
    return w - lr * h.weight_decay * w - lr * step


def muon(w, g, s, t, lr, h):
    """Jordan et al. 2024 for the hidden matrix, scaled by Liu et al. 2025, eq. 4; else AdamW."""
    if s.name != "hidden.weight":
        return adamw(w, g, s, t, lr, h, beta1=0.9)
    momentum = 1 - h.one_minus_beta1
    s.m = momentum * getattr(s, "m", 0) + (1 - momentum) * g
    o = newton_schulz(momentum * s.m + (1 - momentum) * g)
    return w - lr * h.weight_decay * w - lr * 0.2 * max(w.shape) ** 0.5 * o


def ademamix(w, g, s, t, lr, h):
    """Pagliardini et al. 2024, algorithm 1, with the schedulers of its appendix."""
    beta1, beta2, beta3 = 1 - h.one_minus_beta1, h.beta2, h.beta3
    warmup = round(h.slow_warmup_factor * problem.STEP_HINT)
    alpha = min(t * h.alpha / warmup, h.alpha)
    part = t / warmup
    logs = math.log(beta1) * math.log(beta3)
    beta3_t = min(math.exp(logs / ((1 - part) * math.log(beta3) + part * math.log(beta1))), beta3)
    adam_moments(g, s, beta1, beta2)
    s.slow = beta3_t * getattr(s, "slow", zeros(w)) + (1 - beta3_t) * g
    above = s.m / (1 - beta1**t) + alpha * s.slow
    below = (s.v / (1 - beta2**t)).sqrt() + 1e-8
    return w - lr * (above / below + h.weight_decay * w)


def cautious_nadam(w, g, s, t, lr, h):
    """Liang et al. 2024, algorithm 1, around Dozat's NAdam."""
    u = w - nadam(w, g, s, t, lr, SimpleNamespace(**{**vars(h), "weight_decay": 0.0}))
    mask = (u * g > 0).double()
    w = w - u * mask * u.numel() / (mask.sum() + 1)
    return w - lr * h.weight_decay * w


@NUMBERS
def test_ademamix(number):
    point = points("ademamix")[number]
    assert_same(trained("ademamix", point), literal(ademamix, point))


@NUMBERS
def test_the_slow_average_is_warm_within_the_step_hint(number):
    folder = loading.find("ademamix")
    optimizer = loading.load(folder).init_optimizer_state(
        problem.workload(1000), problem.model(), None, points("ademamix")[number], None
    )["optimizer"]
    assert 0 < optimizer.param_groups[0]["t_alpha_beta3"] <= 1000


@NUMBERS
def test_cautious_nadamw(number):
    point = points("cautious_nadamw")[number]
    assert_same(trained("cautious_nadamw", point), literal(cautious_nadam, point))


@NUMBERS
def test_sharded_muon_alone(number):
    point = points("muon_sharded")[number]
    assert_same(trained("muon_sharded", point), literal(muon, point), rtol=1e-6, atol=1e-9)


@NUMBERS
def test_muon_of_torch(number):
    point = points("torch_muon")[number]
    ours, expected = trained("torch_muon", point), literal(muon, point)
    for name, w in start().items():
        moved = (expected[name] - w).abs().max().item()
        # torch's Newton-Schulz runs in bfloat16, of 8 bits
        tolerance = 0.03 * moved if name == "hidden.weight" else 0.001 * moved
        torch.testing.assert_close(ours[name], expected[name], rtol=0, atol=tolerance)


@pytest.mark.parametrize(("round_factor", "period"), [(0.01, 1), (0.2, 3), (0.34, 5)])
def test_diloco(round_factor, period):
    """Douillard et al. 2023, algorithm 1, with one worker; PyTorch's form of Nesterov momentum."""
    point = SimpleNamespace(**{**vars(points("diloco")[0]), "round_factor": round_factor})
    weights, anchor = start(), start()
    memory = {name: SimpleNamespace() for name in weights}
    velocity = {name: zeros(w) for name, w in weights.items()}
    for step in range(problem.STEPS):
        grads = problem.gradients(weights, step)
        for name, w in weights.items():
            lr = learning_rate(step, point)
            weights[name] = adamw(w, grads[name], memory[name], step + 1, lr, point)
        if (step + 1) % period == 0:
            for name, w in weights.items():
                delta = anchor[name] - w
                velocity[name] = point.outer_momentum * velocity[name] + delta
                outer = delta + point.outer_momentum * velocity[name]
                anchor[name] = anchor[name] - point.outer_learning_rate * outer
                weights[name] = anchor[name]
    assert_same(trained("diloco", point), weights)


def test_newton_schulz_computes_in_what_the_machine_has(monkeypatch):
    for native, expected in ((False, torch.float32), (True, torch.bfloat16)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        p = torch.ones(3, 2, requires_grad=True)
        optimizer = muons.ShardedMuon([p], lr=0.1, momentum=0.9, weight_decay=0.0)
        assert optimizer.state_dict()["param_groups"][0]["working_type"] == str(expected)
        assert muons.working_type(p) == expected
    assert muons.working_type(p.double()) == torch.float64


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_singular_values_become_about_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = torch.linalg.svdvals(muons.orthogonalised(matrix))
    assert ((values > 0.5) & (values < 1.5)).all()
    torch.testing.assert_close(muons.orthogonalised(matrix), newton_schulz(matrix))


def test_matrices_are_shared_out_by_what_they_cost():
    shapes = [torch.Size(s) for s in ((10, 10), (2, 2), (8, 10), (10, 10), (3, 3))]
    owner = muons.owners(shapes, 2)
    assert {owner[0], owner[3]} == {0, 1}
    costs = [min(s) ** 2 * max(s) for s in shapes]
    loads = [sum(c for c, o in zip(costs, owner, strict=True) if o == rank) for rank in (0, 1)]
    assert max(loads) < 0.7 * sum(costs)
    assert muons.owners(shapes, 1) == [0] * 5


def test_two_optimizers_are_one():
    a, b = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    both = muons.Both(torch.optim.SGD([a], lr=1.0), torch.optim.Adam([b], lr=1.0))
    torch.optim.lr_scheduler.LambdaLR(both, lambda step: 0.5)
    a.grad, b.grad = torch.ones(3), torch.ones(3)
    both.step()
    torch.testing.assert_close(a.detach(), torch.full((3,), 0.5))
    torch.testing.assert_close(b.detach(), torch.full((3,), 0.5))
    kept = copy.deepcopy(both.state_dict())
    c, d = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    other = muons.Both(torch.optim.SGD([c], lr=9.0), torch.optim.Adam([d], lr=9.0))
    other.load_state_dict(kept)
    with torch.no_grad():
        c.copy_(a), d.copy_(b)
    for x, y in ((a, c), (b, d)):
        x.grad, y.grad = torch.full((3,), 0.3), torch.full((3,), 0.3)
    both.step(), other.step()
    assert torch.equal(a, c)
    assert torch.equal(b, d)
