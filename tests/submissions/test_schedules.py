"""Schedules against their formulas, and against torch's own schedulers where it has them."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from submissions import schedules

PEAK = 0.3

# The factor after t of T steps since a warm-up of w steps, as the papers write it.
FORMULAS = {
    "constant": lambda t, T, w: 1.0,
    "linear": lambda t, T, w: 1 - t / T,
    "exponential": lambda t, T, w: 0.01 ** (t / T),
    "cosine": lambda t, T, w: 0.5 * (1 + math.cos(math.pi * t / T)),
    "wsd": lambda t, T, w: wsd(t, T, max(1, int(0.2 * T))),
    "sqrt": lambda t, T, w: (max(1, w) / (max(1, w) + t)) ** 0.5,
}


def wsd(t, steps, decay):
    """Hägele et al. 2024: constant, then 1 - sqrt((n - (N - N_decay)) / N_decay)."""
    return 1.0 if t <= steps - decay else 1 - math.sqrt((t - (steps - decay)) / decay)


def warming(step, warmup):
    return 1e-10 + (1 - 1e-10) * step / warmup


def make(name, horizon, **hyperparameters):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    schedule = schedules.SCHEDULES[name](optimizer, SimpleNamespace(**hyperparameters), horizon)
    return optimizer, schedule


def rates(optimizer, schedule, steps):
    """The learning rate at each step."""
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_every_schedule_with_a_formula_is_listed():
    assert schedules.SCHEDULES.keys() == FORMULAS.keys() | {"none", "cyclic"}
    optimizer, schedule = make("none", 10)
    assert schedule is None
    assert optimizer.param_groups[0]["lr"] == PEAK


@pytest.mark.parametrize("name", FORMULAS)
@settings(deadline=None, max_examples=25)
@given(horizon=st.integers(4, 120), part=st.floats(0.0, 0.5))
def test_a_schedule_follows_its_formula_after_a_linear_warmup(name, horizon, part):
    warmup = max(1, int(part * horizon))
    steps = horizon - warmup
    expected = [
        PEAK * (warming(n, warmup) if n < warmup else FORMULAS[name](n - warmup, steps, warmup))
        for n in range(horizon)
    ]
    found = rates(*make(name, horizon, warmup_factor=part), horizon)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_without_a_warmup_factor_a_schedule_begins_at_its_formula(name):
    expected = [PEAK * FORMULAS[name](n, 30, 0) for n in range(30)]
    assert rates(*make(name, 30), 30) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("constant", lambda o: lr_scheduler.ConstantLR(o, 1.0)),
        ("linear", lambda o: lr_scheduler.PolynomialLR(o, 24, power=1.0)),
        ("exponential", lambda o: lr_scheduler.ExponentialLR(o, 0.01 ** (1 / 24))),
        ("cosine", lambda o: lr_scheduler.CosineAnnealingLR(o, 24)),
        ("cyclic", lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 8)),
    ],
)
def test_a_schedule_is_torchs_own_where_it_has_one(name, theirs):
    optimizer, _ = make("none", 24)
    expected = rates(optimizer, theirs(optimizer), 24)
    found = rates(*make(name, 24, cycles=3), 24)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(cycles=st.integers(1, 5), length=st.integers(5, 20))
@settings(deadline=None, max_examples=25)
def test_cyclic_is_the_cosine_with_its_warmup_over_and_over(cycles, length):
    horizon = cycles * length
    once = rates(*make("cosine", length, warmup_factor=0.2), length)
    found = rates(*make("cyclic", horizon, warmup_factor=0.2, cycles=cycles), horizon)
    assert found == pytest.approx(once * cycles, rel=1e-9, abs=1e-12)


def test_hyperparameters_shape_the_fall():
    assert rates(*make("exponential", 30, end_factor=0.5), 31)[-1] == pytest.approx(PEAK * 0.5)
    expected = [PEAK * wsd(t, 30, 15) for t in range(30)]
    assert rates(*make("wsd", 30, decay_factor=0.5), 30) == pytest.approx(expected)


def test_every_group_keeps_its_part():
    weights = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    groups = [{"params": weights[:1]}, {"params": weights[1:], "lr": PEAK / 10}]
    optimizer = torch.optim.SGD(groups, lr=PEAK)
    schedule = schedules.cosine(optimizer, SimpleNamespace(warmup_factor=0.1), 20)
    for _ in range(20):
        first, second = (group["lr"] for group in optimizer.param_groups)
        assert second == pytest.approx(first / 10)
        optimizer.step()
        schedule.step()


def test_learning_rates_scale_with_the_batch():
    assert schedules.linear_scaling(0.1, 1024, 256) == pytest.approx(0.4)  # Goyal et al. 2017
    assert schedules.sqrt_scaling(0.1, 1024, 256) == pytest.approx(0.2)  # Malladi et al. 2022
    assert schedules.sqrt_scaling(0.1, 64, 256) == pytest.approx(0.05)
