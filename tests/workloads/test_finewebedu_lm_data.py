"""finewebedu_lm's files: Arrow folders, token shards, what can be wrong, and the order."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import workloads
from harness.spec import DataError
from tests.fixtures.finewebedu_lm import documents, write_arrow, write_folders, write_split
from tests.fixtures.nanogpt import write_shard
from workloads.finewebedu_lm.data import (
    _END,
    Sequences,
    arrow_files,
    buffered_order,
    read_arrow,
)


def sequences_of(text, length=1024):
    """Inputs and targets by AlgoPerf's rule: cut into length + 1 tokens, the rest dropped."""
    whole = len(text) // (length + 1) * (length + 1)
    rows = np.asarray(text)[:whole].reshape(-1, length + 1)
    return rows[:, :-1], rows[:, 1:]


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.int32()), pa.list_(pa.int64()), pa.large_list(pa.uint16()), pa.list_(pa.uint32())],
    ids=str,
)
def test_arrow_folders_are_documents_joined_and_cut(tmp_path, kind):
    workload = workloads.get("finewebedu_lm", write_folders(tmp_path, kind=kind))
    workload.check_data()
    workload.prepare_data()  # nothing to do
    for split, seed, count in (("train", 1, 9), ("validation", 2, 7)):
        inputs, targets = sequences_of(np.concatenate(documents(seed, count)))
        examples = workload.examples[split]
        assert len(examples) == len(inputs) > 3
        batch = examples.take(np.arange(len(inputs)))
        assert batch["inputs"].tolist() == inputs.tolist()
        assert batch["targets"].tolist() == targets.tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train", "val"]


