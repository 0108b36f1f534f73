"""criteo1tb: model, hashing, files, order of lines, loss and metric."""

import itertools
import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import log_loss

import workloads
from harness.spec import DataError, ForwardPassMode
from tests.fixtures.criteo1tb import write_files
from tests.workloads.official import two_steps
from workloads.criteo1tb import data, synthetic, task
from workloads.criteo1tb.click_log import ClickLog
from workloads.criteo1tb.farmhash import fingerprint64
from workloads.criteo1tb.model import DLRM, ResidualDLRM, look_up

SHAPES = {
    **{f"embedding_chunk_{n}": [1048576, 128] for n in range(4)},
    "bot_mlp.0.weight": [512, 13],
    "bot_mlp.0.bias": [512],
    "bot_mlp.2.weight": [256, 512],
    "bot_mlp.2.bias": [256],
    "bot_mlp.4.weight": [128, 256],
    "bot_mlp.4.bias": [128],
    "top_mlp.0.weight": [1024, 506],
    "top_mlp.0.bias": [1024],
    "top_mlp.2.weight": [1024, 1024],
    "top_mlp.2.bias": [1024],
    "top_mlp.4.weight": [512, 1024],
    "top_mlp.4.bias": [512],
    "top_mlp.6.weight": [256, 512],
    "top_mlp.6.bias": [256],
    "top_mlp.9.weight": [1, 256],
    "top_mlp.9.bias": [1],
}
TABLE = {  # parameters, tensors, those typed WEIGHT, BIAS, LAYER_NORM_SCALE
    "criteo1tb": (539_267_457, 20, 12, 8, 0),
    "criteo1tb_layernorm": (539_275_137, 36, 19, 15, 1),
    "criteo1tb_resnet": (538_121_473, 20, 12, 8, 0),
    "criteo1tb_embed_init": (539_267_457, 20, 12, 8, 0),
}
SMALL = {"rows": 40, "dim": 4, "sparse_features": 3, "bottom": (5, 4), "top": (6, 3, 1)}
TRAIN, EVAL = ForwardPassMode.TRAIN, ForwardPassMode.EVAL


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = write_files(tmp_path_factory.mktemp("criteo1tb"))
    workloads.get("criteo1tb", folder).prepare_data()
    return folder


@pytest.fixture(scope="session")
def mini(tmp_path_factory):
    return workloads.get("criteo1tb_mini")


@pytest.fixture
def official(files, monkeypatch):
    """The official workload on small files, with a small model."""
    workload = workloads.get("criteo1tb", files)
    monkeypatch.setattr(type(workload), "model_options", {**SMALL, "sparse_features": 26})
    return workload


def small_batch(rows=7):
    generator = torch.Generator().manual_seed(0)
    dense = torch.rand(rows, 13, generator=generator)
    return torch.cat([dense, torch.randint(0, 99, (rows, 3), generator=generator)], dim=1)


# The model


def on_meta(name):
    with torch.device("meta"):
        return workloads.get(name).build_model()


@pytest.mark.parametrize("name", TABLE)
def test_models_have_the_official_parameters(name):
    model = on_meta(name)
    types = [kind.name for kind in workloads.get(name).model_params_types.values()]
    counts = [types.count(kind) for kind in ("WEIGHT", "BIAS", "LAYER_NORM_SCALE")]
    assert (sum(p.numel() for p in model.parameters()), len(types), *counts) == TABLE[name]
    assert not list(model.buffers())


@pytest.mark.parametrize("name", ["criteo1tb", "criteo1tb_embed_init"])
def test_names_shapes_and_head_are_algoperfs(name):
    shapes = {name: list(p.shape) for name, p in on_meta(name).state_dict().items()}
    assert list(shapes.items()) == list(SHAPES.items())
    head = [key for key in shapes if workloads.get(name).is_output_params(key)]
    assert head == ["top_mlp.4.weight", "top_mlp.4.bias"]


