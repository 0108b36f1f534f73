"""wmt's files, vocabulary, and the packing of sentence pairs."""

import itertools
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import workloads
from harness.spec import DataError, ForwardPassMode
from tests.fixtures.wmt import (
    EMPTY,
    EVALUATION,
    LONG,
    PAIRS,
    TRAINING,
    USED,
    write_files,
    write_pair,
)
from workloads import distributed
from workloads.parts import prepare_parts
from workloads.vocabulary import EOS, Vocabulary, train
from workloads.wmt import corpora, data, task
from workloads.wmt.data import Pairs, fill_rows, row_batches
from workloads.wmt.synthetic import LONGEST, SHORTEST, Language

NAMES = [f"{name}.{language}" for name in TRAINING | EVALUATION for language in ("de", "en")]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = write_files(tmp_path_factory.mktemp("wmt"))
    workloads.get("wmt", folder).prepare_data()
    return folder


@pytest.fixture
def files(original, tmp_path):
    """A copy that may be damaged, without what was prepared."""
    for name in NAMES:
        shutil.copy(original / name, tmp_path / name)
    return tmp_path


def lines_of(folder, name):
    return (folder / name).read_text(encoding="utf-8").removesuffix("\n").split("\n")


# ---- files


def test_pairs_are_those_of_the_files_in_order(original):
    workload = workloads.get("wmt", original)
    vocabulary = workload.preparation().vocabulary()
    expected = []
    for name in TRAINING:
        german, english = (lines_of(original, f"{name}.{side}") for side in ("de", "en"))
        expected += [
            pair for pair in zip(german, english, strict=True) if all(map(str.strip, pair))
        ]
    assert workload.examples["train"].counts == {"pairs": PAIRS, "empty": EMPTY, "long": LONG}
    expected.remove(max(expected, key=lambda pair: len(pair[0])))  # the one with too many tokens
    pairs = workload.examples["train"]
    assert len(pairs) == len(expected) == USED
    batch = pairs.padded(np.arange(USED))
    for side, texts in enumerate(zip(*expected, strict=True)):
        rows = batch[("inputs", "targets")[side]]
        for row, text, length in zip(rows, texts, pairs.lengths[:, side], strict=True):
            assert row[length - 1] == EOS
            assert not row[length:].any()
            assert vocabulary.decode([row[:length].tolist()]) == [text]
    assert {s: len(workload.examples[s]) for s in ("validation", "test")} == {
        "validation": EVALUATION["newstest2013"],
        "test": EVALUATION["newstest2014"],
    }


