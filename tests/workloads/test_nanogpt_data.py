"""nanogpt's files: token shards, windows of them, shards made of text, and what can be wrong."""

import json
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import workloads
from harness.spec import DataError
from tests.fixtures.nanogpt import write_files, write_shard, write_texts
from workloads.nanogpt.text import END_OF_TEXT
from workloads.shards import read_shard, shard, windows


@pytest.fixture
def files(tmp_path):
    return write_files(tmp_path)


def made_shard(folder, name):
    return read_shard(folder / "prepared" / "nanogpt" / name / "shard.bin")


def test_a_shard_is_as_the_speedrun_writes_them(tmp_path):
    path = write_shard(tmp_path / "x.bin", [5, 50256, 0])
    header = np.fromfile(path, "<i4", count=256)
    assert header[:4].tolist() == [20240520, 1, 3, 0]
    assert path.stat().st_size == 1024 + 3 * 2
    assert read_shard(path).tolist() == [5, 50256, 0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:-1], "should be 1,030 bytes for its 3 tokens, but is 1,029"),
        (lambda b: b"\0" + b[1:], "not a token shard"),
        (lambda b: b[:4] + b"\2" + b[5:], "of version 2"),
        (lambda b: b[:8] + b"\0\0\0\0" + b[12:1024], "has no tokens"),
        (lambda b: b[:100], "not a token shard"),
    ],
)
def test_a_damaged_shard_is_named(tmp_path, damage, message):
    path = tmp_path / "train.bin"
    path.write_bytes(damage(shard(np.array([1, 2, 3])).tobytes()))
    with pytest.raises(DataError, match=f"{path}: .*{message}"):
        read_shard(path)
    with pytest.raises(DataError, match="No such file"):
        read_shard(tmp_path / "none.bin")


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    length=st.integers(1, 7),
    first=st.integers(0, 12),
    count=st.none() | st.integers(0, 12),
)
def test_windows_are_those_of_a_plain_loop(sizes, length, first, count):
    start, shards, expected = 0, [], []
    for size in sizes:
        tokens = np.arange(start, start + size, dtype=np.uint16)
        shards.append(tokens)
        start += size
        for at in range(0, size - length, length):
            expected.append((tokens[at : at + length], tokens[at + 1 : at + length + 1]))
    expected = expected[first:] if count is None else expected[first : first + count]
    inputs, targets = windows(shards, length, first, count)
    assert len(inputs) == len(targets) == len(expected)
    every = np.arange(len(expected))[::-1]
    if expected:
        assert inputs.take(every).dtype == np.int64
        assert inputs.take(every).tolist() == [list(x) for x, _ in reversed(expected)]
        assert targets.take(every).tolist() == [list(y) for _, y in reversed(expected)]


def test_batches_are_windows_of_the_training_shards(files):
    workload = workloads.get("nanogpt", files)
    batch = next(workload.build_input_queue(0, "train", 4))
    assert batch["inputs"].shape == batch["targets"].shape == (4, 1024)
    assert batch["inputs"].dtype == torch.int64
    assert torch.equal(batch["inputs"][:, 1:], batch["targets"][:, :-1])
    text = np.concatenate([read_shard(path) for path in sorted(files.glob("*train*"))])
    starts = {row.tobytes() for row in np.lib.stride_tricks.sliding_window_view(text, 1024)[::1]}
    assert all(row.numpy().astype(np.uint16).tobytes() in starts for row in batch["inputs"])
    workload.prepare_data()  # nothing to do
    assert not (files / "prepared").exists()


def test_validation_and_test_are_the_first_tokens_and_the_next(files):
    workload = workloads.get("nanogpt", files)
    tokens = read_shard(files / "fineweb_val_000000.bin")
    assert len(workload.examples["validation"]) == len(workload.examples["test"]) == 19
    validation, test = (
        workload.examples["validation"]["inputs"],
        workload.examples["test"]["inputs"],
    )
    assert np.array_equal(validation.flatten().numpy(), tokens[: 19 * 1024])
    assert np.array_equal(test.flatten().numpy(), tokens[19 * 1024 : 38 * 1024])


def test_data_check_says_what_is_wrong(files, chronograd):
    code, out, err = chronograd("data", "check", "nanogpt", "--data-dir", files)
    assert code == 1
    output = " ".join((out + err).split())
    assert "Where to get it: fineweb_train_*.bin" in output
    assert "81,923 tokens of train, the workload has 10,000,000,000" in output
    assert "40,960 tokens of val, the workload has 20,971,521" in output
    write_shard(files / "fineweb_train_000009.bin", [60000] * 10)
    assert any("beyond GPT-2's" in fault for fault in workloads.get("nanogpt", files).data_faults())
    (files / "fineweb_val_000000.bin").write_bytes(b"nothing")
    (fault,) = workloads.get("nanogpt", files).data_faults()
    assert "fineweb_val_000000.bin: is not a token shard" in fault


