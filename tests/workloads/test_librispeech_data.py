"""librispeech: its files, vocabulary and batches, and the speech made for the minis."""

import itertools
import shutil

import numpy as np
import pytest
import soundfile
import torch

import workloads
from harness.spec import DataError
from tests.fixtures.librispeech import (
    CHAPTERS,
    TOO_LONG,
    UTTERANCES,
    chapter_of,
    write_files,
    write_lines,
)
from workloads import prepared, vocabulary
from workloads.librispeech import corpus, synthetic

COUNTS = {
    split: sum(len(CHAPTERS[subset]) for subset in subsets) * UTTERANCES
    for split, subsets in corpus.SUBSETS.items()
}
NAME = "librispeech_conformer"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = write_files(tmp_path_factory.mktemp("librispeech"))
    workloads.get(NAME, folder).prepare_data()
    return folder


@pytest.fixture
def files(original, tmp_path):
    """A copy that may be damaged, without what was prepared."""
    shutil.copytree(original / "LibriSpeech", tmp_path / "LibriSpeech")
    return tmp_path


def spoken(folder, split):
    """Name, samples and transcript of every utterance, in order, read afresh."""
    for subset in corpus.SUBSETS[split]:
        for file in sorted((folder / "LibriSpeech" / subset).glob("*/*/*.trans.txt")):
            for line in file.read_text().splitlines():
                name, _, text = line.partition(" ")
                yield soundfile.read(file.with_name(f"{name}.flac"), dtype="int16")[0], text


# ---- files


def test_splits_are_the_files_in_order_without_the_too_long(original):
    workload = workloads.get(NAME, original)
    for split, count in COUNTS.items():
        kept = [(a, t) for a, t in spoken(original, split) if len(a) <= 320_000 and len(t) <= 256]
        utterances = workload.examples[split]
        left_out = TOO_LONG if split == "train" else 0
        assert (len(utterances), utterances.left_out) == (count - left_out, left_out)
        assert len(kept) == len(utterances)
        rows = utterances.rows(np.arange(len(kept)), 256)
        decoded = workload.vocabulary.decode(
            [t[:n].tolist() for t, n in zip(rows["tokens"], rows["tokens_lengths"], strict=True)]
        )
        assert decoded == [text for _, text in kept]
        for row, length, (audio, _) in zip(rows["audio"], rows["audio_lengths"], kept, strict=True):
            assert np.array_equal(row[:length], audio)
            assert not row[length:].any()


def test_a_batch_is_padded_as_algoperfs(original):
    workload = workloads.get(NAME, original)
    batch = next(workload.build_input_queue(0, "train", 4))
    (audio, paddings), (tokens, token_paddings) = batch["inputs"], batch["targets"]
    assert audio.shape == paddings.shape == (4, 320_000)
    assert tokens.shape == token_paddings.shape == (4, 256)
    assert {t.dtype for t in (audio, paddings, tokens, token_paddings)} == {torch.float32}
    assert 2000 < audio.abs().max() <= 3000
    for values, padding in ((audio, paddings), (tokens, token_paddings)):
        assert ((padding == 0) | (padding == 1)).all()
        assert (padding.diff(dim=1) >= 0).all()
        assert not values[padding == 1].any()
    last = (1 - token_paddings).sum(1).long() - 1
    assert (tokens[torch.arange(4), last] == vocabulary.EOS).all()


