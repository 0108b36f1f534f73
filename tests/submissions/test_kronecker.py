"""Shampoo and CASPR against scipy and literal loops of the papers' equations."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import fractional_matrix_power

from submissions.kronecker import blocks, inverse_root
from tests.submissions.toys import Toy, assert_close, module_of, optimized

RIDGE, EPS = 1e-6, 1e-8
POINT = {"learning_rate": 0.05, "one_minus_beta1": 0.1, "beta2": 0.9, "weight_decay": 0.01,
         "precondition_frequency": 3, "grafting": "adam"}  # fmt: skip
BETA1, BETA2 = 0.9, 0.9


def root(matrix, order):
    """(X + ridge lambda_max I)^(-1/order)."""
    ridge = RIDGE * np.linalg.norm(matrix, 2)
    return fractional_matrix_power(matrix + ridge * np.eye(len(matrix)), -1 / order)


def shampoo(m, p, q):
    """Gupta et al. 2018, Algorithm 1: L^(-1/4) G R^(-1/4)."""
    return p @ m @ q


def caspr(m, p, q):
    """Duvvuri et al. 2024, Algorithm 1: J = L^ G + G R^, U = (L^ J + J R^) / 4."""
    j = p @ m + m @ q
    return (p @ j + j @ q) / 4


def loop(combine, toy, steps, grafting="adam"):
    """Shi et al. 2023, Algorithm 2, for matrices, with decoupled weight decay."""
    (w,) = toy.start
    m, left, right, v = 0.0, 0.0, 0.0, 0.0
    p = q = None
    for t in range(1, steps + 1):
        (g,) = toy.gradients(t, [w])
        m = BETA1 * m + (1 - BETA1) * g
        left = BETA2 * left + (1 - BETA2) * g @ g.T
        right = BETA2 * right + (1 - BETA2) * g.T @ g
        v = BETA2 * v + (1 - BETA2) * g * g
        if t % POINT["precondition_frequency"] == 0:
            p, q = (root(x / (1 - BETA2**t), 4) for x in (left, right))
        step = m_hat = m / (1 - BETA1**t)
        if grafting == "adam":
            step = m_hat / (np.sqrt(v / (1 - BETA2**t)) + EPS)
        elif grafting == "rmsprop":
            step = m_hat / (np.sqrt(v) + EPS)
        if p is not None:
            d = combine(m_hat, p, q)
            step = d * np.linalg.norm(step) / np.linalg.norm(d)
        w = w - POINT["learning_rate"] * (step + POINT["weight_decay"] * w)
    return [w]


@pytest.mark.parametrize(("name", "combine"), [("shampoo", shampoo), ("caspr", caspr)])
@pytest.mark.parametrize("grafting", ["adam", "rmsprop", "sgd"])
def test_matrices_follow_the_papers(name, combine, grafting):
    toy = Toy((4, 5))
    ours = optimized(name, {**POINT, "grafting": grafting}, toy, 11)
    assert_close(ours, loop(combine, toy, 11, grafting), rtol=1e-7)


@pytest.mark.parametrize("name", ["shampoo", "caspr"])
def test_a_vector_has_one_factor_and_a_number_none(name):
    """L^(-1/2) g, with the length of Adam's step; Adam itself."""
    toy = Toy((3,), ())
    ours = optimized(name, POINT, toy, 3)
    weights = toy.start
    m, v, left = [0.0, 0.0], [0.0, 0.0], 0.0
    for t in (1, 2, 3):
        gs = toy.gradients(t, weights)
        m = [BETA1 * a + (1 - BETA1) * g for a, g in zip(m, gs, strict=True)]
        v = [BETA2 * a + (1 - BETA2) * g * g for a, g in zip(v, gs, strict=True)]
        left = BETA2 * left + (1 - BETA2) * np.outer(gs[0], gs[0])
        m_hat = [a / (1 - BETA1**t) for a in m]
        steps = [a / (np.sqrt(b / (1 - BETA2**t)) + EPS) for a, b in zip(m_hat, v, strict=True)]
        if t == 3:
            d = root(left / (1 - BETA2**t), 2) @ m_hat[0]
            steps[0] = d * np.linalg.norm(steps[0]) / np.linalg.norm(d)
        weights = [w - 0.05 * (s + 0.01 * w) for w, s in zip(weights, steps, strict=True)]
    assert_close(ours, weights, rtol=1e-7)


def train_blocks(shape, **options):
    """A tensor trained by Shampoo on fixed gradients, whole."""
    toy = Toy(shape)
    param = torch.nn.Parameter(torch.tensor(toy.start[0]))
    options = {"lr": 0.05, "frequency": 2, "grafting": "sgd", "ridge": RIDGE, **options}
    optimizer = module_of("shampoo").Shampoo([param], **options)
    for t in range(1, 6):
        (gradient,) = toy.gradients(t, toy.start)
        param.grad = torch.tensor(gradient)
        optimizer.step(lambda: None)
    return toy, param.detach().numpy(), optimizer.state[param]


