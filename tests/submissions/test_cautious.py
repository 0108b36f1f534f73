"""Any momentum method made cautious: what is taken agrees with the gradient, nothing else moves."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from submissions.cautious import Cautious

METHODS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.9),
}


@pytest.mark.parametrize("name", METHODS)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_a_masked_step_is_the_methods_own_where_it_agrees_with_the_gradient(name, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(30, generator=generator, dtype=torch.float64)
    plain, masked = (weights.clone().requires_grad_() for _ in range(2))
    method, cautious = METHODS[name]([plain]), Cautious(METHODS[name]([masked]))
    for _ in range(4):
        plain.data.copy_(masked.data)
        plain.grad = torch.randn(30, generator=generator, dtype=torch.float64)
        masked.grad = plain.grad.clone()
        before, grad = masked.detach().clone(), plain.grad.clone()
        method.step()
        cautious.step()
        u = before - plain.detach()
        agrees = u * grad > 0
        expected = torch.where(agrees, u * 30 / (agrees.sum().item() + 1), 0.0)
        torch.testing.assert_close(before - masked.detach(), expected, atol=1e-12, rtol=1e-9)


def test_schedules_reach_the_method_inside_and_weight_decay_follows():
    w = torch.ones(4, requires_grad=True)
    optimizer = Cautious(torch.optim.SGD([w], lr=1.0, momentum=0.9), weight_decay=0.5)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.1)
    w.grad = torch.tensor([1.0, 1.0, 0.0, 0.0])
    optimizer.step()
    after = 0.95 * torch.tensor([1 - 0.1 * 4 / 3, 1 - 0.1 * 4 / 3, 1.0, 1.0])
    torch.testing.assert_close(w.detach(), after)
