"""Amos, AdamG and NAG-GS against literal loops of their papers' equations."""

import numpy as np
import pytest

from tests.submissions.toys import Toy, assert_close, optimized


def amos_loop(toy, scales, steps, xi, beta, momentum):
    """Tian and Parikh 2022, section 2, a number a tensor for v and b, then a momentum."""
    weights = toy.start
    v = [0.0] * len(weights)
    b = [0.0] * len(weights)
    m = [np.zeros_like(w) for w in weights]
    for t in range(1, steps + 1):
        gs = toy.gradients(t, weights)
        moved = []
        for i, (w, g, eta) in enumerate(zip(weights, gs, scales, strict=True)):
            v[i] = beta * v[i] + (1 - beta) * np.mean(g**2)
            v_hat = v[i] / (1 - beta**t)
            c = (1 + np.sqrt(xi) / 4 * b[i]) ** -0.5
            d = (1 + np.sqrt(xi * eta) / 4 * b[i]) ** -1.0
            gamma = c * xi**2 / v_hat * np.mean(g**2)
            step = d * (xi * eta / np.sqrt(v_hat) * g + gamma / 2 * w)
            b[i] = b[i] + gamma * (1 + b[i])
            m[i] = momentum * m[i] + (1 - momentum) * step
            moved.append(w - m[i])
        weights = moved
    return weights


def test_amos_follows_its_paper_and_counts_all_inputs_of_a_convolution():
    point = {"learning_rate": 0.1, "one_minus_beta1": 0.2, "beta2": 0.9}
    toy = Toy((4, 3), (2, 3, 2, 2), (5,))
    scales = [np.sqrt(2 / 3), np.sqrt(2 / 12), 0.5]
    expected = amos_loop(toy, scales, 12, 0.1, 0.9, 0.8)
    assert_close(optimized("amos", point, toy, 12), expected)


def adamg_loop(toy, steps):
    """Pan et al. 2024, AdamG: s(v) = 0.2 v^0.24, step sizes 1 / sqrt(k)."""
    b1, b2, b3, p, q, eps = 0.95, 0.999, 0.95, 0.2, 0.24, 1e-8
    (w,) = toy.start
    m, v, r = 0.0, 0.0, 0.0
    for k in range(1, steps + 1):
        (g,) = toy.gradients(k, [w])
        v = b2 * v + (1 - b2) * g**2
        r = b3 * r + (1 - b3) * p * v**q
        m = b1 * m + (1 - b1) * r * g
        m_hat, v_hat = m / (1 - b1**k), v / (1 - b2**k)
        w = w - min(1.0, 1 / np.sqrt(k)) * m_hat / (np.sqrt(v_hat) + eps)
    return [w]


def test_adamg_follows_its_paper():
    toy = Toy((4, 3))
    assert_close(optimized("self_tuning/adamg", {}, toy, 15), adamg_loop(toy, 15))


def nag_gs_loop(toy, steps, alpha, mu, gamma, decay):
    """Leplat et al. 2022, Algorithm 1: x first, then v at the gradient of the new x."""
    x = v = toy.start[0]
    a = alpha / (alpha + 1)
    for k in range(1, steps + 1):
        x = (1 - a) * x + a * v
        (g,) = toy.gradients(k, [x])
        b = alpha * mu / (alpha * mu + gamma)
        v = (1 - b) * v + b * x - b / mu * (g + decay * x)
        gamma = (1 - a) * gamma + a * mu
    return [(1 - a) * x + a * v]  # where the next gradient is taken


@pytest.mark.parametrize(("mu", "gamma"), [(0.1, 1.0), (2.0, 0.5)])
def test_nag_gs_follows_its_paper(mu, gamma):
    point = {"learning_rate": 0.3, "mu": mu, "gamma": gamma, "weight_decay": 0.05}
    toy = Toy((4, 3))
    expected = nag_gs_loop(toy, 12, 0.3, mu, gamma, 0.05)
    assert_close(optimized("nag_gs", point, toy, 12), expected)
