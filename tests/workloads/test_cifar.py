"""cifar against AlgoPerf's facts, its files whole and damaged, and the shapes of its mini."""

import itertools
import pickle

import numpy as np
import pytest
import torch

import workloads
from harness.spec import DataError, ForwardPassMode
from tests.fixtures.cifar import write_cifar
from workloads.cifar.data import FOLDER, TRAIN_FILES, read
from workloads.cifar.shapes import SHAPES, shapes
from workloads.cifar.task import DEVIATION, MEAN, shifted


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_cifar(tmp_path_factory.mktemp("cifar"))


def black():
    """What a black pixel is, normalised: [3, 1, 1]."""
    return -(torch.tensor(MEAN) / torch.tensor(DEVIATION)).view(3, 1, 1)


def test_the_model_has_the_official_parameters():
    with torch.device("meta"):
        model = workloads.get("cifar").build_model()
    assert sum(p.numel() for p in model.parameters()) == 11_173_962
    assert len(list(model.parameters())) == 62
    assert model(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)


def test_records_are_a_label_and_three_planes(files):
    images, labels = read(files, TRAIN_FILES[1:2])
    content = (files / FOLDER / TRAIN_FILES[1]).read_bytes()
    record = content[5 * 3073 : 6 * 3073]
    assert labels[5] == record[0]
    assert images[5, 2, 3, 4] == record[1 + 2 * 1024 + 3 * 32 + 4]
    assert images.shape == (10000, 3, 32, 32)


def test_the_last_five_thousand_validate_and_pixels_are_normalised(files):
    splits = workloads.get("cifar", files).load()
    images, labels = read(files, TRAIN_FILES)
    assert {name: len(columns["targets"]) for name, columns in splits.items()} == {
        "train": 45000, "validation": 5000, "test": 10000,
    }  # fmt: skip
    assert np.array_equal(splits["validation"]["targets"], labels[45000:])
    expected = (images[45000].astype(np.float64) / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(
        DEVIATION, (3, 1, 1)
    )
    np.testing.assert_allclose(splits["validation"]["inputs"][0], expected, rtol=1e-4, atol=1e-5)


def test_a_crop_is_a_window_of_the_image_in_a_black_frame():
    torch.manual_seed(0)
    images, draws = torch.randn(200, 3, 6, 5), torch.rand(200, 2)
    out = shifted(images, draws, 2)
    seen = set()
    for image, (a, b), crop in zip(images, draws.tolist(), out, strict=True):
        top, left = int(a * 5), int(b * 5)
        seen.add((top, left))
        framed = black().repeat(1, 10, 9)
        framed[:, 2:8, 2:7] = image
        torch.testing.assert_close(crop, framed[:, top : top + 6, left : left + 5])
    assert seen == set(itertools.product(range(5), repeat=2))


def test_half_of_the_images_are_mirrored_and_labels_stay():
    workload = workloads.get("cifar_mini")
    images, labels = torch.randn(3, 3, 16, 16), torch.tensor([4, 5, 6])
    draws = torch.tensor([[0.5, 0.5, 0.4], [0.5, 0.5, 0.5], [0.5, 0.5, 0.9]])
    out = workload.augmented({"inputs": images, "targets": labels}, draws)
    torch.testing.assert_close(out["inputs"], torch.stack([images[0].flip(2), *images[1:]]))
    assert torch.equal(out["targets"], labels)


def test_augmentation_differs_between_epochs_and_spares_evaluation():
    workload = workloads.get("cifar_mini")
    size = workload.num_train_examples
    one, two = itertools.islice(workload.build_input_queue(0, "train", size), 2)
    twins = {row.numpy().tobytes() for row in one["inputs"]} & {
        row.numpy().tobytes() for row in two["inputs"]
    }
    assert len(twins) < size / 20  # one in fifty is cropped and mirrored as before
    assert sorted(one["targets"].tolist()) == sorted(two["targets"].tolist())
    model, _ = workload.init_model_fn(0)
    assert workload.eval_model(model, None, "train") == workload.eval_model(model, None, "train")


def test_the_official_model_learns_from_a_batch_of_files(files):
    workload = workloads.get("cifar", files)
    model, _ = workload.init_model_fn(0)
    batch = next(workload.build_input_queue(0, "train", 8))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for _ in range(3):
        logits, _ = workload.model_fn(model, batch, None, ForwardPassMode.TRAIN, (0, 0), True)
        loss = workload.loss_fn(batch["targets"], logits)["summed"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_the_python_version_is_refused_with_the_reason(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(pickle.dumps({b"labels": []}))
    for place in (tmp_path, folder):
        with pytest.raises(DataError, match=r"unpickling runs whatever code .* binary version"):
            workloads.get("cifar", place).check_data()


def test_bad_files_are_named_with_what_is_wrong(tmp_path):
    with pytest.raises(DataError, match="--data-dir"):
        workloads.get("cifar").check_data()
    with pytest.raises(DataError, match=r"data_batch_1\.bin: no such file; put .* cifar-10-binary"):
        workloads.get("cifar", tmp_path).check_data()
    write_cifar(tmp_path)
    file = tmp_path / FOLDER / TRAIN_FILES[2]
    content = file.read_bytes()
    file.write_bytes(content[:-10])
    with pytest.raises(DataError, match=r"data_batch_3\.bin: has 30,729,990 bytes, 30,730,000"):
        workloads.get("cifar", tmp_path).check_data()
    file.write_bytes(content[: 7 * 3073] + b"\x0a" + content[7 * 3073 + 1 :])
    with pytest.raises(DataError, match=r"data_batch_3\.bin: record 7 has label 10, not 0 to 9"):
        workloads.get("cifar", tmp_path).check_data()


def test_shapes_are_the_same_every_time_and_of_every_kind():
    one, two, other = shapes(200, 16, 0), shapes(200, 16, 0), shapes(200, 16, 1)
    assert np.array_equal(one["images"], two["images"])
    assert not np.array_equal(one["images"], other["images"])
    assert set(one["labels"]) == set(range(len(SHAPES)))