def test_initialisation_follows_the_specified_distributions():
    torch.manual_seed(0)
    model = DLRM(rows=2**14, dim=64, bottom=(400, 64), top=(500, 300, 1))
    tables = torch.stack([model.get_parameter(f"embedding_chunk_{n}") for n in range(4)])
    assert tables.min() >= 0
    assert 0.999 / 128 < tables.max() <= 1 / 128
    assert tables.mean().item() == pytest.approx(0.5 / 128, rel=0.01)
    bound = math.sqrt(6 / (400 + 64))
    assert 0.99 * bound < model.bot_mlp[2].weight.abs().max() <= bound
    assert model.bot_mlp[2].weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    top = model.top_mlp[2].weight
    assert top.std().item() == pytest.approx(math.sqrt(2 / 800), rel=0.02)
    assert top.abs().max() > 3.5 * math.sqrt(2 / 800)  # a normal, not cut
    assert model.bot_mlp[0].bias.std().item() == pytest.approx(math.sqrt(1 / 400), rel=0.15)
    assert model.top_mlp[0].bias.std().item() == pytest.approx(math.sqrt(1 / 500), rel=0.15)
    large = DLRM(**SMALL, embedding_scale=1.0).embedding_chunk_0
    assert 0.8 < large.max() <= 1


def expected_logits(model, inputs, *, residual=False, norm=False):
    """The forward pass in numpy, float64, with loops."""
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}
    table = np.concatenate([state[f"embedding_chunk_{n}"] for n in range(4)])

    def normed(x, name):
        scaled = (x - x.mean()) / np.sqrt(x.var() + 1e-6)
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def mlp(x, prefix, layers):
        for number, (name, after) in enumerate(layers):
            y = state[f"{prefix}.{name}.weight"] @ x + state[f"{prefix}.{name}.bias"]
            y = y if after is None else np.maximum(y, 0)
            y = normed(y, f"{prefix}.{after}") if norm and after else y
            x = x + y if residual and number > 0 and after is not None else y
        return x

    names = {
        (False, False): ([("0", ""), ("2", "")], [("0", ""), ("2", ""), ("5", None)]),
        (False, True): ([("0", "2"), ("3", "5")], [("0", "2"), ("3", "5"), ("7", None)]),
        (True, False): (
            [("0.module.0", ""), ("1.module.0", "")],
            [("0.module.0", ""), ("1.module.0", ""), ("2.module.0", None)],
        ),
    }[residual, norm]
    logits = []
    for row in inputs.double().numpy():
        dense = mlp(row[:13], "bot_mlp", names[0])
        sparse = [table[int(bucket) % len(table)] for bucket in row[13:]]
        if norm:
            sparse = [normed(vector, "embed_ln") for vector in sparse]
        if residual:
            combined = np.concatenate([dense, *sparse])
        else:
            vectors = [dense, *sparse]
            products = [a @ b for n, a in enumerate(vectors) for b in vectors[n:]]
            combined = np.concatenate([dense, products])
        logits.append(mlp(combined, "top_mlp", names[1]))
    return np.array(logits)


def test_forward_is_what_the_specification_says():
    inputs = small_batch()
    for options in ({}, {"norm": True}):
        model = DLRM(**SMALL, layer_norm=bool(options), embedding_scale=1.0).eval()
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.rand_like(parameter)  # no norm is the identity
        expected = expected_logits(model, inputs, **options)
        np.testing.assert_allclose(model(inputs).detach(), expected, rtol=1e-4, atol=1e-5)
    small = {**SMALL, "bottom": (5, 5), "top": (6, 6, 1)}
    model = ResidualDLRM(**small, embedding_scale=1.0).eval()
    expected = expected_logits(model, inputs, residual=True)
    np.testing.assert_allclose(model(inputs).detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_chunks_are_read_as_their_concatenation_gradients_too(kind):
    generator = torch.Generator().manual_seed(0)
    one, two = (
        [torch.rand(5, 3, generator=torch.Generator().manual_seed(n)) for n in range(4)]
        for _ in range(2)
    )
    ids = torch.randint(0, 15, (8, 6), generator=generator).to(kind)  # the last chunk is not read
    weights = torch.rand(8, 6, 3, generator=generator)
    for chunk in one + two:
        chunk.requires_grad_()
    ours, theirs = look_up(one, ids), torch.cat(two)[ids.long()]
    assert torch.equal(ours, theirs)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    for a, b in zip(one, two, strict=True):
        assert not a.grad.is_sparse
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-6)


