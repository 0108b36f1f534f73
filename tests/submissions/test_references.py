"""Submissions against the equations of their papers, one tensor at a time, in float64.

In every rule: `w` the weights, `g` their gradient, `s` the rule's memory (empty at first), `t` the
step from 1, `lr` the learning rate, `h` the hyperparameters.
"""

import pytest
import torch
from torch import zeros_like as zeros

from tests.submissions.problem import assert_same, literal, points, trained


def memory(s, w, *names):
    """What a rule remembers, zero at first."""
    for name in names:
        if not hasattr(s, name):
            setattr(s, name, zeros(w))


def moments(w, g, s, h):
    """Kingma and Ba 2015, algorithm 1: m_t and v_t."""
    beta1, beta2 = 1 - h.one_minus_beta1, h.beta2
    memory(s, w, "m", "v")
    s.m = beta1 * s.m + (1 - beta1) * g
    s.v = beta2 * s.v + (1 - beta2) * g**2
    return beta1, beta2


def adam(w, g, s, t, lr, h):
    """Kingma and Ba 2015, algorithm 1, with the gradient of weight_decay / 2 |w|^2."""
    beta1, beta2 = moments(w, g + h.weight_decay * w, s, h)
    return w - lr * s.m / (1 - beta1**t) / ((s.v / (1 - beta2**t)).sqrt() + 1e-8)


def amsgrad(w, g, s, t, lr, h):
    """Reddi et al. 2018, algorithm 2: the largest v so far; biases corrected."""
    beta1, beta2 = moments(w, g + h.weight_decay * w, s, h)
    s.largest = torch.maximum(getattr(s, "largest", zeros(w)), s.v)
    return w - lr * s.m / (1 - beta1**t) / ((s.largest / (1 - beta2**t)).sqrt() + 1e-8)


def nadamp(w, g, s, t, lr, h):
    """Dozat 2016 with constant beta1; the p-th root in the place of the square root."""
    beta1, beta2 = moments(w, g, s, h)
    ahead = (beta1 * s.m + (1 - beta1) * g) / (1 - beta1**t)
    below = (s.v / (1 - beta2**t)) ** (1 / h.root) + 1e-8
    return w - lr * h.weight_decay * w - lr * ahead / below


def qhadam(w, g, s, t, lr, h):
    """Ma and Yarats 2019: m and v discounted by nu1 and nu2; decoupled weight decay."""
    beta1, beta2 = moments(w, g, s, h)
    above = (1 - h.nu1) * g + h.nu1 * s.m / (1 - beta1**t)
    below = (1 - h.nu2) * g**2 + h.nu2 * s.v / (1 - beta2**t)
    return w - lr * h.weight_decay * w - lr * above / (below.sqrt() + 1e-8)


def adagrad(w, g, s, t, lr, h):
    """Duchi et al. 2011, diagonal matrices: the sum of squares."""
    g = g + h.weight_decay * w
    memory(s, w, "G")
    s.G = s.G + g**2
    return w - lr * g / (s.G.sqrt() + 1e-10)


def rmsprop(w, g, s, t, lr, h):
    """Tieleman and Hinton 2012: the mean square; momentum on the scaled gradient."""
    g = g + h.weight_decay * w
    memory(s, w, "v", "step")
    s.v = h.beta2 * s.v + (1 - h.beta2) * g**2
    s.step = (1 - h.one_minus_beta1) * s.step + g / (s.v.sqrt() + 1e-8)
    return w - lr * s.step


def adadelta(w, g, s, t, lr, h):
    """Zeiler 2012, algorithm 1, eq. 10 and 14."""
    g = g + h.weight_decay * w
    memory(s, w, "g2", "x2")
    s.g2 = h.rho * s.g2 + (1 - h.rho) * g**2
    change = -((s.x2 + h.epsilon).sqrt() / (s.g2 + h.epsilon).sqrt()) * g
    s.x2 = h.rho * s.x2 + (1 - h.rho) * change**2
    return w + lr * change


