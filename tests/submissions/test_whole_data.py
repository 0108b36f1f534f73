"""Full-batch and finite-sum methods against literal loops of their equations, in float64."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import optimize

import workloads
from harness.commands.check import findings
from harness.submission import loading
from submissions import line_search, whole_data
from tests.submissions.toys import module_of
from workloads import tiny

LOGISTIC = workloads.get("logistic_regression").objective()
LINEAR = workloads.get("least_squares").objective()
START = np.random.default_rng(0).standard_normal(10)
N = 200


class Trained:
    """A parameter, an optimizer of it, and an objective in numpy."""

    def __init__(self, make, objective=LOGISTIC, start=START):
        self.param = torch.nn.Parameter(torch.tensor(start))
        self.optimizer = make([self.param])
        self.objective, self.calls = objective, []

    def closure(self, index=None, backward=True):
        x = self.param.detach().numpy()
        f = self.objective
        self.calls.append((index, x.copy()))
        if backward:
            gradient = f.gradient(x) if index is None else f.example_gradients(x)[index]
            self.param.grad = torch.tensor(gradient)
        loss = f.value(x) if index is None else example(f, x, index)
        return torch.tensor(loss, dtype=torch.float64)

    def run(self, steps):
        """The parameter after each step, [steps, P]."""
        path = []
        for _ in range(steps):
            self.optimizer.step(self.closure)
            path.append(self.param.detach().numpy().copy())
        return np.array(path)


def example(objective, x, index):
    """The loss of one example, its penalty included."""
    z, t = objective.x_np[index] @ x, objective.targets_n[index]
    loss = np.logaddexp(0, z) - t * z if objective.logistic else objective.scale * (z - t) ** 2
    return loss + objective.l2 / 2 * x @ x


def sag_loop(steps, a, initial, draw):
    """Schmidt, Le Roux, Bach 2013, algorithm 1 and section 4.4's initialisations."""
    x, g, seen, path = START, np.zeros((N, 10)), [], []
    if initial == "gradients":
        g = LOGISTIC.example_gradients(x) - LOGISTIC.gradient(x)
    for k in range(steps):
        sgd = initial == "sgd" and k < N
        i = k if sgd else draw()
        g[i] = LOGISTIC.example_gradients(x)[i]
        seen = [*seen, i]
        m = len(set(seen)) if initial == "zero" else N
        x = x - a * (g[i] if sgd else g.sum(0) / m)
        path.append(x)
    return np.array(path)


@pytest.mark.parametrize("initial", ["zero", "sgd", "gradients"])
def test_sag_follows_its_paper(initial):
    rng = np.random.default_rng(7)
    ours = Trained(lambda p: module_of("sag").SAG(p, N, 7, 0.5, 8.0, initial)).run(260)
    expected = sag_loop(260, 0.5 / 8.0, initial, lambda: rng.integers(N))
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)


def test_sag_of_a_linear_model_takes_the_steps_of_sag_with_one_number_for_each_example():
    smoothness = float(LINEAR.smoothness().max())
    whole = Trained(lambda p: module_of("sag").SAG(p, N, 7, 0.5, smoothness), LINEAR).run(260)
    linear = Trained(lambda p: module_of("sag_linear").LinearSAG(p, N, 7, 0.5, smoothness), LINEAR)
    linear.optimizer.rows = torch.tensor(LINEAR.x_np)
    np.testing.assert_allclose(linear.run(260), whole, rtol=1e-9, atol=1e-12)
    (state,) = linear.optimizer.state.values()
    assert sorted(len(column) for column in state.values()) == [10, N]


def test_sag_of_a_linear_model_refuses_a_penalty():
    linear = Trained(lambda p: module_of("sag_linear").LinearSAG(p, N, 7, 0.5, 8.0), LOGISTIC)
    linear.optimizer.rows = torch.tensor(LOGISTIC.x_np)
    with pytest.raises(ValueError, match="has a penalty; use sag"):
        linear.run(1)


def test_sag_draws_in_proportion_to_the_constants_half_of_the_time():
    rng, constants = np.random.default_rng(7), LOGISTIC.smoothness()
    p = 0.5 / N + 0.5 * constants / constants.sum()
    made = lambda params: module_of("sag").SAG(  # noqa: E731
        params, N, 7, 0.5, torch.tensor(constants), nonuniform=True
    )
    expected = sag_loop(60, 0.5 / constants.max(), "zero", lambda: rng.choice(N, p=p))
    np.testing.assert_allclose(Trained(made).run(60), expected, rtol=1e-9, atol=1e-12)