@pytest.mark.parametrize("model_class", [DLRM, ResidualDLRM])
def test_dropout_is_given_at_the_call_and_only_in_training(mini, monkeypatch, model_class):
    small = {**SMALL, "bottom": (16, 16), "top": (16, 16, 1), "dim": 16}
    monkeypatch.setattr(type(mini), "model_class", model_class)
    monkeypatch.setattr(type(mini), "model_options", small)
    model, _ = mini.init_model_fn(0)

    def logits(mode, **rate):
        batch = {"inputs": small_batch(50)}
        return mini.model_fn(model, batch, None, mode, (0, 0), True, **rate)[0]

    assert torch.equal(logits(TRAIN), logits(TRAIN, dropout_rate=0.0))
    assert not torch.equal(logits(TRAIN, dropout_rate=0.5), logits(TRAIN, dropout_rate=0.5))
    assert torch.equal(logits(TRAIN), logits(EVAL, dropout_rate=0.5))
    assert torch.equal(logits(TRAIN), logits(EVAL))  # no rate is left over


# Hashing

FINGERPRINTS = {  # by pyfarmhash 0.5.1, of bytes(i * 37 % 251 for i in range(length))
    0: 0x9AE16A3B2F90404F, 1: 0xBE6056EDF5E94B54, 2: 0xFFDC4DD18DE353A7, 3: 0x2958D0EA3B03D7A6,
    4: 0x0DF85A48FC72F52E, 7: 0x8B552AC1A4F57FE9, 8: 0xC6D1B367F15C7C05, 9: 0x16351F2E3837C0FF,
    10: 0x7C4753FDFA7D2BAC, 15: 0x48535FE11D95EF21, 16: 0x588DEA2C82B5B98E,
    17: 0xBE94A58EFEFFA3BD, 31: 0x7460A213B0A11BDC, 32: 0xE5F3B4E30886F797,
    33: 0x032BB23A067E55CB, 63: 0xCF095C895A50CB79, 64: 0xE5FF55079E6A8312,
    65: 0xB1D3AD921D485A33, 127: 0x08E49503222DDE2A, 128: 0xCA1064278802E595,
    129: 0x706B03981F7C2CE9, 200: 0xF3C38E97A5883ABD,
}  # fmt: skip
K2 = 0x9AE16A3B2F90404F
ALL = 2**64 - 1


def scalar_fingerprint(text):
    """Fingerprint64 of 8 to 16 bytes, in Python's integers."""
    length = len(text)
    first, last = (int.from_bytes(word, "little") for word in (text[:8], text[-8:]))
    multiplier = (K2 + 2 * length) & ALL
    a = (first + K2) & ALL
    c = (((last >> 37 | last << 27) & ALL) * multiplier + a) & ALL
    d = ((((a >> 25 | a << 39) & ALL) + last) * multiplier) & ALL
    e = ((c ^ d) * multiplier) & ALL
    e ^= e >> 47
    f = ((d ^ e) * multiplier) & ALL
    return ((f ^ f >> 47) * multiplier) & ALL


def rows_of(*texts):
    return np.stack([np.frombuffer(text, np.uint8) for text in texts])


@pytest.mark.parametrize(("length", "expected"), FINGERPRINTS.items())
def test_fingerprints_are_farmhashs_at_every_length(length, expected):
    text = bytes(i * 37 % 251 for i in range(length))
    other = bytes(reversed(text))
    found = fingerprint64(rows_of(other, text, text))
    assert found.tolist()[1:] == [expected, expected]
    assert fingerprint64(rows_of(text)[:0]).shape == (0,)