def adafactor(w, g, s, t, lr, h):
    """Shazeer and Stern 2018, algorithms 4 and 5, section 9's beta2 and relative step sizes."""
    beta2, rho = 1 - t**-0.8, min(lr, t**-0.5)
    alpha = max(1e-3, w.pow(2).mean().sqrt()) * rho
    if w.ndim == 2:
        rows, columns = (g**2).mean(1), (g**2).mean(0)  # the algorithm's sums, over n and m
        s.R = beta2 * getattr(s, "R", 0) + (1 - beta2) * rows
        s.C = beta2 * getattr(s, "C", 0) + (1 - beta2) * columns
        v = torch.outer(s.R, s.C) / s.R.mean()
    else:
        memory(s, w, "V")
        s.V = v = beta2 * s.V + (1 - beta2) * g**2
    u = g / v.sqrt()
    u = u / max(1.0, u.pow(2).mean().sqrt())
    return w - lr * h.weight_decay * w - alpha * u


def adopt(w, g, s, t, lr, h):
    """Taniguchi et al. 2024, clipped: v_0 from the first gradient, then its step comes before v."""
    beta1 = 1 - h.one_minus_beta1
    w = w - lr * h.weight_decay * w
    if t == 1:
        s.m, s.v = zeros(w), g**2
        return w
    clip = (t - 1) ** 0.25
    normed = (g / s.v.sqrt().clamp(min=1e-6)).clamp(-clip, clip)
    s.m = beta1 * s.m + (1 - beta1) * normed
    s.v = h.beta2 * s.v + (1 - h.beta2) * g**2
    return w - lr * s.m


def mars(w, g, s, t, lr, h):
    """Yuan et al. 2024, algorithm 2 (approximate); AdamW for vectors."""
    memory(s, w, "last")
    beta1, beta2, c = 1 - h.one_minus_beta1, h.beta2, g
    if w.ndim == 2:
        c = g + h.gamma * beta1 / (1 - beta1) * (g - s.last)
        c = c / max(1.0, c.norm())
    else:
        beta1, beta2 = 0.9, 0.95
        h.one_minus_beta1, h.beta2 = 1 - beta1, beta2
    s.last = g
    moments(w, c, s, h)
    step = s.m / (1 - beta1**t) / ((s.v / (1 - beta2**t)).sqrt() + 1e-8)
    return w - lr * (step + h.weight_decay * w)


def sgd(w, g, s, t, lr, h):
    """Robbins and Monro 1951, with the gradient of weight_decay / 2 |w|^2."""
    return w - lr * (g + h.weight_decay * w)


def lion(w, g, s, t, lr, h):
    """Chen et al. 2023, algorithm 2."""
    c = lion_direction(w, g, s, h)
    return w - lr * (c.sign() + h.weight_decay * w)


def lion_direction(w, g, s, h):
    memory(s, w, "m")
    beta1, m = 1 - h.one_minus_beta1, s.m
    s.m = h.beta2 * m + (1 - h.beta2) * g
    return beta1 * m + (1 - beta1) * g


def cautious(w, u, g, lr, h):
    """Liang et al. 2024, the one line: u * (u * g > 0), rescaled by d / (nnz + 1)."""
    mask = (u * g > 0).double()
    w = w - lr * u * mask * u.numel() / (mask.sum() + 1)
    return w - lr * h.weight_decay * w


def cautious_adamw(w, g, s, t, lr, h):
    beta1, beta2 = moments(w, g, s, h)
    u = s.m / (1 - beta1**t) / ((s.v / (1 - beta2**t)).sqrt() + 1e-8)
    return cautious(w, u, g, lr, h)


def cautious_lion(w, g, s, t, lr, h):
    return cautious(w, lion_direction(w, g, s, h).sign(), g, lr, h)


RULES = {
    "adadelta": adadelta, "adafactor": adafactor, "adagrad": adagrad, "adam": adam,
    "adopt": adopt, "amsgrad": amsgrad, "cautious_adamw": cautious_adamw,
    "cautious_lion": cautious_lion, "generalized_adam": qhadam, "lion": lion, "mars": mars,
    "nadamp": nadamp, "rmsprop": rmsprop, "sgd": sgd,
}  # fmt: skip


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("name", RULES)
def test_a_submission_follows_its_papers_equations(name, number):
    point = points(name)[number]
    assert_same(trained(name, point), literal(RULES[name], point))