def test_the_search_finds_the_papers_constants():
    """Schmidt et al. 2013, section 4.6: L doubles until the bound holds, then falls."""
    rng, found, big = np.random.default_rng(7), [], 1.0
    trained = Trained(lambda p: module_of("sag").SAG(p, N, 7, 1.0))
    x, g, seen = START, np.zeros((N, 10)), set()
    for _ in range(50):
        trained.run(1)
        found.append(trained.optimizer.param_groups[0]["smoothness"])
        i = rng.integers(N)
        d = LOGISTIC.example_gradients(x)[i]
        while example(LOGISTIC, x - d / big, i) > example(LOGISTIC, x, i) - d @ d / (2 * big):
            big *= 2
        g[i], seen = d, seen | {i}
        x = x - 1 / big * g.sum(0) / len(seen)
        big *= 2 ** (-1 / N)
        assert found[-1] == pytest.approx(big, rel=1e-12)
    assert max(found) > 1.5
    np.testing.assert_allclose(trained.param.detach().numpy(), x, rtol=1e-9)


def test_saga_follows_its_paper():
    rng, x = np.random.default_rng(3), START
    g, a, path = LOGISTIC.example_gradients(x), 1 / 24, []
    for _ in range(60):
        i = rng.integers(N)
        new = LOGISTIC.example_gradients(x)[i]
        x = x - a * (new - g[i] + g.mean(0))
        g[i] = new
        path.append(x)
    ours = Trained(lambda p: module_of("saga").SAGA(p, N, 3, 1 / 3, 8.0)).run(60)
    np.testing.assert_allclose(ours, path, rtol=1e-9, atol=1e-12)


def test_svrg_follows_its_paper():
    rng, x, a, path = np.random.default_rng(3), START, 0.1 / 8, []
    for k in range(250):
        if k % 100 == 0:
            s, mu = x, LOGISTIC.gradient(x)
        i = rng.integers(N)
        x = x - a * (LOGISTIC.example_gradients(x)[i] - LOGISTIC.example_gradients(s)[i] + mu)
        path.append(x)
    ours = Trained(lambda p: module_of("svrg").SVRG(p, N, 3, 0.1, 8.0, period=0.5)).run(250)
    np.testing.assert_allclose(ours, path, rtol=1e-9, atol=1e-12)


def test_gradient_descent_with_a_constant_step_is_the_textbooks():
    x, path = START, []
    for _ in range(20):
        x = x - 0.1 * LOGISTIC.gradient(x)
        path.append(x)
    ours = Trained(lambda p: module_of("gradient_descent").GradientDescent(p, 0.1)).run(20)
    np.testing.assert_allclose(ours, path, rtol=1e-10)


def rosenbrock():
    return SimpleNamespace(value=optimize.rosen, gradient=optimize.rosen_der)


def test_armijos_backtracking_takes_the_first_step_size_that_holds():
    start = np.array([-1.2, 1.0])
    make = lambda p: module_of("gradient_descent").GradientDescent(p, 1.0, "armijo")  # noqa: E731
    x, t, path = start, 0.5, []
    for _ in range(30):
        g = optimize.rosen_der(x)
        t *= 2
        while optimize.rosen(x - t * g) > optimize.rosen(x) - 1e-4 * t * g @ g:
            t /= 2
        x = x - t * g
        path.append(x)
    np.testing.assert_allclose(Trained(make, rosenbrock(), start).run(30), path, rtol=1e-9)


def wolfe_holds(f, x, d, y, c2):
    """The strong Wolfe conditions of a step from x along d to y."""
    slope = f.gradient(x) @ d
    t = np.linalg.norm(y - x) / np.linalg.norm(d)
    decrease = f.value(y) <= f.value(x) + 1e-4 * t * slope * (1 - 1e-9)
    return decrease and abs(f.gradient(y) @ d) <= c2 * abs(slope) * (1 + 1e-6)


def test_every_step_of_a_wolfe_search_keeps_both_conditions():
    start, f = np.array([-1.2, 1.0]), rosenbrock()
    make = lambda p: module_of("gradient_descent").GradientDescent(p, 1.0, "wolfe")  # noqa: E731
    path = Trained(make, f, start).run(60)
    for x, y in itertools.pairwise([start, *path]):
        assert wolfe_holds(f, x, -f.gradient(x), y, 0.9)


@pytest.mark.parametrize("formula", ["fletcher_reeves", "polak_ribiere"])
@pytest.mark.parametrize("dimension", [2, 10])
def test_conjugate_gradients_move_along_the_formulas_directions(formula, dimension):
    start, f = np.resize([-1.2, 1.0], dimension), rosenbrock()
    module = module_of("conjugate_gradient")
    path = Trained(lambda p: module.ConjugateGradient(p, formula), f, start).run(25)
    before = d = None
    for x, y in itertools.pairwise([start, *path]):
        g = f.gradient(x)
        if d is None:
            d = -g
        else:
            above = g @ g if formula == "fletcher_reeves" else g @ (g - before)
            d = -g + max(0, above / (before @ before)) * d
        moved = (y - x) / np.linalg.norm(y - x)
        np.testing.assert_allclose(moved, d / np.linalg.norm(d), rtol=1e-6, atol=1e-7)
        assert wolfe_holds(f, x, d, y, 0.1)
        before = g


