"""SAM and the Armijo search, which compute a batch's loss several times in a step."""

from types import SimpleNamespace

import numpy as np
import torch

from tests.submissions.toys import Toy, assert_close, module_of, optimized

SAM = {"learning_rate": 0.05, "one_minus_beta1": 0.1, "beta2": 0.9, "weight_decay": 0.01,
       "rho": 0.3}  # fmt: skip
ARMIJO = "self_tuning/armijo_sgd"


def test_sam_takes_adamws_step_with_the_gradient_at_the_worst_place_nearby():
    """Foret et al. 2021, eq. 2: e = rho g / |g|; eq. 3: the gradient at w + e."""
    toy = Toy((4, 5), (3,))
    params = [torch.nn.Parameter(torch.tensor(w)) for w in toy.start]
    adamw = torch.optim.AdamW(params, lr=0.05, betas=(0.9, 0.9), weight_decay=0.01)
    for t in range(1, 9):
        weights = [p.detach().numpy() for p in params]
        gs = toy.gradients(t, weights)
        norm = np.sqrt(sum(np.sum(g**2) for g in gs))
        nearby = [w + 0.3 * g / norm for w, g in zip(weights, gs, strict=True)]
        for p, g in zip(params, toy.gradients(t, nearby), strict=True):
            p.grad = torch.tensor(g)
        adamw.step()
    ours = optimized("sam", SAM, toy, 8)
    assert_close(ours, [p.detach().numpy() for p in params], rtol=1e-5)  # its norm is in float32


def armijo_loop(toy, steps, c=0.1, shrink=0.9):
    """Vaswani et al. 2019, Algorithm 1, and Algorithm 2 with option 2; gamma^(1/500) = 2^(1/500).

    f(w - eta g) <= f(w) - c eta |g|^2 (eq. 1); the step sizes too.
    """
    weights, eta, found = toy.start, 1.0, []
    for t in range(1, steps + 1):
        gs = toy.gradients(t, weights)
        squared = sum(np.sum(g**2) for g in gs)
        eta = min(eta * 2 ** (1 / 500), 10.0)
        while True:
            tried = [w - eta * g for w, g in zip(weights, gs, strict=True)]
            if toy.loss(t, tried) <= toy.loss(t, weights) - c * eta * squared:
                break
            eta *= shrink
        weights = tried
        found.append(eta)
    return weights, found


def test_the_armijo_search_finds_the_papers_step_sizes():
    toy, found = Toy((4, 5), (3,)), []
    ours = optimized(
        ARMIJO, {}, toy, 10, every_step=lambda o, _: found.append(o.param_groups[0]["lr"])
    )
    weights, expected = armijo_loop(toy, 10)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert len(set(expected)) > 3  # it did search
    assert_close(ours, weights)


def steps_of(name, point, closure_of, steps):
    """Runs an optimizer on one parameter with closures made of it; returns the parameter."""
    param = torch.nn.Parameter(torch.full((3,), 2.0, dtype=torch.float64))
    optimizer = module_of(name).make_optimizer([param], SimpleNamespace(**point), 10)
    for _ in range(steps):
        optimizer.step(closure_of(param))
    return param, optimizer


def test_a_search_without_success_takes_the_smallest_step():
    calls = []

    def closure_of(param):
        def closure(backward=True):
            calls.append(backward)
            param.grad = torch.ones_like(param)
            return torch.tensor(float(len(calls)))  # it only rises

        return closure

    param, optimizer = steps_of(ARMIJO, {}, closure_of, 1)
    assert calls == [True] + [False] * 100
    assert optimizer.param_groups[0]["lr"] == 1e-6
    np.testing.assert_allclose(param.detach(), np.full(3, 2 - 1e-6))


def test_a_step_to_where_the_loss_is_no_number_is_refused():
    def closure_of(param):
        def closure(backward=True):
            if backward:
                param.grad = torch.ones_like(param)
            return param.detach().sum() if (param > 1.2).all() else torch.tensor(torch.nan)

        return closure

    param, optimizer = steps_of(ARMIJO, {}, closure_of, 1)
    found = optimizer.param_groups[0]["lr"]
    assert found < 0.8 <= found / 0.9
    np.testing.assert_allclose(param.detach(), np.full(3, 2 - found))


def test_a_loss_that_is_no_number_is_not_searched_for():
    calls = []

    def closure_of(param):
        def closure(backward=True):
            calls.append(backward)
            param.grad = torch.full_like(param, torch.nan)
            return torch.tensor(torch.nan)

        return closure

    param, _ = steps_of(ARMIJO, {}, closure_of, 1)
    assert calls == [True, False]
    assert param.isnan().all()


def test_a_steps_losses_are_of_one_function_and_the_next_steps_of_another():
    for name, point in (("sam", SAM), (ARMIJO, {})):
        drawn = []

        def closure_of(param, drawn=drawn):
            drawn.append([])

            def closure(backward=True):
                mask = torch.rand(3, dtype=torch.float64)
                drawn[-1].append(tuple(mask.tolist()))
                if backward:
                    param.grad = 4 * mask * param.detach() ** 3
                return (mask * param.detach() ** 4).sum()

            return closure

        torch.manual_seed(0)
        steps_of(name, point, closure_of, 3)
        assert [len(set(masks)) for masks in drawn] == [1, 1, 1]
        assert all(len(masks) >= 2 for masks in drawn)
        torch.manual_seed(0)  # as one draw a step would leave the generator
        assert [masks[0] for masks in drawn] == [
            tuple(torch.rand(3, dtype=torch.float64).tolist()) for _ in range(3)
        ]
