"""A small problem in float64, on which a submission is compared with its paper's equations."""

import copy
import json
import math
from types import SimpleNamespace

import torch
from torch import nn
from torch.func import functional_call

from harness.spec import ParameterType
from harness.submission import loading
from scoring.tree import SEARCH_SPACE_FILE

STEPS = 12
STEP_HINT = 20
HORIZON = 15  # three quarters of it

TYPES = {
    "embedding.weight": ParameterType.EMBEDDING,
    "hidden.weight": ParameterType.WEIGHT,
    "hidden.bias": ParameterType.BIAS,
    "out.weight": ParameterType.WEIGHT,
    "out.bias": ParameterType.BIAS,
}


class Net(nn.Module):
    """An embedding, a hidden layer and an output layer."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.hidden = nn.Linear(4, 6)
        self.out = nn.Linear(6, 3)

    def forward(self, words):
        return self.out(torch.tanh(self.hidden(self.embedding(words))))


def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net().double()


def batch(step):
    generator = torch.Generator().manual_seed(100 + step)
    targets = torch.randn(16, 3, generator=generator, dtype=torch.float64)
    return {"inputs": torch.randint(7, (16,), generator=generator), "targets": targets}


def workload(step_hint=STEP_HINT):
    """What a submission sees of the problem; the loss is the mean square."""
    return SimpleNamespace(
        step_hint=step_hint,
        model_params_types=TYPES,
        is_output_params=lambda name: name.startswith("out."),
        model_fn=lambda params, augmented_and_preprocessed_input_batch, model_state, **_: (
            params(augmented_and_preprocessed_input_batch["inputs"]),
            model_state,
        ),
        loss_fn=lambda label_batch, logits_batch, **_: {
            "summed": ((logits_batch - label_batch) ** 2).sum(),
            "n_valid_examples": torch.tensor(16.0, dtype=torch.float64),
        },
    )


def gradients(weights, step):
    """Of the mean loss of a step's batch, by name."""
    weights = {name: w.detach().requires_grad_() for name, w in weights.items()}
    examples = batch(step)
    outputs = functional_call(model(), weights, examples["inputs"])
    loss = ((outputs - examples["targets"]) ** 2).sum() / 16
    return dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))


def learning_rate(step, point, horizon=HORIZON):
    """Linear warm-up from nothing, then half a cosine down to zero at the horizon."""
    warmup = max(1, int(point.warmup_factor * horizon))
    if step < warmup:
        return point.learning_rate * (1e-10 + (1 - 1e-10) * step / warmup)
    part = (step - warmup) / (horizon - warmup)
    return point.learning_rate * 0.5 * (1 + math.cos(math.pi * part))


def points(name):
    """The points of a submission's search space, as it is handed them."""
    text = (loading.find(name) / SEARCH_SPACE_FILE).read_text()
    return [SimpleNamespace(**point) for point in json.loads(text)]


def trained(name, point, steps=STEPS, step_hint=STEP_HINT):
    """The weights after so many steps of a submission, by name, as an evaluation sees them."""
    functions = loading.load(loading.find(name))
    network, view = model(), workload(step_hint)
    state = functions.init_optimizer_state(view, network, None, point, None)
    fixed = {
        "workload": view, "current_param_container": network, "current_params_types": TYPES,
        "model_state": None, "hyperparameters": point, "loss_type": None, "eval_results": [],
        "optimizer_state": state, "rng": None,
    }  # fmt: skip
    for step in range(steps):
        functions.update_params(**fixed, batch=batch(step), global_step=step)
    if functions.prepare_for_eval is not None:
        functions.prepare_for_eval(**fixed, global_step=steps)
    return {n: p.detach() for n, p in network.named_parameters()}


def start():
    """The weights at the start, by name."""
    return {name: p.detach().clone() for name, p in model().named_parameters()}


def literal(update, point, steps=STEPS, rate=learning_rate):
    """The weights after so many steps of an update rule for one tensor.

    `update(w, g, s, t, lr, h)` returns the next w; `s` keeps what the rule needs, `t` is from 1.
    """
    weights = start()
    memory = {n: SimpleNamespace(name=n) for n in weights}
    for step in range(steps):
        grads = gradients(weights, step)
        lr = rate(step, point)
        for name, w in weights.items():
            weights[name] = update(w, grads[name], memory[name], step + 1, lr, copy.copy(point))
    return weights


def assert_same(ours, theirs, rtol=1e-5, atol=1e-7):
    for name, w in start().items():
        assert not torch.allclose(theirs[name], w, atol=100 * atol), f"{name} did not move"
        torch.testing.assert_close(ours[name], theirs[name], rtol=rtol, atol=atol)