def test_missing_files_say_where_to_get_them(tmp_path):
    with pytest.raises(DataError, match="pass --data-dir DIR with fineweb_train"):
        workloads.get("nanogpt").check_data()
    with pytest.raises(DataError, match=r"no \*train\*.bin there; get fineweb_train"):
        workloads.get("nanogpt", tmp_path).check_data()
    write_files(tmp_path, tokens=1500)
    with pytest.raises(DataError, match="too few tokens for validation"):
        workloads.get("nanogpt", tmp_path).check_data()


def test_shards_are_made_of_text_by_a_tokenizer_trained_on_it(tmp_path, chronograd):
    from tokenizers import Tokenizer

    folder = write_texts(tmp_path)
    code, out, err = chronograd("data", "prepare", "nanogpt", "--data-dir", folder)
    assert (code, "nanogpt: ready" in out + err) == (0, True)
    prepared = folder / "prepared" / "nanogpt"
    content = np.load(prepared / "tokenizer" / "json.npy").tobytes().decode()
    tokenizer = Tokenizer.from_str(content)
    end = tokenizer.token_to_id(END_OF_TEXT)
    for name in ("train_1", "train_2", "val"):
        tokens = made_shard(folder, name)
        starts = np.flatnonzero(tokens == end)
        assert len(starts) == 30
        assert starts[0] == 0
        documents = (folder / f"{name}.txt").read_text().split(f"\n{END_OF_TEXT}\n")
        pieces = np.split(tokens, starts[1:])
        assert [tokenizer.decode(piece[1:].tolist()) for piece in pieces] == documents
    batch = next(workloads.get("nanogpt", folder).build_input_queue(0, "train", 2))
    assert batch["inputs"].shape == (2, 1024)


def test_preparation_goes_on_where_it_was_and_follows_changed_texts(tmp_path):
    folder = write_texts(tmp_path)
    workload = workloads.get("nanogpt", folder)
    workload.prepare_data()
    stamps = {p: p.stat().st_mtime_ns for p in folder.rglob("shard.bin")}
    assert len(stamps) == 3
    workload.prepare_data()
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("shard.bin")} == stamps
    (folder / "val.txt").write_text("another text")
    assert "is out of date" in " ".join(workload.data_faults())
    workload.prepare_data()
    changed = {p for p in stamps if p.stat().st_mtime_ns != stamps[p]}
    assert {path.parent.name for path in changed} == {"val"}
    shard_file = next(iter(sorted(stamps)))
    content = shard_file.read_bytes()
    shard_file.write_bytes(content[:-2] + b"\0\0")
    assert "checksum" in " ".join(workload.data_faults())


@pytest.mark.parametrize("gpt2s", [False, True])
def test_a_given_tokenizer_is_used(tmp_path, gpt2s):
    from tokenizers import Tokenizer

    maker = write_texts(tmp_path / "maker")
    workloads.get("nanogpt", maker).prepare_data()
    content = np.load(maker / "prepared/nanogpt/tokenizer/json.npy").tobytes().decode()
    folder = write_texts(tmp_path / "user", documents=7)
    if gpt2s:  # its two files
        model = json.loads(content)["model"]
        (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
        merges = "\n".join(" ".join(pair) for pair in model["merges"])
        (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    else:
        (folder / "tokenizer.json").write_text(content)
    workloads.get("nanogpt", folder).prepare_data()
    tokenizer = Tokenizer.from_str(content)
    first = (folder / "train_1.txt").read_text().split(f"\n{END_OF_TEXT}\n")[0]
    ids = tokenizer.encode(first).ids
    assert made_shard(folder, "train_1")[1 : len(ids) + 1].tolist() == ids


def test_bad_text_is_named_by_file_and_line(tmp_path):
    folder = write_texts(tmp_path)
    (folder / "train_2.txt").write_bytes(b"fine\nfine\n\xff\xfe\n")
    with pytest.raises(DataError, match=r"train_2.txt:3: is not UTF-8"):
        workloads.get("nanogpt", folder).prepare_data()
    (folder / "train_2.txt").write_text(f"\n{END_OF_TEXT}\n \n")
    with pytest.raises(DataError, match=r"train_2\.txt: has no text"):
        workloads.get("nanogpt", folder).prepare_data()


def test_a_bad_tokenizer_is_refused(tmp_path):
    folder = write_texts(tmp_path)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer\.json: is not a byte-level BPE"):
        workloads.get("nanogpt", folder).prepare_data()


def test_without_the_tokenizer_package_the_user_is_told_what_to_install(tmp_path, monkeypatch):
    folder = write_texts(tmp_path)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataError, match=r"pip install chronograd\[nanogpt\]"):
        workloads.get("nanogpt", folder).prepare_data()