def test_fingerprints_of_categories_equal_a_scalar_implementation():
    rng = np.random.default_rng(0)
    for length in range(8, 17):
        strings = rng.integers(0, 256, (50, length), dtype=np.uint8)
        expected = [scalar_fingerprint(row.tobytes()) for row in strings]
        assert fingerprint64(strings).tolist() == expected


def test_buckets_are_tensorflows():
    assert data.hash_buckets(pa.array(["abcdef01"]), 0, 39884406) == [5618450]
    assert data.hash_buckets(pa.array([None, "00000000"]), 3, 39884406).tolist() == [9643793] * 2
    assert fingerprint64(np.empty((1, 0), np.uint8))[0] % np.uint64(39884406) == 30870869


def test_buckets_of_strings_of_many_lengths_keep_their_places():
    texts = ["deadbeef", "x", "é" * 40, None, "", "deadbeef", "y" * 15]
    found = data.hash_buckets(pa.array(["cut off", *texts])[1:], 12, 1_000_003)
    alone = [data.hash_buckets(pa.array([text], pa.string()), 12, 1_000_003)[0] for text in texts]
    assert found.tolist() == alone
    assert found[0] == scalar_fingerprint(b"deadbeef12") % 1_000_003
    slice_ = pa.array(["cut off", "deadbeef", "cut off"])[1:2]
    assert data.hash_buckets(slice_, 12, 1_000_003) == [found[0]]


# Files


def expected_line(line):
    """A line parsed in plain Python: label, counts, buckets."""
    label, *fields = line.split("\t")
    unknown = ("", "-1")
    counts = [0 if field in unknown else int(field) for field in fields[:13]]
    categories = ["00000000" if field in unknown else field for field in fields[13:]]
    hashes = [scalar_fingerprint(f"{text}{n}".encode()) for n, text in enumerate(categories)]
    buckets = [value % size for value, size in zip(hashes, data.BUCKETS, strict=True)]
    return int(label), counts, buckets


def test_a_file_is_parsed_as_specified(files):
    arrays = data.parse(files / "day_0_00")
    lines = (files / "day_0_00").read_text().splitlines()
    expected = [expected_line(line) for line in lines]
    assert {"", "-1"} <= {field for line in lines for field in line.split("\t")}
    labels, counts, buckets = zip(*expected, strict=True)
    assert np.array_equal(arrays["labels"], labels)
    assert np.array_equal(arrays["counts"], counts)
    assert np.array_equal(arrays["buckets"], buckets)
    kinds = {name: str(array.dtype) for name, array in arrays.items()}
    assert kinds == {"labels": "uint8", "counts": "int32", "buckets": "int32"}


def test_files_longer_than_a_block_are_parsed_whole(files, monkeypatch):
    whole = data.parse(files / "day_23_35")
    monkeypatch.setattr(data, "_BLOCK", 700)
    blocks = data.parse(files / "day_23_35")
    assert all(np.array_equal(whole[name], blocks[name]) for name in whole)


GOOD = ["1", *map(str, range(13)), *(f"{n:08x}" for n in range(26))]


def line_with(**fields):
    """A good line, some of its fields replaced: f0 is the label, f1 the first count."""
    line = list(GOOD)
    for name, field in fields.items():
        line[int(name[1:])] = field
    return "\t".join(line)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("\t".join(GOOD[:-1]), "has 39 columns, not 40"),
        ("\t".join([*GOOD, "x"]), "has 41 columns, not 40"),
        ("", "has 1 columns, not 40"),
        (line_with(f3="1.5"), r"count 2 is b'1\.5', not a whole number"),
        (line_with(f13="many"), "count 12 is b'many', not a whole number"),
        (line_with(f1="2147483648"), "count 0 is .* not a whole number of 32 bits"),
        (line_with(f0="2"), "the label is b'2', neither 0 nor 1"),
        (line_with(f0="-1"), "the label is b'-1', neither 0 nor 1"),
        (line_with(f0=""), "the label is b'', neither 0 nor 1"),
        (line_with(f0="yes"), "the label is b'yes', neither 0 nor 1"),
        (line_with(f20="\udcff\udcfe"), r"is not UTF-8 .*0xff"),
    ],
)
def test_bad_lines_are_named(tmp_path, bad, message):
    file = tmp_path / "day_3_07"
    text = "\n".join([*["\t".join(GOOD)] * 2, bad, "\t".join(GOOD)]) + "\n"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=rf"day_3_07, line 3: {message}"):
        data.parse(file)