@pytest.mark.parametrize("layout", ["folders", "names"])
def test_token_shards_give_the_same_sequences(tmp_path, layout):
    arrow = workloads.get("finewebedu_lm", write_folders(tmp_path / "arrow"))
    shards = tmp_path / "shards"
    for split, seed, count in (("train", 1, 9), ("val", 2, 7)):
        text = np.concatenate(documents(seed, count))
        for number, part in enumerate(np.split(text, [len(text) // 3])):
            name = f"edu_{split}_{number}.bin"
            write_shard(shards / split / name if layout == "folders" else shards / name, part)
    same = workloads.get("finewebedu_lm", shards)
    for split in ("train", "validation"):
        count = len(arrow.examples[split])
        assert len(same.examples[split]) == count
        for one, other in zip(
            arrow.examples[split].take(np.arange(count)).values(),
            same.examples[split].take(np.arange(count)).values(),
            strict=True,
        ):
            assert one.tolist() == other.tolist()


def test_tokens_are_memory_mapped(tmp_path):
    before = pa.total_allocated_bytes()
    file = write_arrow(tmp_path / "x.arrow", [range(100_000), range(5)], batch=1)
    arrays = list(read_arrow(file))
    assert [len(array) for array in arrays] == [100_000, 5]
    assert pa.total_allocated_bytes() - before < 10_000
    assert not any(array.flags.writeable for array in arrays)


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    length=st.integers(1, 9),
    most=st.none() | st.integers(0, 6),
)
def test_sequences_are_those_of_a_plain_loop(sizes, length, most):
    text = np.arange(sum(sizes))
    arrays = np.split(text, np.cumsum(sizes)[:-1])
    for shift in (0, 1):
        expected = sequences_of(text, length)[shift][:most]
        found = Sequences(arrays, length, shift, most)
        assert len(found) == len(expected)
        order = np.arange(len(expected))[::-1]
        assert found.take(order).tolist() == expected[::-1].tolist()
        assert found.take(order).dtype == np.int64


def test_files_are_read_in_the_order_that_the_folder_states(tmp_path):
    folder = write_split(tmp_path / "train", documents(0, count=4), files=2)
    state = json.loads((folder / "state.json").read_text())
    state["_data_files"].reverse()
    (folder / "state.json").write_text(json.dumps(state))
    assert [f.name[:10] for f in arrow_files(folder)] == ["data-00001", "data-00000"]
    (folder / "state.json").unlink()
    assert [f.name[:10] for f in arrow_files(folder)] == ["data-00000", "data-00001"]


def damage_tail(folder):
    file = folder / "train" / "data-00001-of-00002.arrow"
    file.write_bytes(file.read_bytes()[:-100])


def damage_state(folder, text):
    (folder / "train" / "state.json").write_text(text)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_tail, "data-00001-of-00002.arrow: is cut off"),
        (lambda f: (f / "train/data-00000-of-00002.arrow").unlink(), "data-00000.*is missing"),
        (lambda f: (f / "train/data-00000-of-00002.arrow").write_bytes(b""), "is cut off"),
        (lambda f: (f / "train/data-00000-of-00002.arrow").write_bytes(b"x" * 9 + _END),
         "cannot be read as an Arrow stream"),
        (lambda f: damage_state(f, "{"), "state.json: cannot be read"),
        (lambda f: damage_state(f, "[]"), "state.json: cannot be read"),
        (lambda f: damage_state(f, '{"_data_files": [{"filename": "../x.arrow"}]}'), "is missing"),
        (lambda f: damage_state(f, '{"_data_files": [], "_indices_data_files": [{}]}'),
         "flatten_indices"),
        (lambda f: damage_state(f, '{"_data_files": []}'), "no folder 'train' with Arrow files"),
        (lambda f: write_split(f / "train", [[1, 2]], column="text"), "no column 'input_ids'"),
        (lambda f: write_split(f / "train", [[1, 2]], kind=pa.list_(pa.float32())),
         "is list<.*float.*>, and should be lists of integers"),
        (lambda f: write_split(f / "train", [[1, 2]]), "too few tokens of train"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, damage, message):
    workload = workloads.get("finewebedu_lm", write_folders(tmp_path))
    damage(tmp_path)
    with pytest.raises(DataError, match=message):
        workload.check_data()
    assert len(workload.data_faults()) == 1


def test_missing_documents_are_left_out_and_missing_tokens_refused(tmp_path):
    file = write_arrow(tmp_path / "x.arrow", [[1, 2], None, [], [3]])
    assert np.concatenate(list(read_arrow(file))).tolist() == [1, 2, 3]
    table = pa.table({"input_ids": pa.array([[1, None, 2]], pa.list_(pa.int32()))})
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(DataError, match="1 missing tokens"):
        list(read_arrow(file))


def test_data_check_counts_sequences_and_looks_at_tokens(tmp_path, chronograd):
    write_folders(tmp_path)
    code, out, err = chronograd("data", "check", "finewebedu_lm", "--data-dir", tmp_path)
    text = " ".join((out + err).split())
    assert code == 1
    assert "sequences of train, the workload has 8,749,870" in text
    assert "sequences of val, the workload has 100,000" in text
    assert "Hugging Face datasets" in text
    for token in (50257, -1):
        write_split(tmp_path / "val", [[token] * 2000])
        faults = workloads.get("finewebedu_lm", tmp_path).data_faults()
        assert any("val has tokens outside GPT-2's vocabulary of 50,257" in f for f in faults)
    code, out, err = chronograd("data", "prepare", "finewebedu_lm", "--data-dir", tmp_path)
    assert (code, "finewebedu_lm: ready" in out + err) == (0, True)


def test_missing_files_say_where_to_get_them(tmp_path):
    with pytest.raises(DataError, match="pass --data-dir DIR with the folders train/ and val/"):
        workloads.get("finewebedu_lm").check_data()
    with pytest.raises(DataError, match=r"no folder 'train' .*no \*train\*.bin there"):
        workloads.get("finewebedu_lm", tmp_path).check_data()


def test_there_is_no_test_split(tmp_path, chronograd):
    assert workloads.get("finewebedu_lm_mini").test_goal is None
    options = ("--workload", "finewebedu_lm_mini", "--clock", "steps", "--out", tmp_path / "out")
    code, _, err = chronograd("run", "nadamw", *options, "--until", "test")
    assert code == 2
    assert "--until test: finewebedu_lm_mini has no test split" in " ".join(err.split())


@given(count=st.integers(1, 2500), seed=st.integers(0, 3))
def test_the_order_is_that_of_a_shuffle_buffer(count, seed):
    generator = np.random.default_rng(seed)
    buffer, expected, size = list(range(min(1000, count))), [], min(1000, count)
    for following, place in enumerate(generator.integers(size, size=count - size), start=size):
        expected.append(buffer[place])
        buffer[place] = following
    order = buffered_order(np.random.default_rng(seed), count)
    assert order[: len(expected)].tolist() == expected
    assert sorted(order[len(expected) :]) == sorted(buffer)


def test_training_batches_follow_that_order(tmp_path):
    workload = workloads.get("finewebedu_lm", write_folders(tmp_path))
    count = len(workload.examples["train"])
    inputs, _ = sequences_of(np.concatenate(documents(1, 9)))
    queue = workload.build_input_queue(3, "train", 2)
    rows = [row for _ in range(count // 2) for row in next(queue)["inputs"].tolist()]
    assert sorted(map(tuple, rows)) <= sorted(map(tuple, inputs.tolist()))
    later = workload.build_input_queue(3, "train", 2, start=1)
    assert next(later)["inputs"].tolist() == rows[2:4]
