"""Data files that somebody damaged or made to do harm: one line each, neither hours nor memory."""

import gzip
import os
import struct
import zlib

import numpy as np
import pytest

from harness.spec import DataError
from scoring.files import GzipReader
from workloads.cifar.data import FOLDER, TEST_FILE
from workloads.cifar.data import read as read_cifar
from workloads.fastmri.data import count_slices, read_volume
from workloads.librispeech.corpus import _read as read_flac
from workloads.mnist.data import SHAPES
from workloads.mnist.data import read as read_mnist
from workloads.ogbg import data as ogbg
from workloads.vocabulary import read_model

LABELS = "t10k-labels-idx1-ubyte"
GOOD = bytes([0, 0, 8, 1]) + struct.pack(">I", 10000) + bytes(10000)


def bomb(size):
    """A gzip file that unpacks to `size` zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(2**20)
    return b"".join(packer.compress(block) for _ in range(size // 2**20)) + packer.flush()


def broken_gzip():
    whole = gzip.compress(GOOD + os.urandom(5000))
    middle = bytearray(whole)
    middle[len(whole) // 2] ^= 0xFF
    wrong_sum = bytearray(whole)
    wrong_sum[-6] ^= 0xFF
    return {
        "empty": b"",
        "not gzip": b"<html>not found</html>",
        "cut in the header": whole[:5],
        "cut": whole[:-20],
        "a changed byte": bytes(middle),
        "a wrong checksum": bytes(wrong_sum),
        "something after it": whole + b"more",
        "deflate garbage": whole[:10] + os.urandom(200),
    }


@pytest.mark.parametrize("kind", broken_gzip())
def test_damaged_gzip_is_one_line(tmp_path, kind):
    path = tmp_path / f"{LABELS}.gz"
    path.write_bytes(broken_gzip()[kind])
    with pytest.raises(DataError) as error:
        read_mnist(tmp_path, LABELS)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match=r"labels.*\.gz") as error:
        ogbg.read_table(path, 1, np.int32)
    assert "\n" not in str(error.value).strip()


def test_a_gzip_bomb_is_unpacked_no_further_than_the_data_can_be(tmp_path):
    (tmp_path / f"{LABELS}.gz").write_bytes(bomb(200 * 2**20))
    with pytest.raises(DataError, match=r"labels.*\.gz: holds more than 94,080,016 bytes"):
        read_mnist(tmp_path, LABELS)


def test_a_bomb_in_a_table_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(ogbg, "MOST_BYTES", 2**22)
    file = tmp_path / "edge.csv.gz"
    file.write_bytes(gzip.compress(b"1\n" * 2**23))
    with pytest.raises(DataError, match=r"edge\.csv\.gz: holds more than 4,194,304 bytes"):
        ogbg.read_table(file, 1, np.int32)


def test_a_gzip_file_within_its_limit_is_read_whole(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(GOOD))
    with GzipReader(tmp_path / "x.gz", len(GOOD)) as file:
        assert file.read() == GOOD
    with (
        GzipReader(tmp_path / "x.gz", len(GOOD) - 1) as file,
        pytest.raises(ValueError, match="10"),
    ):
        file.read()


def sparse(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_sparse_files_of_a_terabyte_are_not_read(tmp_path):
    sparse(tmp_path / LABELS, 2**40)
    with pytest.raises(DataError, match=r"labels.*has 1,099,511,627,776 bytes"):
        read_mnist(tmp_path, LABELS)
    sparse(tmp_path / FOLDER / TEST_FILE, 2**40)
    with pytest.raises(DataError, match="has 1,099,511,627,776 bytes"):
        read_cifar(tmp_path, (TEST_FILE,))
    with pytest.raises(DataError, match="has 1,099,511,627,776 bytes"):
        read_model(sparse(tmp_path / "spm.model", 2**40), 100)


def test_flac_that_promises_days_is_refused(tmp_path):
    import soundfile

    file = tmp_path / "a.flac"
    soundfile.write(file, np.zeros(1000, np.int16), 16000)
    content = bytearray(file.read_bytes())
    content[21] |= 0x0F  # STREAMINFO's 36 bits that say how many samples there are
    content[22:26] = b"\xff\xff\xff\xff"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.flac: has 68,719,476,735 samples by its header"):
        read_flac(file)


def volume(path, change):
    import h5py

    with h5py.File(path, "w") as file:
        file["kspace"] = np.ones((1, 8, 8), np.complex64)
        file["reconstruction_esc"] = np.ones((1, 4, 4), np.float32)
        file.attrs["max"] = 1.0
        change(file, h5py)
    return path


def external_link(file, h5py):
    del file["kspace"]
    file["kspace"] = h5py.ExternalLink("secret.h5", "/kspace")


def soft_link(file, h5py):
    file.move("kspace", "other")
    file["kspace"] = h5py.SoftLink("/other")


def dangling(file, h5py):
    del file["kspace"]
    file["kspace"] = h5py.SoftLink("/nowhere")


def external_storage(file, h5py):
    del file["kspace"]
    file.create_dataset("kspace", (1, 8, 8), "c8", external=[("/etc/passwd", 0, 512)])


def virtual(file, h5py):
    del file["kspace"]
    layout = h5py.VirtualLayout((1, 8, 8), "c8")
    layout[0] = h5py.VirtualSource("secret.h5", "kspace", (8, 8))
    file.create_virtual_dataset("kspace", layout)


def promises(file, h5py):
    del file["kspace"]
    file.create_dataset("kspace", (100, 25000, 19000), "c8", chunks=(1, 64, 64))


def text(file, h5py):
    del file["kspace"]
    file["kspace"] = "not an array"


def group(file, h5py):
    del file["kspace"]
    file.create_group("kspace")


def empty(file, h5py):
    del file["kspace"]
    file["kspace"] = h5py.Empty("f")


def no_maximum(file, h5py):
    file.attrs["max"] = "large"


VOLUMES = {
    external_link: "is a link to elsewhere",
    soft_link: "is a link to elsewhere",
    dangling: "is a link to elsewhere",
    external_storage: "has its values in other files",
    virtual: "has its values in other files",
    promises: r"\(100, 25000, 19000\) would take 380 GB",
    text: "is not an array of numbers",
    group: "is not an array of numbers",
    empty: "is not an array of numbers",
    no_maximum: "cannot be read",
}


@pytest.mark.parametrize("change", VOLUMES)
def test_hdf5_that_reaches_elsewhere_or_promises_too_much_is_refused(tmp_path, change):
    file = volume(tmp_path / "file1.h5", change)
    volume(tmp_path / "secret.h5", lambda *_: None)
    with pytest.raises(DataError, match=VOLUMES[change]) as error:
        read_volume(file, None)
    assert str(file) in str(error.value)
    if change is not no_maximum:
        with pytest.raises(DataError, match=VOLUMES[change]):
            count_slices(file)


def test_hdf5_that_is_cut_or_a_pipe_is_one_line(tmp_path):
    file = volume(tmp_path / "a.h5", lambda *_: None)
    file.write_bytes(file.read_bytes()[:700])
    os.mkfifo(tmp_path / "pipe.h5")
    for path, said in ((file, "cannot be read"), (tmp_path / "pipe.h5", "not a regular file")):
        with pytest.raises(DataError, match=said) as error:
            read_volume(path, None)
        assert "\n" not in str(error.value)


def test_every_file_of_mnist_fits_into_the_limit():
    from workloads.mnist.data import MOST_BYTES

    assert all(np.prod(shape) + 4 + 4 * len(shape) <= MOST_BYTES for shape in SHAPES.values())