def test_reading_ahead_changes_nothing_and_epochs_are_permutations(original):
    workload = workloads.get(NAME, original)
    count = len(workload.examples["train"])
    batches = {}
    for workload.read_ahead in (0, 2):
        queue = workload.build_input_queue(5, "train", 4)
        batches[workload.read_ahead] = list(itertools.islice(queue, 2 * (count // 4)))
    for one, two in zip(*batches.values(), strict=True):
        assert all(torch.equal(*pair) for pair in zip(one["inputs"], two["inputs"], strict=True))
        assert torch.equal(one["targets"][0], two["targets"][0])
    rows = [row.numpy().tobytes() for batch in batches[0] for row in batch["inputs"][0]]
    epochs = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    assert [len(set(epoch)) for epoch in epochs] == [count // 4 * 4] * 2
    assert epochs[0] != epochs[1]


def test_both_models_and_all_variants_share_what_is_prepared(original):
    names = [name for name in workloads.names() if name.startswith("librispeech")]
    official = [name for name in names if not name.endswith("mini")]
    assert len(official) == 8
    for name in official:
        assert len(workloads.get(name, original).examples["test"]) == COUNTS["test"]


def test_a_given_vocabulary_is_used_and_a_wrong_one_refused(files):
    workload = workloads.get(NAME, files)
    texts = [text for _, text in spoken(files, "train")]
    (files / "spm_model.vocab").write_bytes(vocabulary.train(texts, 30))
    workload.prepare_data()
    assert len(workload.vocabulary) == 30
    (files / "spm_model.vocab").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"spm_model\.vocab: is not a SentencePiece model"):
        workloads.get(NAME, files).prepare_data()


def test_preparing_goes_on_where_it_was_cut_off_and_damage_is_found(files, monkeypatch):
    read, calls = corpus.utterances, []

    def cut_off(speakers):
        calls.append(speakers)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read(speakers)

    monkeypatch.setattr(corpus, "utterances", cut_off)
    with pytest.raises(KeyboardInterrupt):
        workloads.get(NAME, files).prepare_data()
    workloads.get(NAME, files).prepare_data()
    assert len(calls) == len(CHAPTERS) + 1
    faults = workloads.get(NAME, files).data_faults()
    assert len(faults) == 3
    assert all("utterances besides" in fault for fault in faults)
    array = files / "prepared" / "librispeech" / "test_test-clean_00" / "audio.npy"
    array.write_bytes(array.read_bytes()[:-1] + b"x")
    assert any(str(array) in fault for fault in workloads.get(NAME, files).data_faults())


def test_unprepared_data_says_what_to_run(files):
    with pytest.raises(DataError, match="chronograd data prepare"):
        workloads.get(NAME, files).examples["train"]
    with pytest.raises(DataError, match="--data-dir DIR with the folder LibriSpeech"):
        workloads.get(NAME).check_data()


def test_a_missing_subset_is_named_with_where_to_get_it(files):
    shutil.rmtree(files / "LibriSpeech" / "dev-other")
    with pytest.raises(DataError, match=r"dev-other: no such folder.*openslr\.org"):
        workloads.get(NAME, files).check_data()
    assert "dev-other" in workloads.get(NAME, files).data_faults()[0]


def damage(kind, chapter, name, lines):
    """Damages the first chapter of a subset."""
    flac = chapter / f"{name}-0002.flac"
    transcripts = chapter / f"{name}.trans.txt"
    if kind == "no FLAC":
        flac.write_bytes(b"no FLAC")
    elif kind == "cut off":
        flac.write_bytes(flac.read_bytes()[:2000])
    elif kind == "rate":
        soundfile.write(flac, np.zeros(4000, np.int16), 8000)
    elif kind == "stereo":
        soundfile.write(flac, np.zeros((4000, 2), np.int16), 16_000)
    elif kind == "short":
        soundfile.write(flac, np.zeros(400, np.int16), 16_000)
    elif kind == "no audio":
        flac.unlink()
    elif kind == "no transcript":
        write_lines(chapter, name, lines[:2])
    elif kind == "empty":
        write_lines(chapter, name, [*lines[:2], f"{name}-0002 "])
    elif kind == "twice":
        write_lines(chapter, name, [*lines, lines[0]])
    elif kind == "encoding":
        transcripts.write_bytes(transcripts.read_bytes() + b"\xff\n")
    else:
        transcripts.unlink()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no FLAC", r"-0002\.flac: is damaged"),
        ("cut off", r"-0002\.flac: is damaged"),
        ("rate", r"-0002\.flac: has 1 channels at 8000 Hz, not one at 16000"),
        ("stereo", r"-0002\.flac: has 2 channels at 16000 Hz"),
        ("short", r"-0002\.flac: has 400 samples, fewer than a frame"),
        ("no audio", r"-0002\.flac: no such file, but .*\.trans\.txt has its transcript"),
        ("no transcript", r"-0002\.flac: has no transcript in .*\.trans\.txt"),
        ("empty", r"\.trans\.txt:3: has no transcript"),
        ("twice", r"\.trans\.txt:4: .*-0000 is there twice"),
        ("encoding", r"\.trans\.txt:4: is not UTF-8"),
        ("no transcripts", r"\.trans\.txt: no such file"),
    ],
)
def test_damage_is_named_by_check_and_by_prepare(files, chronograd, kind, message):
    damage(kind, *chapter_of(files, "dev-clean"))
    with pytest.raises(DataError, match=message):
        workloads.get(NAME, files).prepare_data()
    faults = workloads.get(NAME, files).data_faults()
    assert len(faults) == 1
    code, out, _ = chronograd("data", "check", NAME, "--data-dir", files)
    assert code == 1
    assert "openslr.org" in out.replace("\n", "")


# ---- the speech made here


def test_speech_is_the_same_every_time_and_differs_between_splits(tmp_path, monkeypatch):
    one = synthetic.utterances(20, 16_000, seed=1)
    two = synthetic.utterances(20, 16_000, seed=1)
    other = synthetic.utterances(20, 16_000, seed=2)
    for (audio, text), (again, said), (different, _) in zip(one, two, other, strict=True):
        assert text == said
        assert np.array_equal(audio, again)
        assert not np.array_equal(audio, different)
        assert audio.dtype == np.int16
        assert 300 < audio.std() < 4000
        assert 401 <= len(audio) <= 16_000


def test_every_transcript_fits_into_its_frames():
    workload = workloads.get("librispeech_deepspeech_mini")
    for split, count in workload.sizes.items():
        utterances = workload.examples[split]
        assert (len(utterances), utterances.left_out) == (count, 0)
        rows = utterances.rows(np.arange(count), workload.max_tokens)
        tokens, lengths = rows["tokens"].astype(int), rows["tokens_lengths"]
        assert lengths.max() <= workload.max_tokens
        repeats = ((np.diff(tokens) == 0) & (tokens[:, 1:] > 0)).sum(1)
        frames = (rows["audio_lengths"] - 401) // 160 + 1
        assert (-(-frames // 4) >= lengths + repeats).all()


def test_the_minis_share_their_data():
    folders = {
        workloads.get(f"librispeech_{model}_mini").folder for model in ("conformer", "deepspeech")
    }
    assert folders == {prepared.cache_folder() / "librispeech_mini"}
