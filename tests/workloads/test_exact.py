"""The problems of the suite `classic`: objectives, starts and minima against other code."""

import numpy as np
import pytest
import torch
from scipy import optimize
from sklearn.linear_model import LogisticRegression

import workloads

EXACT = [name for name in workloads.suite("classic") if workloads.get(name).goal.metric == "gap"]


@pytest.mark.parametrize("name", EXACT)
def test_the_gap_is_one_at_the_start_and_training_starts_near_it(name):
    workload = workloads.get(name)
    assert workload.eval_model(workload.model_at(workload.start), None, "validation")["gap"] == 1
    model, _ = workload.init_model_fn(0)
    x = torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy()
    assert x.dtype == np.float64
    assert 0 < np.abs(x - workload.start).max() < 5 * workload.displacement
    assert workload.eval_model(model, None, "validation")["gap"] == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize("name", [n for n in EXACT if "quadratic" in n or "rosenbrock" in n])
def test_analytic_functions_equal_scipys(name):
    workload = workloads.get(name)
    for x in np.random.default_rng(0).standard_normal((3, workload.dimension)):
        expected = optimize.rosen(x)
        if "quadratic" in name:
            eigenvalues = np.geomspace(1, 100, workload.dimension)
            model = workload.model_at(x)
            hessian = model.factor_kn.T.numpy() @ model.factor_kn.numpy()
            np.testing.assert_allclose(np.linalg.eigvalsh(hessian), eigenvalues, rtol=1e-9)
            expected = x @ hessian @ x / 2
        assert workload.value(x) == pytest.approx(expected, rel=1e-12)


def test_two_dimensional_functions_are_the_textbooks():
    x, y = 0.3, -0.7
    assert workloads.get("quadratic").value(np.array([x, y])) == pytest.approx(
        (x**2 + 100 * y**2) / 2
    )
    assert workloads.get("rosenbrock").value(np.array([x, y])) == pytest.approx(
        (1 - x) ** 2 + 100 * (y - x**2) ** 2
    )
    assert workloads.get("rosenbrock").start_value == pytest.approx(24.2)


def test_logistic_regressions_minimum_is_scikit_learns():
    workload = workloads.get("logistic_regression")
    features, labels = workload.load()["train"].values()
    oracle = LogisticRegression(C=1 / 200, fit_intercept=False, tol=1e-13, max_iter=10_000)
    w = oracle.fit(features, labels[:, 0]).coef_[0]
    signs = 2 * labels[:, 0] - 1
    objective = np.mean(np.log1p(np.exp(-signs * (features @ w)))) + w @ w / 2
    assert workload.minimum == pytest.approx(objective, rel=1e-12)
    assert workload.value(workload.minimiser) == pytest.approx(workload.minimum, rel=1e-14)
    assert np.linalg.norm(workload.objective().gradient(workload.minimiser)) < 1e-14


@pytest.mark.parametrize("name", ["least_squares", "least_squares_interpolating"])
def test_least_squares_minimum_is_that_of_the_normal_equations(name):
    workload = workloads.get(name)
    rows, answers = workload.load()["train"].values()
    x, residual, _, _ = np.linalg.lstsq(rows, answers[:, 0], rcond=None)
    assert workload.minimum == pytest.approx(residual[0] / 400, abs=1e-12)
    np.testing.assert_allclose(workload.minimiser, x, rtol=1e-8)
    constants = workload.objective().smoothness()
    np.testing.assert_allclose(constants, np.square(rows).sum(1))
    assert constants.max() / constants.min() == pytest.approx(100)


@pytest.mark.parametrize("name", ["logistic_regression", "least_squares"])
def test_gradients_of_a_linear_models_objective_are_torchs(name):
    workload = workloads.get(name)
    w = np.random.default_rng(0).standard_normal(10)
    model = workload.model_at(w)
    queue = workload.build_input_queue(0, "train", 200)
    batch = next(queue)
    losses = workload.losses(batch["targets"], model(batch["inputs"]))[1]
    ours = workload.objective().example_gradients(w)
    for loss, index in list(zip(losses, batch["indices"], strict=True))[:20]:
        (gradient,) = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
        np.testing.assert_allclose(ours[index], gradient.flatten(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours.mean(0), workload.objective().gradient(w), rtol=1e-10)


def test_scaling_counts_every_pair_once_and_its_minimum_is_that_of_levenberg_marquardt():
    workload = workloads.get("multidimensional_scaling_rounded")
    points = np.random.default_rng(0).standard_normal((100, 2))
    squared = np.square(workload.solution[:, None] - workload.solution).sum(2).round()
    found = np.square(points[:, None] - points).sum(2)
    expected = np.square(found - squared).sum() / (100 * 99)
    assert workload.value(points.ravel()) == pytest.approx(expected)
    i, j = np.triu_indices(100, 1)

    def residuals(x):
        x = x.reshape(100, 2)
        return np.square(x[i] - x[j]).sum(1) - squared[i, j]

    def jacobian(x):
        x, rows = x.reshape(100, 2), np.arange(len(i))
        table = np.zeros((len(i), 100, 2))
        table[rows, i] = 2 * (x[i] - x[j])
        table[rows, j] = -table[rows, i]
        return table.reshape(len(i), -1)

    for start in (workload.solution, workload.start.reshape(100, 2)):
        best = optimize.least_squares(
            residuals, start.ravel(), jac=jacobian, method="lm", ftol=1e-15, xtol=1e-15, gtol=1e-15
        )
        assert workload.minimum == pytest.approx(np.mean(best.fun**2), rel=1e-9)
    exact = workloads.get("multidimensional_scaling")
    assert exact.value(exact.solution.ravel()) == 0


@pytest.mark.parametrize("name", ["digits", "nanogpt_mini", "least_squares"])
def test_batches_say_which_examples_they_hold(name):
    workload = workloads.get(name)
    examples = workload.examples["train"]
    batch = next(workload.build_input_queue(3, "train", 7))
    assert batch["indices"].shape == (7,)
    assert torch.equal(batch["inputs"], examples["inputs"][batch["indices"]])
    assert torch.equal(batch["targets"], examples["targets"][batch["indices"]])