def test_an_empty_file_and_one_that_is_no_text_are_named(tmp_path):
    (tmp_path / "day_0_00").write_bytes(b"")
    with pytest.raises(DataError, match=r"day_0_00: .*[Ee]mpty"):
        data.parse(tmp_path / "day_0_00")
    (tmp_path / "day_0_01").write_bytes(b"\x1f\x8b\x08" + bytes(range(256)))
    with pytest.raises(DataError, match="day_0_01, line 1: has"):
        data.parse(tmp_path / "day_0_01")


def test_any_text_is_a_category(tmp_path):
    (tmp_path / "f").write_text(line_with(f14='"no hex"', f15="x" * 70) + "\r\n")
    found = data.parse(tmp_path / "f")["buckets"][0]
    assert found[0] == scalar_fingerprint(b'"no hex"0') % data.BUCKETS[0]


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match="--data-dir"):
        workloads.get("criteo1tb").check_data()
    with pytest.raises(DataError, match="no such directory"):
        workloads.get("criteo1tb", tmp_path / "absent").check_data()
    workload = workloads.get("criteo1tb", tmp_path)
    with pytest.raises(DataError, match=r"day_0_00, .* and 54 more missing"):
        workload.check_data()
    write_files(tmp_path)
    workload.check_data()
    for number in (1, 3):
        (tmp_path / f"day_5_0{number}").write_text("\t".join(GOOD) + "\n")
    with pytest.raises(DataError, match=r"day_5_02 missing; split"):
        workload.check_data()
    (tmp_path / "day_5_02").touch()
    (tmp_path / "day_23_35").unlink()
    (tmp_path / "day_7_00").unlink()
    with pytest.raises(DataError, match=r"day_7_00, day_23_35 missing"):
        workload.check_data()
    assert "day_7_00" in workload.data_faults()[0]


