"""fastmri: model, data, metric."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

import workloads
from harness.spec import DataError, ForwardPassMode
from tests.fixtures.fastmri import write_files, write_volume
from workloads.fastmri import data
from workloads.fastmri.model import UNet
from workloads.fastmri.ssim import ssim
from workloads.parts import Rows

TABLE = {  # parameters, tensors, tensors that are convolution weights
    "fastmri": (7_756_097, 24, 23),
    "fastmri_model_size": (7_692_929, 19, 18),
    "fastmri_tanh": (7_756_097, 24, 23),
    "fastmri_layernorm": (7_761_985, 60, 41),
}


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = write_files(tmp_path_factory.mktemp("fastmri"))
    workloads.get("fastmri", folder).prepare_data()
    return folder


def on_meta(name):
    with torch.device("meta"):
        return workloads.get(name).build_model()


@pytest.mark.parametrize("name", TABLE)
def test_models_have_the_official_parameters(name):
    model = on_meta(name)
    types = [kind.name for kind in workloads.get(name).model_params_types.values()]
    count = sum(parameter.numel() for parameter in model.parameters())
    assert (count, len(types), types.count("CONV_WEIGHT")) == TABLE[name]


def test_weights_start_as_a_cut_normal_of_variance_one_over_fan_in():
    torch.manual_seed(0)
    weight = UNet(32, 2).conv.conv_layers[4].weight.detach()
    bound = 2 * (1 / (128 * 9)) ** 0.5 / 0.87962566103423978
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.98 * bound
    assert weight.std().item() == pytest.approx((1 / (128 * 9)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("shape", [(2, 24, 24), (1, 25, 31), (3, 30, 17)])
@pytest.mark.parametrize("options", [{}, {"tanh": True}, {"layer_norm": True}])
def test_images_keep_their_shape_odd_ones_too(shape, options):
    assert UNet(4, 3, **options)(torch.randn(shape)).shape == shape


def test_dropout_is_given_at_the_call_and_only_in_training():
    workload = workloads.get("fastmri_mini")
    model, _ = workload.init_model_fn(0)
    batch = next(workload.build_input_queue(0, "train", 4))

    def logits(mode, **rate):
        return workload.model_fn(model, batch, None, mode, (0, 0), True, **rate)[0]

    train, evaluate = ForwardPassMode.TRAIN, ForwardPassMode.EVAL
    assert torch.equal(logits(train), logits(train, dropout_rate=0.0))
    assert not torch.equal(logits(train, dropout_rate=0.5), logits(train, dropout_rate=0.5))
    assert torch.equal(logits(evaluate, dropout_rate=0.5), logits(evaluate))


def test_instance_norm_is_found_as_schedule_free_submissions_look_for_it():
    norms = [module for module in UNet(4, 2).modules() if hasattr(module, "running_mean")]
    assert len(norms) == 2 * 5 + 2
    assert all(norm.running_mean is None for norm in norms)


def test_loss_is_the_mean_absolute_error_of_each_slice():
    workload = workloads.get("fastmri_mini")
    labels, logits = torch.randn(2, 5, 24, 24).unbind()
    loss = workload.loss_fn(labels, logits)
    expected = np.abs(labels.double().numpy() - logits.double().numpy()).mean(axis=(1, 2))
    np.testing.assert_allclose(loss["per_example"], expected, rtol=1e-5)
    assert loss["summed"].item() == pytest.approx(expected.sum(), rel=1e-5)
    mask = torch.tensor([1.0, 0, 1, 0, 0])
    masked = workload.loss_fn(labels, logits, mask)
    assert masked["n_valid_examples"].item() == 2
    assert masked["summed"].item() == pytest.approx(expected[[0, 2]].sum(), rel=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e-5])
def test_ssim_is_scikit_images(scale):
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(4, 40, 33)) * scale
    noisy = clean + rng.normal(size=clean.shape) * scale * np.array([0.0, 0.1, 1, 3])[:, None, None]
    largest = clean.max(axis=(1, 2))
    ours = ssim(torch.from_numpy(noisy), torch.from_numpy(clean), torch.from_numpy(largest))
    theirs = [
        structural_similarity(a, b, win_size=7, data_range=c)
        for a, b, c in zip(clean, noisy, largest, strict=True)
    ]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    assert ours[0] == 1


def test_a_data_range_of_zero_counts_as_one():
    x = torch.rand(1, 9, 9)
    assert torch.equal(ssim(x, x * 0.9, torch.zeros(1)), ssim(x, x * 0.9, torch.ones(1)))


def test_random_numbers_are_tensorflows():
    golden = [0.21101546, 0.70601, 0.8000634, 0.77079225, 0.38858867, 0.8703594]
    np.testing.assert_allclose(data.uniform((0, 0), 6), golden, rtol=1e-7)
    assert np.array_equal(data.uniform((0, 0), 3), data.uniform((0, 0), 6)[:3])
    many = data.uniform((1, 2), 100_000)
    assert (many >= 0).all()
    assert (many < 1).all()
    assert np.histogram(many, 10)[0] / 10_000 == pytest.approx(np.ones(10), abs=0.05)


@pytest.mark.parametrize("width", [320, 368, 372])
def test_masks_keep_the_centre_and_a_quarter_of_all_columns(width):
    low = int(width * 0.08)
    start = (width - low + 1) // 2
    masks = np.stack([data.column_mask(width, (1, number)) for number in range(400)])
    assert masks[:, start : start + low].all()
    assert masks.mean() == pytest.approx(0.25, abs=0.01)
    assert len(np.unique(masks, axis=0)) == 400


def test_the_transform_is_a_centred_orthonormal_dft():
    rng = np.random.default_rng(0)
    kspace = rng.normal(size=(6, 8)) + 1j * rng.normal(size=(6, 8))
    rows, columns = (np.arange(n) - n // 2 for n in kspace.shape)
    waves = [
        np.exp(2j * np.pi * np.outer(n, n) / len(n)) / np.sqrt(len(n)) for n in (rows, columns)
    ]
    np.testing.assert_allclose(data.centred_ifft2(kspace[None])[0], waves[0] @ kspace @ waves[1])
    np.testing.assert_allclose(data.centred_fft2(data.centred_ifft2(kspace[None]))[0], kspace)


def test_a_slice_is_undersampled_and_standardised_as_specified(tmp_path):
    import h5py

    file = write_volume(tmp_path / "v.h5", slices=2)
    read = data.read_volume(file, first=7)
    with h5py.File(file) as volume:
        kspace, target = volume["kspace"][1], volume["reconstruction_esc"][1].astype(np.float64)
    masked = kspace.astype(np.complex128) * data.column_mask(368, (1, 8))
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(masked))) * np.sqrt(640 * 368)
    image = np.abs(image)[160:480, 24:344]
    mean, std = image.mean(), image.std()
    np.testing.assert_allclose(read["mean"][1], mean, rtol=1e-4)
    np.testing.assert_allclose(read["std"][1], std, rtol=1e-4)
    scaled = np.clip((image - mean) / std, -6, 6)
    np.testing.assert_allclose(read["inputs"][1], scaled, atol=2e-3)
    np.testing.assert_allclose(read["targets"][1], np.clip((target - mean) / std, -6, 6), atol=2e-3)
    assert read["volume_max"][1] == pytest.approx(target.max(), rel=0.5)


def test_splits_are_files_in_order_of_name_and_each_slice_is_there_once(files):
    workload = workloads.get("fastmri", files)
    sizes = {split: len(workload.examples[split]) for split in ("train", "validation", "test")}
    assert sizes == {"train": 36, "validation": 4, "test": 4}
    first = data.read_volume(sorted((files / data.VAL_FOLDER).glob("*.h5"))[2], None)
    assert torch.equal(workload.examples["test"]["inputs"][:2], torch.from_numpy(first["inputs"]))


def test_training_masks_differ_between_slices_and_evaluation_masks_do_not(files):
    workload = workloads.get("fastmri", files)
    parts = {Path(part.name).name: part.recipe for part in workload.parts()}
    starts = [recipe.rpartition(" ")[2] for name, recipe in parts.items() if "train" in name]
    assert starts == [str(3 * number) for number in range(12)]
    assert {recipe.rpartition(" ")[2] for n, recipe in parts.items() if "train" not in n} == {
        "None"
    }


def test_batches_are_a_function_of_seed_and_number(files):
    workload = workloads.get("fastmri", files)
    one, two = (workload.build_input_queue(3, "train", 16) for _ in range(2))
    for a, b in itertools.islice(zip(one, two, strict=False), 5):
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert set(a) == {"inputs", "targets", "mean", "std", "volume_max"}


def test_bad_files_are_named(tmp_path):
    import h5py

    with pytest.raises(DataError, match="--data-dir"):
        workloads.get("fastmri").check_data()
    with pytest.raises(DataError, match=r"knee_singlecoil_train: holds 0 \.h5 files"):
        workloads.get("fastmri", tmp_path).check_data()
    write_files(tmp_path)
    file = tmp_path / data.TRAIN_FOLDER / "file1000.h5"
    workload = workloads.get("fastmri", tmp_path)
    with h5py.File(file, "a") as volume:
        del volume.attrs["max"]
    with pytest.raises(DataError, match=r"file1000\.h5: has no attribute max"):
        workload.prepare_data()
    with h5py.File(file, "a") as volume:
        del volume["kspace"]
    with pytest.raises(DataError, match=r"file1000\.h5.*kspace"):
        workload.prepare_data()
    file.write_bytes(b"no HDF5")
    with pytest.raises(DataError, match=r"file1000\.h5"):
        workload.prepare_data()
    with h5py.File(file, "w") as volume:
        volume["kspace"] = np.zeros((1, 300, 300), np.complex64)
        volume["reconstruction_esc"] = np.zeros((1, 320, 320), np.float32)
        volume.attrs["max"] = 1.0
    with pytest.raises(DataError, match="smaller than images"):
        workload.prepare_data()


def test_a_constant_slice_is_refused():
    with pytest.raises(DataError, match="slice 1 is empty"):
        data.examples(
            np.stack([np.ones((8, 8)), np.zeros((8, 8))]),
            np.ones((2, 8, 8)),
            1.0,
            [(0, 0)] * 2,
            "v",
        )


def test_preparing_goes_on_where_it_was_cut_off_and_damage_is_found(tmp_path, monkeypatch):
    write_files(tmp_path)
    workload = workloads.get("fastmri", tmp_path)
    read = data.read_volume
    calls = []

    def cut_off(file, first):
        calls.append(file)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return read(file, first)

    monkeypatch.setattr(data, "read_volume", cut_off)
    with pytest.raises(KeyboardInterrupt):
        workload.prepare_data()
    workload.prepare_data()
    assert len(calls) == 5 + 16 - 4
    faults = workload.data_faults()
    assert all("slices, fastMRI has" in fault for fault in faults)
    assert len(faults) == 3
    array = tmp_path / "prepared" / "fastmri" / "train_file1003" / "inputs.npy"
    array.write_bytes(array.read_bytes()[:-1] + b"x")
    assert any(str(array) in fault and "checksum" in fault for fault in workload.data_faults())


def test_unprepared_data_says_what_to_run(tmp_path):
    workload = workloads.get("fastmri", write_files(tmp_path))
    with pytest.raises(DataError, match="chronograd data prepare"):
        workload.examples["train"]


def test_phantoms_are_the_same_every_time_and_worth_reconstructing(tmp_path, monkeypatch):
    monkeypatch.setenv("CHRONOGRAD_CACHE", str(tmp_path / "1"))
    one = workloads.get("fastmri_mini").load()
    monkeypatch.setenv("CHRONOGRAD_CACHE", str(tmp_path / "2"))
    two = workloads.get("fastmri_mini").load()
    for split, columns in one.items():
        assert all(np.array_equal(columns[key], two[split][key]) for key in columns)
    columns = {key: torch.from_numpy(np.array(value)) for key, value in one["test"].items()}
    unchanged = ssim(
        columns["inputs"] * columns["std"][:, None, None] + columns["mean"][:, None, None],
        columns["targets"] * columns["std"][:, None, None] + columns["mean"][:, None, None],
        columns["volume_max"],
    )
    assert 0.3 < unchanged.mean() < 0.8
    assert not np.array_equal(one["train"]["targets"][:128], one["test"]["targets"])


def test_rows_of_several_parts_are_one_array():
    arrays = [np.arange(n * 2).reshape(n, 2) + 100 * n for n in (3, 1, 4)]
    rows, whole = Rows(arrays), np.concatenate(arrays)
    order = np.array([7, 0, 3, 2, 4, 4])
    assert len(rows) == 8
    assert np.array_equal(rows.take(order), whole[order])