def test_newtons_method_takes_newtons_steps():
    workload = workloads.get("logistic_regression")
    model = workload.model_at(START)
    examples = workload.examples["train"]
    make = module_of("self_tuning/newton").make_optimizer
    optimizer = make(model.parameters(), None, N, 0)

    def closure(index=None, backward=True):
        return workload.losses(examples["targets"], model(examples["inputs"]))[1].mean()

    x = START
    for _ in range(4):
        optimizer.step(closure)
        x = x - np.linalg.solve(LOGISTIC.hessian(x), LOGISTIC.gradient(x))
        np.testing.assert_allclose(model.linear.weight.detach()[0], x, rtol=1e-9)
    with pytest.raises(ValueError, match="at most 1,000 parameters, not 1,001"):
        make([torch.nn.Parameter(torch.zeros(1001))], None, N, 0)


def test_lbfgs_takes_the_iterations_of_torch():
    make = module_of("self_tuning/lbfgs").make_optimizer
    ours = Trained(lambda p: make(p, None, N, 0)).run(6)
    whole = Trained(
        lambda p: torch.optim.LBFGS(
            p, max_iter=6, max_eval=500, tolerance_grad=0, tolerance_change=0, history_size=10,
            line_search_fn="strong_wolfe",
        )
    )  # fmt: skip
    np.testing.assert_allclose(ours[-1], whole.run(1)[-1], rtol=1e-9)


@pytest.mark.parametrize("dimension", [2, 5])
def test_nelder_mead_moves_as_scipys(dimension):
    start = np.resize([-1.2, 1.0], dimension)
    simplex = np.vstack([start, start + 0.1 * np.eye(dimension)])
    make = module_of("self_tuning/nelder_mead").NelderMead
    path = Trained(make, rosenbrock(), start).run(60)
    for steps in (1, 5, 20, 60):
        options = {"initial_simplex": simplex, "maxiter": steps + 1, "xatol": 0, "fatol": 0}
        found = optimize.minimize(optimize.rosen, start, method="Nelder-Mead", options=options)
        np.testing.assert_allclose(path[steps - 1], found.x, rtol=1e-9)


def test_two_point_gradients_follow_their_formula():
    rng, x, path = np.random.default_rng(5), START, []
    for _ in range(20):
        g = np.zeros(10)
        for _ in range(3):
            u = rng.standard_normal(10)
            u /= np.linalg.norm(u)
            up, down = (LOGISTIC.value(x + s * 1e-3 * u) for s in (1, -1))
            g += 10 / 2e-3 * (up - down) * u / 3
        x = x - 0.05 * g
        path.append(x)
    make = lambda p: module_of("two_point").TwoPoint(p, 5, 0.05, 1e-3, 3)  # noqa: E731
    np.testing.assert_allclose(Trained(make).run(20), path, rtol=1e-7)


def test_the_evolution_strategy_follows_its_algorithm():
    rng, x, s, sigma, n, lam, mu = np.random.default_rng(5), START, np.zeros(10), 0.3, 10, 12, 3
    c, d, path = np.sqrt(mu / (n + mu)), 1 + np.sqrt(mu / n), []
    norm = np.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))
    for _ in range(20):
        z = rng.standard_normal((lam, n))
        best = np.argsort([LOGISTIC.value(x + sigma * v) for v in z])[:mu]
        mean = z[best].mean(0)
        x = x + sigma * mean
        s = (1 - c) * s + np.sqrt(mu * c * (2 - c)) * mean
        sigma *= np.exp(c / d * (np.linalg.norm(s) / norm - 1))
        path.append(x)
    make = lambda p: module_of("evolution").Evolution(p, 5, 0.3, 12)  # noqa: E731
    np.testing.assert_allclose(Trained(make).run(20), path, rtol=1e-9)


def test_searches_give_up_where_nothing_decreases():
    assert line_search.armijo(lambda t: 2.0, 1.0, -1.0, 1.0) == 0
    assert line_search.strong_wolfe(lambda t: (2.0, -1.0), 1.0, -1.0, 1.0) == 0


def test_all_examples_are_collected_once_and_in_order():
    workload = workloads.get("digits")
    whole = whole_data.collected(workload.build_input_queue(0, "train", 50), 1077)
    examples = workload.examples["train"]
    assert whole["indices"].tolist() == list(range(1077))
    for name in ("inputs", "targets"):
        assert torch.equal(whole[name], examples[name])


@pytest.mark.parametrize(
    "call",
    [
        "run sag --workload digits",
        "sweep adamw sag -w logistic_regression -w digits --out out --dry-run",
        "sweep self_tuning/newton --suite demo --out out",
        "estimate sag --workload digits",
    ],
)
def test_other_workloads_are_refused_with_the_reason(call, chronograd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, error = chronograd(*call.split())
    assert code == 2
    assert "cannot train digits: " in error
    assert "so the examples must be few" in error or "complete Hessian" in error
    assert "logistic_regression" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["saga", "self_tuning/nelder_mead"])
def test_check_trains_such_a_submission_on_its_own_workloads(name):
    found = list(findings(loading.find(name), tiny.workloads, ["digits"]))
    assert all(finding.passed for finding in found), found
    assert "logistic_regression" in {finding.where for finding in found}