def test_splits_are_days_in_order():
    workload = workloads.get("criteo1tb")
    assert sum(data.LINES_OF_DAY[:23]) == workload.num_train_examples
    validation, test = workload.num_validation_examples, workload.num_test_examples
    assert data.LINES_OF_DAY[23] == validation + test
    assert len(data.TEST_FILES) * 5_000_000 == test
    assert -(-validation // 5_000_000) == len(data.VALIDATION_FILES)


def test_files_go_into_their_splits(files):
    found = {s: [f.name for f in paths] for s, paths in data.find_files(files).items()}
    assert found["test"] == [f"day_23_{n:02d}" for n in range(19)]
    assert found["validation"] == [f"day_23_{n:02d}" for n in range(19, 36)]
    assert found["train"][:4] == ["day_0_00", "day_0_01", "day_1_00", "day_2_00"]
    assert len(found["train"]) == 31
    lines = sum(len((files / name).read_text().splitlines()) for name in found["train"])
    assert len(workloads.get("criteo1tb", files).load()["train"]) == lines


def test_preparing_goes_on_where_it_was_cut_off_and_damage_is_found(tmp_path, monkeypatch):
    workload = workloads.get("criteo1tb", write_files(tmp_path))
    with pytest.raises(DataError, match="chronograd data prepare"):
        workload.build_input_queue(0, "train", 4)
    assert "is not prepared" in workload.data_faults()[0]
    parse, calls = data.parse, []

    def cut_off(file):
        calls.append(file)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return parse(file)

    monkeypatch.setattr(data, "parse", cut_off)
    with pytest.raises(KeyboardInterrupt):
        workload.prepare_data()
    workload.prepare_data()
    assert len(calls) == 67 + 1
    faults = workload.data_faults()
    assert len(faults) == 24
    assert faults[23].endswith("178,274,637 were expected; fetch the day again")
    array = tmp_path / "prepared" / "criteo1tb" / "day_4_00" / "buckets.npy"
    array.write_bytes(array.read_bytes()[:-1] + b"x")
    assert [str(array) in fault and "checksum" in fault for fault in workload.data_faults()] == [1]


# Batches


def test_a_batch_holds_logarithms_and_buckets_as_float32():
    buckets = np.array([[39884405, 16777217, 33554435]], np.int32)  # golden values of TensorFlow
    counts = np.array([[-5, 0, 1, 2147483647]], np.int32)
    log = ClickLog([{"labels": np.ones(1, np.uint8), "counts": counts, "buckets": buckets}])
    batch = log.batch(0, 1, torch.device("cpu"))
    assert batch["inputs"].dtype == batch["targets"].dtype == batch["weights"].dtype
    assert batch["inputs"][0, 4:].int().tolist() == [39884404, 16777216, 33554436]
    expected = np.log(np.array([1, 1, 2, 2147483648]))
    np.testing.assert_allclose(batch["inputs"][0, :4], expected, rtol=1e-6)
    assert (batch["targets"].tolist(), batch["weights"].tolist()) == ([[1.0]], [1.0])


def numbered_log(*lengths):
    """Parts whose labels are useless and whose first bucket is the line's number."""
    parts, first = [], 0
    for length in lengths:
        numbers = np.arange(first, first + length, dtype=np.int32)
        counts = np.zeros((length, 13), np.int32)
        parts.append(
            {"labels": np.zeros(length, np.uint8), "counts": counts, "buckets": numbers[:, None]}
        )
        first += length
    return ClickLog(parts)


def test_lines_of_several_parts_follow_each_other():
    log = numbered_log(3, 1, 4, 2)
    for start, stop in itertools.combinations(range(11), 2):
        assert log.lines(start, stop)["buckets"][:, 0].tolist() == list(range(start, stop))
    assert len(log) == 10


@pytest.fixture
def numbered(monkeypatch):
    """A workload whose training lines are numbered, 100 in 7 parts."""
    workload = workloads.get("criteo1tb_mini")
    log = numbered_log(10, 25, 5, 20, 13, 7, 20)
    monkeypatch.setattr(workload, "load", lambda: {"train": log, "validation": log})
    return workload


def numbers_of(workload, seed, size, batches):
    queue = workload.build_input_queue(seed, "train", size)
    return [b["inputs"][:, 13].int().tolist() for b in itertools.islice(queue, batches)]


def as_process(monkeypatch, rank, processes):
    monkeypatch.setattr(task, "world", lambda: (rank, processes))
    monkeypatch.setattr(task, "local_batch_size", lambda size: size // processes)


def test_an_epoch_shuffles_files_and_keeps_lines_in_order(numbered):
    starts = np.cumsum([0, 10, 25, 5, 20, 13, 7, 20])
    orders = set()
    epochs = np.array(numbers_of(numbered, 5, 12, 3 * 8)).reshape(3, 96)
    for epoch in epochs.tolist():
        assert len(set(epoch)) == 96
        breaks = [n for n in range(1, 96) if epoch[n] != epoch[n - 1] + 1]
        assert all(epoch[n] in starts for n in [0, *breaks])
        orders.add(tuple(epoch))
    assert len(orders) == 3


def test_batches_are_a_function_of_seed_and_number(numbered):
    assert numbers_of(numbered, 5, 12, 20) == numbers_of(numbered, 5, 12, 20)
    assert numbers_of(numbered, 5, 12, 20) != numbers_of(numbered, 6, 12, 20)


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_processes_share_out_the_same_batches(numbered, monkeypatch, processes):
    alone = numbers_of(numbered, 5, 12, 20)
    shares = []
    for rank in range(processes):
        as_process(monkeypatch, rank, processes)
        shares.append(numbers_of(numbered, 5, 12, 20))
    together = [[*itertools.chain(*pieces)] for pieces in zip(*shares, strict=True)]
    assert together == alone


def test_fewer_lines_than_a_batch_are_one_batch(numbered):
    first, second = numbers_of(numbered, 5, 1000, 2)
    assert sorted(first) == sorted(second) == list(range(100))


# Loss and metric


def test_loss_is_the_cross_entropy_whatever_the_shapes(mini):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 3, 50), rng.integers(0, 2, 50)
    expected = np.logaddexp(0, logits) - labels * logits
    mask = (rng.random(50) < 0.5).astype(np.float32)
    tensors = [torch.tensor(array, dtype=torch.float32) for array in (labels, logits, mask)]
    for labels_, logits_, mask_ in (tensors, [tensor[:, None] for tensor in tensors]):
        loss = mini.loss_fn(label_batch=labels_, logits_batch=logits_, label_smoothing=0.3)
        np.testing.assert_allclose(loss["per_example"], expected, rtol=1e-5, atol=1e-6)
        assert loss["n_valid_examples"].item() == 50
        masked = mini.loss_fn(label_batch=labels_, logits_batch=logits_, mask_batch=mask_)
        assert masked["summed"].item() == pytest.approx((expected * mask).sum(), rel=1e-5)
        assert masked["n_valid_examples"].item() == mask.sum()
        np.testing.assert_allclose(masked["per_example"], expected * mask, rtol=1e-5, atol=1e-6)


def test_the_metric_is_scikit_learns_log_loss_of_every_line_once(official, monkeypatch):
    model, _ = official.init_model_fn(0)
    official.num_eval_train_examples = 150
    for split, count in (("train", 150), ("validation", None), ("test", None)):
        log = official.load()[split]
        batch = log.batch(0, count or len(log), torch.device("cpu"))
        logits = model.eval()(batch["inputs"]).detach().double()
        expected = log_loss(batch["targets"].ravel(), torch.sigmoid(logits).ravel())
        model.train()
        for size, processes in ((8192, 1), (37, 1), (37, 3), (1, 2), (101, 7)):
            official.eval_batch_size = size
            found = 0.0
            for rank in range(processes):
                as_process(monkeypatch, rank, processes)
                found += official.eval_model(model, None, split)["loss"]
            assert found == pytest.approx(expected, rel=1e-6), (split, size, processes)
        assert model.training


# The mini, and the official model


def test_made_logs_are_the_same_every_time_and_worth_learning():
    one, two = synthetic.generate(3, 2000), synthetic.generate(3, 2000)
    other = synthetic.generate(4, 2000)
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not any(np.array_equal(one[name], other[name]) for name in one)
    assert 0.15 < one["labels"].mean() < 0.35
    first = one["buckets"][:, -1]
    frequencies = np.sort(np.unique(first, return_counts=True)[1])[::-1]
    assert frequencies[0] > 10 * np.median(frequencies)


def test_a_trial_makes_the_data_that_it_finds_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("CHRONOGRAD_CACHE", str(tmp_path))
    monkeypatch.setattr(
        synthetic, "generate", lambda seed, lines, make=synthetic.generate: make(seed, 50)
    )
    workload = workloads.get("criteo1tb_mini")
    assert "is not prepared" in workload.data_faults()[0]
    batch = next(workload.build_input_queue(0, "train", 64))
    assert batch["inputs"].shape == (64, 13 + len(synthetic.CATEGORIES))
    assert workload.data_faults() == []


def check_two_steps(files):
    rows = two_steps("criteo1tb", files)
    assert all(0.1 < row["validation/loss"] < 2 for row in rows)
    assert "test/loss" in rows[-1]


def test_it_trains_from_its_files(files, official):
    check_two_steps(files)


@pytest.mark.slow
def test_the_official_model_trains_from_its_files(files):
    check_two_steps(files)  # 10 GiB