def test_blocks_have_factors_of_their_own():
    _, _, state = train_blocks((3, 2, 4), block_size=3)  # [3, 8] in strips of 3, 3 and 2
    assert [[f.shape[0] for f in pair] for pair in state["factors"]] == [[3, 3], [3, 3], [3, 2]]


def test_a_tensor_of_one_block_is_the_matrix_it_is_taken_as():
    _, whole, _ = train_blocks((3, 2, 4))
    toy = Toy((3, 2, 4))
    flat = Toy((3, 8))
    flat.start, flat.best, flat.curvature = (
        [x[0].reshape(3, 8)] for x in (toy.start, toy.best, toy.curvature)
    )
    param = torch.nn.Parameter(torch.tensor(flat.start[0]))
    optimizer = module_of("shampoo").Shampoo([param], lr=0.05, frequency=2, grafting="sgd")
    for t in range(1, 6):
        param.grad = torch.tensor(toy.gradients(t, toy.start)[0].reshape(3, 8))
        optimizer.step(lambda: None)
    np.testing.assert_array_equal(whole.reshape(3, 8), param.detach().numpy())


def test_a_long_dimension_has_no_factor_and_the_other_the_inverse_root():
    toy, _, state = train_blocks((3, 9), longest=8, betas=(0.9, 0.9))
    left, right = state["factors"][0]
    assert right is None
    gs = [toy.gradients(t, toy.start)[0] for t in range(1, 5)]
    moment = sum(0.1 * 0.9 ** (4 - t) * g @ g.T for t, g in enumerate(gs, start=1))
    np.testing.assert_allclose(state["roots"][0][0], root(moment / (1 - 0.9**4), 2), rtol=1e-8)
    assert left.shape == (3, 3)


def test_roots_stand_between_their_steps_and_without_them_it_is_adam():
    point = {**POINT, "precondition_frequency": 100}
    toy = Toy((4, 5), (3,))
    adam = [torch.nn.Parameter(torch.tensor(w)) for w in toy.start]
    reference = torch.optim.AdamW(adam, lr=0.05, betas=(BETA1, BETA2), weight_decay=0.01)
    for t in range(1, 8):
        gs = toy.gradients(t, [p.detach().numpy() for p in adam])
        for p, g in zip(adam, gs, strict=True):
            p.grad = torch.tensor(g)
        reference.step()
    assert_close(optimized("shampoo", point, toy, 7), [p.detach().numpy() for p in adam])
    seen = []

    def remember(optimizer, params):
        roots = optimizer.state[params[0]]["roots"]
        seen.append(None if roots is None else roots[0][0].clone())

    optimized("shampoo", POINT, toy, 7, every_step=remember)
    assert seen[:2] == [None, None]
    changes = [not torch.equal(a, b) for a, b in pairwise(seen[2:])]
    assert changes == [False, False, True, False]


@given(
    st.lists(st.integers(1, 7), max_size=4),
    st.integers(1, 4),
    st.integers(4, 12),
)
def test_blocks_cover_a_tensor_once_in_pieces_of_the_size(shape, size, longest):
    tensor = torch.zeros(shape)
    for block in blocks(tensor, size, longest):
        block += 1
        assert block.ndim == 2
        assert all(d <= size or d > longest for d in block.shape)
    assert (tensor == 1).all()


@given(st.integers(0, 100), st.integers(1, 8), st.sampled_from([1, 2, 4, 6]))
def test_inverse_root_equals_scipys(seed, size, order):
    x = np.random.default_rng(seed).normal(size=(size, size + 2))
    ours = inverse_root(torch.tensor(x @ x.T), order, RIDGE)
    np.testing.assert_allclose(ours, root(x @ x.T, order), rtol=1e-7, atol=1e-7)


def test_inverse_root_of_what_has_none():
    thin = torch.ones(3, 1, dtype=torch.float64)
    found = inverse_root(thin @ thin.T, 4, RIDGE)  # eigenvalues 3, 0, 0
    np.testing.assert_allclose(found, root((thin @ thin.T).numpy(), 4), rtol=1e-6)
    np.testing.assert_allclose(inverse_root(torch.zeros(2, 2), 4, RIDGE), RIDGE**-0.25 * np.eye(2))
    assert inverse_root(torch.tensor([[torch.inf]]), 4, RIDGE).isnan().all()


def test_a_gradient_that_is_not_finite_ends_in_the_weights_not_in_an_error():
    param = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = module_of("shampoo").Shampoo([param], lr=0.1, frequency=1)
    for value in (1.0, torch.nan, 1.0):
        param.grad = torch.full((2, 2), value)
        optimizer.step(lambda: None)
    assert param.isnan().all()


def test_an_unknown_grafting_is_refused():
    with pytest.raises(ValueError, match="one of adam, rmsprop, sgd, not 'adamm'"):
        module_of("shampoo").Shampoo([torch.nn.Parameter(torch.ones(1))], lr=0.1, grafting="adamm")
