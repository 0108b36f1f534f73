"""What `loss_fn` returns: AlgoPerf's plain dict, equal to torch's own losses, ready to compile."""

import copy
import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import workloads
from harness.spec import ForwardPassMode, LossType
from tests.fixtures.versions import needs_compile
from tests.workloads.test_contract import SMALL, batch_of
from workloads.losses import cross_entropy
from workloads.modes import frozen_batch_norm

KEYS = {"summed", "n_valid_examples", "per_example"}


@pytest.fixture(params=SMALL)
def parts(request, mnist_dir):
    """A workload, a small batch, and logits that want gradients."""
    workload = workloads.get(request.param, data_dir=mnist_dir)
    model, _ = workload.init_model_fn(0)
    batch = batch_of(workload)
    logits, _ = workload.model_fn(model, batch, None, ForwardPassMode.TRAIN, (0, 0), True)
    return workload, batch, logits


def test_a_loss_is_a_plain_dict_of_tensors_that_can_be_differentiated(parts):
    workload, batch, logits = parts
    loss = workload.loss_fn(batch["targets"], logits, batch.get("weights"))
    assert type(loss) is dict
    assert set(loss) == KEYS
    assert {**loss}.keys() == dict(loss).keys() == dict(loss.items()).keys() == KEYS
    assert copy.copy(loss)["per_example"] is loss["per_example"]
    as_text = json.dumps({name: value.tolist() for name, value in loss.items()})
    assert json.loads(as_text)["summed"] == loss["summed"].item()
    torch.testing.assert_close(loss["per_example"].sum(), loss["summed"])
    leaf = logits[0] if isinstance(logits, tuple) else logits
    by_sum, by_rows = (
        torch.autograd.grad(value, leaf, retain_graph=True)[0]
        for value in (loss["summed"], loss["per_example"].sum())
    )
    torch.testing.assert_close(by_sum, by_rows)


def test_a_count_is_an_integer_unless_the_mask_is_of_floats(mnist_dir):
    workload = workloads.get("mnist", data_dir=mnist_dir)
    logits, labels = torch.randn(4, 10), torch.tensor([1, 2, 3, 4])
    masks = {
        None: torch.int64,
        torch.tensor([True, False, True, True]): torch.int64,
        torch.tensor([1, 0, 1, 1]): torch.int64,
        torch.tensor([1.0, 0.0, 1.0, 1.0]): torch.float32,
    }
    for mask, kind in masks.items():
        count = workload.loss_fn(labels, logits, mask)["n_valid_examples"]
        assert (count.dtype, count.item(), count.dim()) == (kind, 4 if mask is None else 3, 0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["classes", "ignored", "weights"])
def test_cross_entropy_is_torchs_to_the_last_bit(kind, smoothing):
    torch.manual_seed(0)
    logits = (torch.randn(64, 37) * 4).requires_grad_()
    labels = torch.randint(37, (64,))
    if kind == "weights":
        labels = torch.rand(64, 37).softmax(1)
    ignored = 3 if kind == "ignored" else -100
    summed, rows = cross_entropy(labels, logits, smoothing, ignored)
    for value, reduction in ((summed, "sum"), (rows, "none")):
        expected = F.cross_entropy(
            logits, labels, ignore_index=ignored, label_smoothing=smoothing, reduction=reduction
        )
        assert torch.equal(value, expected)
        assert torch.equal(
            torch.autograd.grad(value.sum(), logits, retain_graph=True)[0],
            torch.autograd.grad(expected.sum(), logits)[0],
        )


@needs_compile
def test_loss_functions_compile_and_give_the_same(parts):
    workload, batch, logits = parts
    one_graph = workload.loss_type is not LossType.CTC_LOSS  # torch cannot trace that one
    torch.compiler.reset()  # it counts what it compiled for other workloads
    compiled = torch.compile(workload.loss_fn, backend="eager", fullgraph=one_graph)
    mask = batch.get("weights")
    for smoothing in (0.0, 0.1):
        plain = workload.loss_fn(batch["targets"], logits, mask, smoothing)
        loss = compiled(batch["targets"], logits, mask, smoothing)
        assert type(loss) is dict
        for name, value in plain.items():
            torch.testing.assert_close(loss[name], value)


def test_frozen_batch_norm_counts_its_batches_and_keeps_its_statistics():
    norm = nn.BatchNorm1d(3)
    with frozen_batch_norm(nn.Sequential(norm)):
        norm(torch.randn(5, 3) + 4)
    assert (norm.num_batches_tracked.item(), norm.momentum) == (1, 0.1)
    assert torch.equal(norm.running_mean, torch.zeros(3))
    assert torch.equal(norm.running_var, torch.ones(3))
