"""The demo workloads against scikit-learn, torch and closed forms."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import datasets
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the usual name

import workloads
from harness.spec import ForwardPassMode, ParameterType
from workloads import demo_data
from workloads.modes import frozen_batch_norm
from workloads.parameters import parameter_types


def rows(array):
    return {row.tobytes() for row in np.ascontiguousarray(array.reshape(len(array), -1))}


@pytest.mark.parametrize(
    ("name", "loader"),
    [("digits", "load_digits"), ("breast_cancer", "load_breast_cancer"),
     ("diabetes", "load_diabetes")],
)  # fmt: skip
def test_splits_partition_the_dataset_and_are_standardised_by_training_alone(name, loader):
    workload = workloads.get(name)
    splits = workload.load()
    held_out = [splits["train"]["inputs"], splits["test"]["inputs"]]
    if name != "breast_cancer":  # there the training objective itself is validated
        held_out.append(splits["validation"]["inputs"])
    total = len(getattr(datasets, loader)().data)
    assert sum(len(part) for part in held_out) == total
    everything = np.concatenate([part.reshape(len(part), -1) for part in held_out])
    assert len(rows(everything)) == total
    axis = None if name == "digits" else 0
    train, test = splits["train"]["inputs"].astype(float), splits["test"]["inputs"].astype(float)
    np.testing.assert_allclose(train.mean(axis=axis), 0, atol=1e-6)
    np.testing.assert_allclose(train.std(axis=axis), 1, atol=1e-5)
    assert np.abs(test.mean(axis=axis)).max() > 1e-4
    again = workloads.get(name).load()
    assert all(np.array_equal(splits[s]["inputs"], again[s]["inputs"]) for s in splits)


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "diabetes"])
def test_files_are_read_as_scikit_learn_reads_them(name):
    options = {"scaled": False} if name == "diabetes" else {}
    inputs, targets = getattr(datasets, f"load_{name}")(return_X_y=True, **options)
    ours = getattr(demo_data, name)()
    for array, expected in zip(ours, (inputs, targets), strict=True):
        assert array.dtype == expected.dtype
        assert array.tobytes() == np.ascontiguousarray(expected).tobytes()


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "diabetes"])
def test_a_dataset_in_the_project_says_where_it_comes_from_and_its_licence(name):
    folder = Path(demo_data.__file__).parent / name
    text = (folder / "DATA.md").read_text()
    files = [*folder.glob("*.csv"), *folder.glob("*.csv.gz")]
    assert files
    assert all(file.name in text for file in files)
    assert "https://" in text
    assert "licence" in text
    assert "Redistribution" in (folder.parent / "scikit-learn.COPYING").read_text()


def test_scikit_learn_is_not_needed_to_run(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert len(demo_data.digits()[0]) == 1797
    assert len(demo_data.breast_cancer()[0]) == 569
    assert len(demo_data.diabetes()[0]) == 442


def test_labels_stay_with_their_inputs():
    data = datasets.load_digits()
    label_of = {image.tobytes(): y for image, y in zip(data.data, data.target, strict=True)}
    images, targets = workloads.get("digits").load()["test"].values()
    levels = np.unique(images)  # pixels are 0..16, all of which occur
    raw = np.searchsorted(levels, images).astype(np.float64).reshape(len(images), -1)
    assert len(levels) == 17
    assert [label_of[image.tobytes()] for image in raw] == targets.tolist()


def test_breast_cancers_optimum_is_scikit_learns():
    workload = workloads.get("breast_cancer")
    features, labels = workload.load()["train"].values()
    n = len(features)
    with_ones = np.hstack([features.astype(float), np.ones((n, 1))])
    oracle = LogisticRegression(C=1 / (n * workload.l2), fit_intercept=False, tol=1e-12,
                                max_iter=10_000).fit(with_ones, labels[:, 0])  # fmt: skip
    w = oracle.coef_[0]
    logits = with_ones @ w
    objective = np.mean(np.logaddexp(0, logits) - labels[:, 0] * logits)
    objective += workload.l2 / 2 * w @ w
    found = workload.optimum()
    assert found["optimum"] == pytest.approx(objective, rel=1e-8)
    assert found["gradient_norm_at_optimum"] < 1e-9
    assert workload.validation_target_value == pytest.approx(
        found["optimum"] * (1 + workload.relative_precision), rel=1e-9
    )


def test_breast_cancers_loss_is_the_regularised_objective_for_training_too():
    workload = workloads.get("breast_cancer")
    model, _ = workload.init_model_fn(0)
    batch = next(workload.build_input_queue(0, "train", 16))
    logits, _ = workload.model_fn(model, batch, None, ForwardPassMode.TRAIN, (0, 0), True)
    loss = workload.loss_fn(batch["targets"], logits)["summed"] / 16
    loss.backward()
    gradient = model.linear.weight.grad.clone()
    model.zero_grad()
    plain = F.binary_cross_entropy_with_logits(model.linear(batch["inputs"]), batch["targets"])
    plain.backward()
    expected = model.linear.weight.grad + workload.l2 * model.linear.weight.detach()
    torch.testing.assert_close(gradient, expected)
    norm = sum(p.detach().square().sum() for p in model.parameters())
    torch.testing.assert_close(loss, plain + workload.l2 / 2 * norm)


def test_losses_equal_torchs_own():
    digits, diabetes = workloads.get("digits"), workloads.get("diabetes")
    logits, classes = torch.randn(9, 10), torch.randint(0, 10, (9,))
    smoothed = digits.loss_fn(classes, logits, label_smoothing=0.1)
    torch.testing.assert_close(
        smoothed["summed"] / 9, F.cross_entropy(logits, classes, label_smoothing=0.1)
    )
    predicted, outcome = torch.randn(9, 1), torch.randn(9, 1)
    torch.testing.assert_close(
        diabetes.loss_fn(outcome, predicted)["summed"] / 9, F.mse_loss(predicted, outcome)
    )


def test_parameter_types_come_from_the_modules():
    types = workloads.get("digits").model_params_types
    assert types == {
        "conv1.weight": ParameterType.CONV_WEIGHT,
        "bn1.weight": ParameterType.BATCH_NORM_SCALE,
        "bn1.bias": ParameterType.BATCH_NORM_BIAS,
        "conv2.weight": ParameterType.CONV_WEIGHT,
        "bn2.weight": ParameterType.BATCH_NORM_SCALE,
        "bn2.bias": ParameterType.BATCH_NORM_BIAS,
        "head.weight": ParameterType.WEIGHT,
        "head.bias": ParameterType.BIAS,
    }
    other = parameter_types(nn.Sequential(nn.Embedding(3, 4), nn.LayerNorm(4)))
    assert list(other.values()) == [
        ParameterType.EMBEDDING, ParameterType.LAYER_NORM_SCALE, ParameterType.LAYER_NORM_BIAS,
    ]  # fmt: skip


def test_batch_norm_statistics_move_only_when_they_may():
    workload = workloads.get("digits")
    model, _ = workload.init_model_fn(0)
    batch = next(workload.build_input_queue(0, "train", 32))
    buffers = {name: value.clone() for name, value in model.named_buffers()}

    def forward(update):
        return workload.model_fn(model, batch, None, ForwardPassMode.TRAIN, (0, 0), update)[0]

    frozen = forward(update=False)
    for name, value in model.named_buffers():  # AlgoPerf counts the batch all the same
        assert torch.equal(value, buffers[name] + name.endswith("num_batches_tracked"))
    updated = forward(update=True)
    assert torch.equal(frozen, updated)  # batch statistics normalise either way
    assert not torch.equal(model.bn1.running_mean, buffers["bn1.running_mean"])
    assert model.bn1.num_batches_tracked == 2
    with pytest.raises(RuntimeError), frozen_batch_norm(model):
        raise RuntimeError
    assert model.bn1.momentum == 0.1