@settings(max_examples=60)
@given(
    lines=st.lists(
        st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])), max_size=12
    ),
    ends=st.booleans(),
    piece=st.integers(1, 4),
    block=st.integers(1, 9),
)
def test_pieces_are_the_lines_of_the_file(tmp_path_factory, lines, ends, piece, block):
    content = "\n".join(lines) + ("\n" if ends else "")
    if not content:
        return
    folder = tmp_path_factory.mktemp("pieces")
    for name in ("train.de", "train.en"):
        (folder / name).write_bytes(content.encode("utf-8"))
    for name in EVALUATION:
        write_pair(folder, name, [("a", "b")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpora, "PIECE_LINES", piece)
        patch.setattr(corpora, "BLOCK", block)
        prepare_parts(folder / "out", [corpora.pieces_part(folder)], lambda *_: None)
        texts = [text for text in corpora.texts(folder, folder / "out") if text.trains]
    read = [text.read() for text in texts]
    expected = content.removesuffix("\n").split("\n")
    assert [line for german, _ in read for line in german] == expected
    assert all(german == english for german, english in read)
    assert all(len(german) == piece for german, _ in read[:-1])


def test_one_training_file_on_either_side_will_do(files):
    both = [lines_of(files, "rapid2016.de-en.de"), lines_of(files, "rapid2016.de-en.en")]
    for name in TRAINING:
        for language in ("de", "en"):
            (files / f"{name}.{language}").unlink()
    with pytest.raises(DataError, match=r"europarl-v7.de-en.de: no such file; put into .* WMT17"):
        workloads.get("wmt", files).check_data()
    write_pair(files, "train", list(zip(*both, strict=True)))
    workload = workloads.get("wmt", files)
    workload.check_data()
    workload.prepare_data()
    assert len(workload.examples["train"]) == len(both[0])


def test_missing_and_empty_files_are_named_at_once(files):
    with pytest.raises(DataError, match=r"pass --data-dir DIR with WMT17"):
        workloads.get("wmt").check_data()
    for name in NAMES:
        content = (files / name).read_bytes()
        (files / name).write_bytes(b"")
        with pytest.raises(DataError, match=rf"{name}: is empty; fetch it again"):
            workloads.get("wmt", files).check_data()
        (files / name).unlink()
        with pytest.raises(DataError, match=rf"{name}: no such file"):
            workloads.get("wmt", files).check_data()
        (files / name).write_bytes(content)
    workloads.get("wmt", files).check_data()
    with pytest.raises(DataError, match=r"is not prepared; run `chronograd data prepare`"):
        workloads.get("wmt", files).build_input_queue(0, "train", 2)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("commoncrawl.de-en.en", lambda text: text + b"one more\n", r"commoncrawl.de-en.en:6: .*"
         r"commoncrawl.de-en.de has 5 lines only"),
        ("commoncrawl.de-en.en", lambda text: text[:-20].rsplit(b"\n", 2)[0] + b"\n",
         r"commoncrawl.de-en.de:4: translates nothing"),
        ("rapid2016.de-en.de", lambda text: b"a\nb\n\xff\xfe\n",
         r"rapid2016.de-en.de:3: is not UTF-8"),
        ("newstest2013.en", lambda text: text.replace(b"\n", b"\n \n", 1).rsplit(b"\n", 2)[0],
         r"newstest2013.en:2: is empty"),
        ("newstest2013.de", lambda text: text + b"mehr", r"newstest2013.de:5: translates nothing"),
        ("newstest2014.de", lambda text: text.replace(b"D", b"\xc3", 1), r"newstest2014.de:1:"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_with_its_line(files, monkeypatch, name, change, message):
    monkeypatch.setattr(corpora, "PIECE_LINES", 2)  # so that lines are counted through pieces
    (files / name).write_bytes(change((files / name).read_bytes()))
    workload = workloads.get("wmt", files)
    workload.check_data()
    with pytest.raises(DataError, match=message):
        workload.prepare_data()


def test_preparing_goes_on_where_it_was_cut_off(files, monkeypatch):
    monkeypatch.setattr(corpora, "PIECE_LINES", 10)
    made = []
    encode = Vocabulary.encode

    def killed(self, lines):
        made.append(lines)
        if len(made) == 5:  # two sides of two parts are done
            raise KeyboardInterrupt
        return encode(self, lines)

    monkeypatch.setattr(Vocabulary, "encode", killed)
    workload = workloads.get("wmt", files)
    with pytest.raises(KeyboardInterrupt):
        workload.prepare_data()
    done = {path.name for path in (files / "prepared" / "wmt").iterdir()}
    assert done == {"pieces", "vocabulary", "train_000", "train_001"}
    said = []
    workload.prepare_data(lambda *what: said.append(what))
    assert len(made) == 5 + 2 * (len(said) - 1 - 4)  # what was there was not made again
    assert len(workloads.get("wmt", files).examples["train"]) == USED
    assert workload.data_faults()[0].startswith(f"{files}: train has 20 pairs")


def test_damage_and_change_are_found(files):
    workload = workloads.get("wmt", files)
    assert "is not prepared" in workload.data_faults()[0]
    workload.prepare_data()
    assert [f.split("AlgoPerf's has ")[1] for f in workload.data_faults()] == [
        "5,906,184", "3,000", "3,003"
    ]  # fmt: skip
    part = files / "prepared" / "wmt" / "train_001" / "inputs.npy"
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    assert workload.data_faults() == [
        f"{part}: is damaged (checksum); remove {part.parent} and prepare it again"
    ]
    shutil.rmtree(part.parent)
    workload.prepare_data()
    with (files / "newstest2014.de").open("ab") as file:
        file.write(b"Noch ein Satz.\n")
    assert "test: is out of date" in workload.data_faults()[0]
    part = files / "prepared" / "wmt" / "validation" / "part.json"
    part.write_text("{")
    with pytest.raises(DataError, match="validation: is damaged"):
        workloads.get("wmt", files).examples["validation"]
    (files / "newstest2014.de").unlink()
    assert "newstest2014.de: no such file" in workload.data_faults()[0]


# ---- vocabulary


def test_a_vocabulary_that_is_given_is_used(files, monkeypatch):
    pairs = [("ein Haus", "a house"), ("zwei Häuser", "two houses")] * 20
    content = train(list(itertools.chain.from_iterable(pairs)), 40)
    (files / "wmt_sentencepiece_model").write_bytes(content)
    workload = workloads.get("wmt", files)
    workload.prepare_data()
    found = workload.preparation().vocabulary()
    given = Vocabulary(content, "given")
    assert found.encode(["ein großes Haus"]) == given.encode(["ein großes Haus"])
    (files / "wmt_sentencepiece_model").write_bytes(b"no model")
    with pytest.raises(DataError, match="wmt_sentencepiece_model: is not a SentencePiece model"):
        workload.prepare_data()
    (files / "wmt_sentencepiece_model").write_bytes(content)
    monkeypatch.setattr(workload, "config", replace(workload.config, vocab_size=len(given) - 1))
    with pytest.raises(DataError, match=rf"has {len(given)} tokens, {len(given) - 1} at most"):
        workload.prepare_data()


def test_tokens_are_sentencepieces_with_eos_and_unknown_ones_are_0():
    found = Vocabulary(train(["abc abd", "xyz xy"] * 30, 30), "here")
    sentences = found.encode(["abc xy", "ü", "xyz"])
    assert [tokens.index(EOS) for tokens in sentences] == [len(t) - 1 for t in sentences]
    assert 0 in sentences[1]  # ü was never seen
    assert found.decode([sentences[0], sentences[2]]) == ["abc xy", "xyz"]
    assert found.decode([[31999, 2]]) == found.decode([[0, 2]])


def test_a_vocabulary_is_made_of_the_first_lines_of_both_sides(monkeypatch):
    pairs = [("aaaa", "bbbb"), ("cccc", "dddd"), ("eeee", "ffff")]
    monkeypatch.setattr(data, "TRAINING_CHARACTERS", 9)
    assert list(data.first_lines(pairs)) == ["aaaa", "bbbb", "cccc"]
    monkeypatch.setattr(data, "TRAINING_CHARACTERS", 10**7)
    assert list(data.first_lines(pairs)) == list(itertools.chain.from_iterable(pairs))
    texts = ["der Hund bellt", "the dog barks", "die Katze schläft", "the cat sleeps"] * 10
    assert train(texts, 60) == train(texts, 60)


def test_models_with_other_special_tokens_are_refused():
    import io

    from sentencepiece import SentencePieceTrainer

    out = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d"] * 9), model_writer=out, vocab_size=30, pad_id=0,
        unk_id=3, bos_id=1, eos_id=2, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    with pytest.raises(DataError, match=r"\(3, 2\), not \(0, 2\)"):
        Vocabulary(out.getvalue(), "model")


# ---- packing

lengths_of_pairs = st.lists(
    st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=40
)


@given(lengths_of_pairs)
def test_rows_are_filled_greedily(lengths):
    counts = fill_rows(np.array(lengths), 12).tolist()
    expected, used = [0], [0, 0]
    for number, pair in enumerate(lengths):
        starts_group = number > 0 and number % 12 == 0
        if starts_group or used[0] + pair[0] > 12 or used[1] + pair[1] > 12:
            expected.append(0)
            used = [0, 0]
        expected[-1] += 1
        used = [used[0] + pair[0], used[1] + pair[1]]
    assert counts == expected


@given(lengths_of_pairs, st.integers(1, 7), st.integers(0, 3))
def test_every_pair_is_in_every_epoch_once(lengths, size, seed):
    batches = row_batches(np.array(lengths), 12, size, seed)
    seen = []
    while len(seen) < 3 * len(lengths):
        chosen, per_row = next(batches)
        assert len(per_row) == size
        assert per_row.sum() == len(chosen)
        seen += chosen.tolist()
    for epoch in range(3):
        of_epoch = seen[epoch * len(lengths) : (epoch + 1) * len(lengths)]
        assert sorted(of_epoch) == list(range(len(lengths)))


def pairs_of(lengths, seed=0):
    """Pairs of these lengths in two parts, and their tokens."""
    rng = np.random.default_rng(seed)
    texts = [
        [rng.integers(1, 99, size).astype(np.uint16) for size in side]
        for side in zip(*lengths, strict=True)
    ]
    parts = []
    for chosen in (slice(0, len(lengths) // 2), slice(len(lengths) // 2, None)):
        part = {"counts": np.array([len(lengths), 0, 0])}
        for name, side in zip(("inputs", "targets"), texts, strict=True):
            part[name] = np.concatenate([np.zeros(0, np.uint16), *side[chosen]])
            part[f"{name}_lengths"] = np.array([len(t) for t in side[chosen]], np.uint16)
        parts.append(part)
    return Pairs(parts, "test"), texts


@given(lengths_of_pairs, st.integers(0, 3))
def test_packed_rows_hold_their_sentences(lengths, seed):
    pairs, texts = pairs_of(lengths)
    chosen, per_row = next(row_batches(pairs.lengths, 12, 3, seed))
    batch = pairs.packed(chosen, per_row, 12)
    assert all(array.shape == (3, 12) for array in batch.values())
    expected = {name: np.zeros((3, 12)) for name in batch}
    rows = np.split(chosen, np.cumsum(per_row)[:-1])
    for name, side in zip(("inputs", "targets"), texts, strict=True):
        for row, of_row in enumerate(rows):
            place = 0
            for number, pair in enumerate(of_row, start=1):
                for position, token in enumerate(side[pair]):
                    expected[name][row, place] = token
                    expected[f"{name}_position"][row, place] = position
                    expected[f"{name}_segmentation"][row, place] = number
                    place += 1
    expected["weights"] = expected["targets"] > 0
    for name, array in batch.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_a_batch_is_a_pure_function_of_seed_and_index_and_its_tensors_are_typed(original):
    workload = workloads.get("wmt", original)
    queues = [workload.build_input_queue(seed, "train", 4) for seed in ((5, 1), (5, 1), (5, 2))]
    batches = [list(itertools.islice(queue, 6)) for queue in queues]
    for one, same in zip(batches[0], batches[1], strict=True):
        assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(batches[0][0]["inputs"], batches[2][0]["inputs"])
    batch = batches[0][0]
    assert set(batch) == {
        "inputs", "targets", "weights", "inputs_position", "inputs_segmentation",
        "targets_position", "targets_segmentation",
    }  # fmt: skip
    assert all(tensor.shape == (4, 256) for tensor in batch.values())
    assert all(t.dtype == torch.int64 for name, t in batch.items() if name != "weights")
    assert torch.equal(batch["weights"], (batch["targets"] > 0).float())


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_the_rows_of_a_batch(original, monkeypatch, processes):
    workload = workloads.get("wmt", original)
    whole = list(itertools.islice(workload.build_input_queue(7, "train", 6), 3))
    shares = []
    for rank in range(processes):
        for module in (distributed, task):
            monkeypatch.setattr(module, "world", lambda rank=rank: (rank, processes))
        shares.append(list(itertools.islice(workload.build_input_queue(7, "train", 6), 3)))
    for batch, *parts in zip(whole, *shares, strict=True):
        for name, tensor in batch.items():
            assert torch.equal(tensor, torch.cat([part[name] for part in parts]))


def test_no_usable_pair_is_an_error(files):
    for name in TRAINING:
        write_pair(files, name, [("x", " ")])
    write_pair(files, "europarl-v7.de-en", [("Wort " * 300, "word " * 300)])
    workload = workloads.get("wmt", files)
    workload.prepare_data()
    with pytest.raises(DataError, match=r"no sentence pair is left of .*'empty': 3, 'long': 1"):
        workload.examples["train"]


# ---- the mini's languages


def test_the_minis_sentences_are_seeded_and_follow_their_grammar():
    sources, targets = Language(0).pairs(500, 1)
    assert (sources, targets) == Language(0).pairs(500, 1)
    assert sources != Language(0).pairs(500, 2)[0]
    assert sources != Language(1).pairs(500, 1)[0]
    sizes = [len(line.split()) for line in (*sources, *targets)]
    assert SHORTEST <= min(sizes) <= max(sizes) <= LONGEST
    assert len(set(sources)) > 490
    both = list(zip(sources, targets, strict=True))
    for source, target in both:
        words, translated = source.split(), target.split()
        assert ("dat" in words) == ("that" in translated)
        assert ("nit" in words) == ("not" in translated)
        assert any(word in words for word in ("hat", "haben")) == any(
            word in translated for word in ("has", "have")
        )
    vocabulary_size = len({word for line in targets for word in line.split()})
    assert 150 < vocabulary_size < 600


def test_the_mini_is_made_where_it_is_missing_and_has_its_sizes(tmp_path, monkeypatch):
    monkeypatch.setenv("CHRONOGRAD_CACHE", str(tmp_path))
    workload = workloads.get("wmt_mini")
    sizes = {split: len(workload.examples[split]) for split in workload.sizes}
    assert sizes == workload.sizes
    assert (tmp_path / "wmt_mini" / "train" / "inputs.npy").is_file()
    assert workload.examples["train"].lengths.max() <= workload.config.max_length
    assert len(workload.preparation().vocabulary()) <= workload.config.vocab_size


@pytest.mark.slow
def test_the_official_model_takes_a_step_on_its_files(files):
    workload = workloads.get("wmt", files)  # at its own batch of 128 a step takes over 20 GiB
    workload.prepare_data()
    batch = next(workload.build_input_queue(0, "train", 2))
    model, _ = workload.init_model_fn(0)
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(2):
        logits, _ = workload.model_fn(model, batch, None, ForwardPassMode.TRAIN, 0, True, 0.0)
        loss = workload.loss_fn(batch["targets"], logits, batch["weights"])
        losses.append((loss["summed"] / loss["n_valid_examples"]).item())
        loss["summed"].backward()
        optimizer.step()
    assert 8 < losses[0] < 14  # that of an even guess is 10.4
    assert losses[1] < losses[0]
