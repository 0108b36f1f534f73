"""mnist against AlgoPerf's facts, and its files, whole and damaged."""

import gzip

import numpy as np
import pytest

import workloads
from harness.spec import DataError
from harness.submission import loading
from harness.submission.search_space import load
from harness.trial.attempt import run_attempt
from scoring.tree import SEARCH_SPACE_FILE
from tests.fixtures.mnist import write_mnist
from tests.fixtures.toy import make_spec
from workloads.mnist.data import SHAPES, read


def test_parameters_are_algoperfs_by_name_shape_and_type():
    workload = workloads.get("mnist")
    model, _ = workload.init_model_fn(0)
    shapes = {name: list(p.shape) for name, p in model.named_parameters()}
    assert shapes == {
        "net.layer1.weight": [128, 784],
        "net.layer1.bias": [128],
        "net.layer2.weight": [10, 128],
        "net.layer2.bias": [10],
    }
    assert [t.name for t in workload.model_params_types.values()] == ["WEIGHT", "BIAS"] * 2


def test_pixels_are_scaled_as_algoperf_scales_them(mnist_dir):
    raw = read(mnist_dir, "train-images-idx3-ubyte")
    splits = workloads.get("mnist", data_dir=mnist_dir).load()
    expected = (raw[50000].astype(np.float64) - 0.1307) / 0.3081
    np.testing.assert_allclose(splits["validation"]["inputs"][0, 0], expected, rtol=1e-5)
    labels = read(mnist_dir, "train-labels-idx1-ubyte")
    assert np.array_equal(splits["validation"]["targets"], labels[50000:])
    assert np.array_equal(splits["train"]["targets"], labels[:50000])


def test_gzipped_files_are_read_too(tmp_path, mnist_dir):
    zipped = write_mnist(tmp_path, compress=True)
    for name in SHAPES:
        assert np.array_equal(read(zipped, name), read(mnist_dir, name))


def damaged(tmp_path, content):
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(tmp_path, "t10k-labels-idx1-ubyte")
    return str(caught.value)


GOOD = bytes([0, 0, 8, 1]) + (10000).to_bytes(4, "big") + bytes(10000)


def test_damaged_files_are_named_with_what_is_wrong(tmp_path):
    assert "has 9,508 bytes, 10,008 were expected" in damaged(tmp_path, GOOD[:-500])
    assert "is not an IDX file of (10000,) unsigned bytes" in damaged(tmp_path, b"<html>" + GOOD)
    assert "is not an IDX file" in damaged(tmp_path, GOOD[:3])
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(GOOD)[:-20])
    with pytest.raises(DataError, match=r"damaged gzip file .* fetch it again"):
        read(tmp_path, "t10k-labels-idx1-ubyte")


def test_missing_files_are_named_with_where_to_put_them(tmp_path):
    with pytest.raises(DataError, match=r"pass --data-dir DIR with train-images-idx3-ubyte"):
        workloads.get("mnist").check_data()
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte: no such file; put train-images"):
        workloads.get("mnist", data_dir=tmp_path).check_data()


def test_it_trains_from_its_files(mnist_dir):
    folder = loading.find("nadamw")
    point = load(folder / SEARCH_SPACE_FILE).points(0, 1, 1)[0][0]
    workload = workloads.get("mnist", data_dir=mnist_dir)
    spec = make_spec(
        submission="nadamw", submission_path=str(folder), workload="mnist", hyperparameters=point,
        goal=workload.goal, test_goal=workload.test_goal, data_dir=str(mnist_dir), max_steps=200,
        step_hint=200, clock="steps", step_seconds=0.001,
    )  # fmt: skip
    result = run_attempt(workloads.get, spec)
    assert result.batch_size == 16
    assert result.rows[-1].metrics["validation/accuracy"] > 0.4, result.traceback  # chance: 0.1
