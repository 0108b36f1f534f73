"""Files that operating systems and notebooks leave in folders are nobody's data."""

import shutil

import pytest

import workloads
from tests.fixtures import fastmri, imagenet, librispeech, nanogpt
from workloads.fastmri.data import files_of
from workloads.imagenet.files import class_folders, listed
from workloads.librispeech import corpus


def litter(root):
    """Leaves them in every folder, made of the folder's own files where those are copied."""
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        for file in [path for path in folder.iterdir() if path.is_file()]:
            file.with_name(f"._{file.name}").write_bytes(b"\0\5\x16\7")
            for name in (".ipynb_checkpoints", "__MACOSX"):
                (folder / name).mkdir(exist_ok=True)
                shutil.copy(file, folder / name / f"{file.stem}-checkpoint{file.suffix}")
        for name in ("__MACOSX", ".Trash-1000", "@eaDir"):
            (folder / name).mkdir(exist_ok=True)
        for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
            (folder / name).touch()


def images(folder):
    found = listed(folder / "train", class_folders(folder, "train"))
    return {name: column.tolist() for name, column in found.items()}


def volumes(folder):
    return [files_of(folder, split) for split in ("train", "validation", "test")]


def speech(folder):
    speakers = [path for found in corpus.recordings(folder).values() for path in found]
    return corpus.transcripts(speakers), corpus.files(speakers), corpus.faults(speakers)


def shards(folder):
    workload = workloads.get("nanogpt", folder)
    return [len(workload.shards(split)) for split in ("train", "val")]


def texts(folder):
    return [(part.name, part.sources) for part in workloads.get("nanogpt", folder).parts()]


@pytest.mark.parametrize(
    ("write", "found"),
    [
        (imagenet.write_files, images),
        (fastmri.write_files, volumes),
        (librispeech.write_files, speech),
        (nanogpt.write_files, shards),
        (nanogpt.write_texts, texts),
    ],
    ids=["imagenet", "fastmri", "librispeech", "nanogpt", "nanogpt texts"],
)
def test_they_are_skipped(tmp_path, write, found):
    write(tmp_path)
    before = found(tmp_path)
    litter(tmp_path)
    assert found(tmp_path) == before
