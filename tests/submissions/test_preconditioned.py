"""SOAP and PSGD Kron against literal loops of their equations."""

import numpy as np
import torch

from tests.submissions.toys import Toy, assert_close, optimized


def turned(x, left, right, back=False):
    """Q_L^T X Q_R, or back: Q_L X Q_R^T (Vyas et al. 2024, Algorithm 3)."""
    return left @ x @ right.T if back else left.T @ x @ right


def soap_loop(toy, steps, lr, b1, b2, decay, every, eps=1e-8):
    """Vyas et al. 2024, Algorithm 3, for one matrix; the first step only fills L and R."""
    (w,) = toy.start
    moments = bases = None
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t in range(steps):
        (g,) = toy.gradients(t + 1, [w])
        if t == 0:
            moments = [(1 - b2) * x for x in (g @ g.T, g.T @ g)]
            bases = [np.linalg.eigh(x)[1][:, ::-1] for x in moments]
            continue
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * turned(g, *bases) ** 2
        normal = turned(m, *bases) / (np.sqrt(v) + eps)
        w = w - lr * np.sqrt(1 - b2**t) / (1 - b1**t) * turned(normal, *bases, back=True)
        w = w * (1 - lr * decay)
        fresh = (g @ g.T, g.T @ g)
        moments = [b2 * x + (1 - b2) * y for x, y in zip(moments, fresh, strict=True)]
        if t % every == 0:  # Algorithm 4: one step of power iteration, the largest first
            for i, (x, q) in enumerate(zip(moments, bases, strict=True)):
                order = np.argsort(-np.diag(q.T @ x @ q))
                v = v.take(order, axis=i)
                bases[i] = np.linalg.qr(x @ q[:, order])[0]
    return [w]


def test_soap_is_adam_in_the_eigenbasis():
    point = {"learning_rate": 0.05, "one_minus_beta1": 0.1, "beta2": 0.9, "weight_decay": 0.01,
             "precondition_frequency": 3}  # fmt: skip
    toy = Toy((4, 5))
    expected = soap_loop(toy, 13, 0.05, 0.9, 0.9, 0.01, 3)
    assert_close(optimized("soap", point, toy, 13), expected, rtol=1e-4)  # its QR is in float32


def test_soap_leaves_vectors_to_adam_a_step_late():
    point = {"learning_rate": 0.05, "one_minus_beta1": 0.1, "beta2": 0.9, "weight_decay": 0.0,
             "precondition_frequency": 3}  # fmt: skip
    toy = Toy((6,))
    param = torch.nn.Parameter(torch.tensor(toy.start[0]))
    adam = torch.optim.Adam([param], lr=0.05, betas=(0.9, 0.9))
    for t in range(2, 9):
        param.grad = torch.tensor(toy.gradients(t, [param.detach().numpy()])[0])
        adam.step()
    assert_close(optimized("soap", point, toy, 8), [param.detach().numpy()], rtol=1e-6)


def spectral_bound(s):
    """A lower bound of the norm of a symmetric matrix: from its longest column, one iteration."""
    x = s @ s[:, np.argmax(np.sum(s * s, axis=0))]
    return np.linalg.norm(s @ x) / np.linalg.norm(x)


def fitted(qs, m, noise):
    """Li 2018, on a Lie group: Q <- Q - 0.1 triu(A A^T - B B^T) Q / |A A^T + B B^T|.

    A = Q_L M Q_R^T, B = Q_L^(-T) V Q_R^(-1), V the noise; for a vector Q is diagonal.
    """
    if m.ndim == 1:
        a, b = qs[0] * m, noise / qs[0]
        return [qs[0] - 0.1 * (a * a - b * b) * qs[0] / np.max(a * a + b * b)]
    left, right = qs
    a = left @ m @ right.T
    b = np.linalg.inv(left).T @ noise @ np.linalg.inv(right)
    found = []
    for q, x, y in ((left, a @ a.T, b @ b.T), (right, a.T @ a, b.T @ b)):
        found.append(q - 0.1 * np.triu(x - y) @ q / spectral_bound(x + y))
    return found


def kron_loop(toy, steps, lr, beta, decay):
    """The preconditioned momentum Q^T Q M, its root mean square at most 1.1, decayed matrices."""
    weights = toy.start
    ms = [np.zeros_like(w) for w in weights]
    factors = [[np.eye(d) for d in w.shape] if w.ndim > 1 else [np.ones(w.shape)] for w in weights]
    for t in range(1, steps + 1):
        generator = torch.Generator().manual_seed(t)
        gs = toy.gradients(t, weights)
        moved = []
        for i, (w, g) in enumerate(zip(weights, gs, strict=True)):
            ms[i] = beta * ms[i] + (1 - beta) * g
            m = ms[i] / (1 - beta**t)
            noise = torch.randn(w.shape, generator=generator).numpy().astype(float)
            qs = factors[i] = fitted(factors[i], m, noise)
            step = qs[0] ** 2 * m if w.ndim == 1 else qs[0].T @ qs[0] @ m @ qs[1].T @ qs[1]
            step = step * min(1.0, 1.1 / (np.sqrt(np.mean(step**2)) + 1e-6))
            moved.append(w - lr * (step + (decay * w if w.ndim > 1 else 0.0)))
        weights = moved
    return weights


KRON = {"learning_rate": 0.02, "one_minus_beta1": 0.1, "weight_decay": 0.1}


def test_kron_follows_the_papers():
    toy = Toy((4, 5), (6,))
    expected = kron_loop(toy, 12, 0.02, 0.9, 0.1)
    assert_close(optimized("kron", KRON, toy, 12), expected, rtol=1e-4, atol=1e-5)  # in float32


def test_kron_neither_reads_nor_moves_torchs_generator():
    torch.manual_seed(1)
    first = optimized("kron", KRON, Toy((4, 5)), 5)
    after = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(3))
    np.random.seed(2)  # noqa: NPY002 - what the library draws from
    torch.manual_seed(2)
    assert_close(first, optimized("kron", KRON, Toy((4, 5)), 5), rtol=0, atol=0)


def test_kron_balances_its_factors_now_and_then():
    spread = []

    def measure(optimizer, params):
        q = optimizer.state[params[0]]["Q"]
        largest = [x.abs().max().item() for x in q]
        spread.append(max(largest) / min(largest))

    optimized("kron", KRON, Toy((2, 30)), 101, every_step=measure)
    assert min(spread[90:99]) > 1.5
    assert max(spread[99:]) < 1.1  # from step 100 on
