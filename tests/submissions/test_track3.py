"""muon_track3 and adam_track3 against literal loops in float64."""

import pytest
import torch

import workloads
from submissions import track3
from tests.submissions.problem import STEP_HINT, assert_same, literal, points, trained

NUMBERS = pytest.mark.parametrize("number", range(5))
EXAMPLES = 16  # of a batch: the loss is their sum, the problem's gradients are of their mean


def factor(step, point):
    """Constant, then linear to 0 over the last part of the step hint, after a warm-up."""
    progress = step / STEP_HINT
    fall = 1.0 if progress < 1 - point.cooldown_factor else (1 - progress) / point.cooldown_factor
    warmup = round(getattr(point, "warmup_factor", 0.0) * STEP_HINT)
    return fall * ((step + 1) / warmup if step < warmup else 1.0)


def adam(w, g, s, t, lr, beta1, beta2):
    s.m = beta1 * getattr(s, "m", 0) + (1 - beta1) * g
    s.v = beta2 * getattr(s, "v", 0) + (1 - beta2) * g**2
    return w - lr * (s.m / (1 - beta1**t)) / ((s.v / (1 - beta2**t)).sqrt() + 1e-10)


def muon_track3(w, g, s, t, lr, h):
    """`lr` is the factor of the schedule: each kind of parameter has its own rate."""
    g = EXAMPLES * g
    if s.name != "hidden.weight":
        kind = {"embedding.weight": "embedding", "out.weight": "output"}.get(s.name, "vector")
        rate = lr * getattr(h, f"{kind}_learning_rate")
        return adam(w, g, s, t, rate, h.adam_beta1, h.adam_beta2)
    momentum, rate = 1 - h.one_minus_beta1, lr * h.learning_rate
    s.m = momentum * getattr(s, "m", 0) + (1 - momentum) * g
    x = momentum * s.m + (1 - momentum) * g  # [6, 4]
    x = x / (x.norm() + 1e-7)
    for _ in range(12):
        gram = x @ x.T
        x = 2 * x + (-1.5 * gram + 0.5 * gram @ gram) @ x
    return w - rate * h.weight_decay * w - rate * (6 / 4) ** 0.5 * x


def adam_track3(w, g, s, t, lr, h):
    rate = lr * h.learning_rate
    decayed = w - rate * h.weight_decay * w
    return adam(decayed, EXAMPLES * g, s, t, rate, 1 - h.one_minus_beta1, h.beta2)


@NUMBERS
@pytest.mark.parametrize("update", [muon_track3, adam_track3], ids=lambda update: update.__name__)
def test_against_a_literal_loop(update, number):
    point = points(update.__name__)[number]
    ours = trained(update.__name__, point, steps=STEP_HINT)
    theirs = literal(update, point, steps=STEP_HINT, rate=factor)
    assert_same(ours, theirs, rtol=1e-6, atol=1e-9)


def test_the_first_points_are_the_published_ones():
    muon, adam = points("muon_track3")[0], points("adam_track3")[0]
    assert vars(muon) == {
        "learning_rate": 0.025, "one_minus_beta1": 0.05, "weight_decay": 0.025,
        "embedding_learning_rate": 0.3, "output_learning_rate": 1 / 320,
        "vector_learning_rate": 0.01, "adam_beta1": 0.8, "adam_beta2": 0.95,
        "cooldown_factor": 0.7,
    }  # fmt: skip
    assert (adam.learning_rate, adam.one_minus_beta1, adam.beta2) == (0.0015, 0.1, 0.95)
    rates = [track3.rate_factor(step, 5625, adam) for step in (0, 249, 250, 1687, 1688, 5624)]
    expected = [1 / 250, 1, 1, 1, (1 - 1688 / 5625) / 0.7, 1 / 5625 / 0.7]
    assert rates == pytest.approx(expected, rel=1e-9)
    assert track3.rate_factor(6000, 5625, adam) == 0


def test_after_the_step_hint_nothing_changes():
    point = points("muon_track3")[0]
    until, after = (trained("muon_track3", point, steps=STEP_HINT + more) for more in (0, 3))
    assert all(torch.equal(until[name], after[name]) for name in until)


def test_parameters_of_track_3_have_the_optimizers_of_the_baseline():
    workload = workloads.get("nanogpt_track3_mini")
    model, _ = workload.init_model_fn(0)
    names = {id(p): name for name, p in model.named_parameters()}
    found = {
        kind: {names[id(p)] for p in parameters}
        for kind, parameters in track3.split_parameters(model, workload).items()
    }
    matrices = {n for n, p in model.blocks.named_parameters("blocks") if p.ndim >= 2}
    assert found["hidden"] == matrices
    assert found["embedding"] == {"embed.weight"}
    assert found["output"] == {"proj.weight"}
    assert found["vector"] == {n for n, p in model.named_parameters() if p.ndim < 2}


def test_singular_values_become_one():
    for shape in ((6, 4), (4, 6)):
        made = track3.orthogonalised(torch.randn(shape, dtype=torch.float64))
        assert torch.linalg.svdvals(made) == pytest.approx(1, abs=1e-3)
