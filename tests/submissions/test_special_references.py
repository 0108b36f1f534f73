"""Submissions that look at all parameters, at their kinds or at the time, against their papers."""

from types import SimpleNamespace

import pytest
import torch
from torch import zeros_like as zeros

from tests.submissions import problem
from tests.submissions.problem import (
    assert_same,
    gradients,
    learning_rate,
    literal,
    points,
    start,
    trained,
)

LONG = {"steps": 60, "step_hint": 100}  # Prodigy's estimate takes its time
LONG_HORIZON = 75


def prodigy(point, beta1, rate, average=None):
    """Mishchenko and Defazio 2024, algorithm 4 (Adam's version), without bias correction.

    `rate(step)` is gamma; the denominator leaves it out, as safeguard_warmup does. `average` is
    Defazio et al. 2024, eq. 3 to 5: (beta, weights of the average from the rates so far).
    """
    x, z = start(), start()
    first, m, v, s = start(), *({n: zeros(w) for n, w in x.items()} for _ in range(3))
    r, d, total, largest = 0.0, 1e-6, 0.0, 0.0
    beta2, beta3 = point.beta2, point.beta2**0.5
    for step in range(LONG["steps"]):
        gamma = rate(step)
        g = gradients({n: average * x[n] + (1 - average) * z[n] for n in x} if average else z, step)
        r = beta3 * r + gamma * d * d * sum((g[n] * (first[n] - z[n])).sum().item() for n in g)
        safe = 1.0 if point.safeguard else gamma
        s = {n: beta3 * s[n] + safe * d * d * g[n] for n in s}
        m = {n: beta1 * m[n] + (1 - beta1) * d * g[n] for n in m}
        v = {n: beta2 * v[n] + (1 - beta2) * d**2 * g[n] ** 2 for n in v}
        following = max(d, point.d_coef * r / sum(w.abs().sum().item() for w in s.values()))
        for n in z:
            z[n] = z[n] - gamma * d * point.weight_decay * z[n]
            z[n] = z[n] - gamma * d * m[n] / (v[n].sqrt() + following * 1e-8)
        d = following
        if average:
            largest = max(largest, gamma * d)
            total += largest**2
            x = {n: x[n] + (z[n] - x[n]) * largest**2 / total for n in x}
    assert d > 1e-5
    return x if average else z


@pytest.fixture
def double():
    """Prodigy's sums in float64: its estimate doubles what it errs at every early step."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("number", range(5))
@pytest.mark.usefixtures("double")
def test_prodigy(number):
    point = points("prodigy")[number]
    expected = prodigy(
        SimpleNamespace(**vars(point), safeguard=True),
        beta1=1 - point.one_minus_beta1,
        rate=lambda step: learning_rate(step, point, LONG_HORIZON),
    )
    assert_same(trained("prodigy", point, **LONG), expected)


def test_self_tuning_prodigy_is_the_first_point():
    first = trained("external_tuning/prodigy", points("prodigy")[0])
    for name, w in trained("self_tuning/prodigy", None).items():
        assert torch.equal(w, first[name])


@pytest.mark.parametrize("number", range(5))
@pytest.mark.usefixtures("double")
def test_schedule_free_prodigy_averages_prodigy_without_momentum(number):
    point = points("schedule_free_prodigy")[number]
    expected = prodigy(
        SimpleNamespace(**vars(point), safeguard=False),
        beta1=0.0,
        rate=lambda step: 1.0,
        average=1 - point.one_minus_beta1,
    )
    ours = trained("schedule_free_prodigy", point, **LONG)
    assert_same(ours, expected)


def muon(w, g, s, t, lr, h):
    """Jordan et al. 2024 for the hidden matrix, scaled by Liu et al. 2025, eq. 4; else AdamW."""
    w = w - lr * h.weight_decay * w
    if s.name == "hidden.weight":
        momentum = 1 - h.one_minus_beta1
        s.m = momentum * getattr(s, "m", 0) + (1 - momentum) * g
        o = newton_schulz(momentum * s.m + (1 - momentum) * g)
        return w - lr * 0.2 * max(w.shape) ** 0.5 * o
    s.m = 0.9 * getattr(s, "m", 0) + 0.1 * g
    s.v = h.beta2 * getattr(s, "v", 0) + (1 - h.beta2) * g**2
    return w - lr * s.m / (1 - 0.9**t) / ((s.v / (1 - h.beta2**t)).sqrt() + 1e-10)


def newton_schulz(x):
    """Five times a x + b (x x') x + c (x x')^2 x, which drives singular values to about 1."""
    x = x / x.norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


@pytest.mark.parametrize("number", range(5))
def test_muon_for_the_hidden_matrix_and_adamw_for_the_rest(number):
    point = points("muon")[number]
    ours, expected = trained("muon", point), literal(muon, point)
    inner = {n for n in ours if n == "hidden.weight"}
    for n, w in start().items():
        # Newton-Schulz runs in bfloat16, of 8 bits
        moved = (expected[n] - w).abs().max().item()
        tolerance = 0.03 * moved if n in inner else 0.001 * moved
        torch.testing.assert_close(ours[n], expected[n], rtol=0, atol=tolerance)


def nadam(w, g, s, t, lr, h):
    """Dozat 2016, with the schedule of mu that it proposes, and decoupled weight decay."""
    beta1 = 1 - h.one_minus_beta1
    now, then = (beta1 * (1 - 0.5 * 0.96 ** (0.004 * n)) for n in (t, t + 1))
    s.product = getattr(s, "product", 1.0) * now
    s.m = beta1 * getattr(s, "m", 0) + (1 - beta1) * g
    s.v = h.beta2 * getattr(s, "v", 0) + (1 - h.beta2) * g**2
    below = (s.v / (1 - h.beta2**t)).sqrt() + 1e-8
    ahead = (1 - now) * g / (1 - s.product) + then * s.m / (1 - s.product * then)
    return w - lr * h.weight_decay * w - lr * ahead / below


@pytest.mark.parametrize("number", range(5))
def test_cyclic_lr_is_nadamw_whose_warmup_and_cosine_come_again(number):
    point = points("cyclic_lr")[number]
    length = -(-problem.HORIZON // point.cycles)

    def rate(step, h):
        return learning_rate(step % length, h, length)

    assert_same(trained("cyclic_lr", point), literal(nadam, point, rate=rate))


@pytest.mark.parametrize(("steps", "run"), [(4, 0), (9, 1), (15, 2), (19, 2)])
def test_nadamw_sequential_is_nadamw_three_times_from_the_start(steps, run):
    part = 5  # a third of the horizon
    point = points("nadamw")[run]
    after = min(steps - run * part, part)  # the rate is zero after the last run
    weights = sequential_reference(point, run * part, after, part)
    assert_same(trained("self_tuning/nadamw_sequential", None, steps=steps), weights)


def sequential_reference(point, skipped, steps, horizon):
    """NadamW from the start on the batches after so many."""
    weights = start()
    memory = {n: SimpleNamespace() for n in weights}
    for step in range(steps):
        grads = gradients(weights, skipped + step)
        lr = learning_rate(step, point, horizon)
        weights = {
            n: nadam(w, grads[n], memory[n], step + 1, lr, point) for n, w in weights.items()
        }
    return weights
