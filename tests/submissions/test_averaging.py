"""LAWA: NadamW's own weights, evaluated at averages of checkpoints made by hand."""

import numpy as np
import pytest
import torch

from tests.submissions.toys import Toy, assert_close, optimized

POINT = {"learning_rate": 0.05, "one_minus_beta1": 0.1, "beta2": 0.9, "weight_decay": 0.01,
         "lawa_start_factor": 0.4, "lawa_interval_factor": 0.2}  # fmt: skip
QUEUE = {**POINT, "lawa_queue_length": 3}
EMA = {**POINT, "lawa_beta": 0.7}
TOY = Toy((4, 5), (3,))
HORIZON = 10  # checkpoints at steps 4, 6, 8, ...


def nadamw(steps):
    """The weights after every step of torch's NAdam with decoupled weight decay."""
    params = [torch.nn.Parameter(torch.tensor(w)) for w in TOY.start]
    optimizer = torch.optim.NAdam(
        params, lr=0.05, betas=(0.9, 0.9), weight_decay=0.01, decoupled_weight_decay=True
    )
    history = [[p.detach().numpy().copy() for p in params]]
    for t in range(1, steps + 1):
        gradients = TOY.gradients(t, [p.detach().numpy() for p in params])
        for p, g in zip(params, gradients, strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
        history.append([p.detach().numpy().copy() for p in params])
    return history


def queue_mean(history, step):
    """Kaddour 2022: the mean of the latest three checkpoints, or of those there are."""
    taken = [history[t] for t in range(4, step + 1, 2)][-3:]
    return [np.mean(weights, axis=0) for weights in zip(*taken, strict=True)]


def moving_average(history, step):
    """A_1 = W_1, A_n = beta A_(n-1) + (1 - beta) W_n."""
    average = history[4]
    for t in range(6, step + 1, 2):
        average = [0.7 * a + 0.3 * w for a, w in zip(average, history[t], strict=True)]
    return average


@pytest.mark.parametrize(
    ("name", "point", "average"),
    [("lawa_queue", QUEUE, queue_mean), ("lawa_ema", EMA, moving_average)],
)
@pytest.mark.parametrize("eval_every", [1, 5])
def test_weights_are_nadamws_and_evaluation_sees_their_average(name, point, average, eval_every):
    history, step = nadamw(13), 0

    def evaluate(optimizer, params):
        nonlocal step
        step += 1
        trained = [p.detach().clone() for p in params]
        if step % eval_every:
            return
        optimizer.eval()
        optimizer.eval()  # a second time changes nothing
        expected = average(history, step) if step >= 4 else history[step]
        assert_close([p.detach().numpy() for p in params], expected)
        optimizer.train()
        optimizer.train()
        assert all(torch.equal(p, w) for p, w in zip(params, trained, strict=True))

    ours = optimized(name, point, TOY, 13, HORIZON, evaluate)
    assert step == 13
    assert_close(ours, history[13])
