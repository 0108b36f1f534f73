"""Each dataset from its archives to data that trains, by its own dataset.toml and the commands.

The archives hold the small files of tests/fixtures, laid out as the real ones are.
"""

import gzip
import io
import json
import re
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest

import workloads
from harness.commands.datasets.classes import ground_truth
from harness.commands.datasets.source import FILE, of_workload, read
from tests.fixtures import (
    cifar,
    criteo1tb,
    fastmri,
    imagenet,
    librispeech,
    mnist,
    nanogpt,
    ogbg,
    wmt,
)  # fmt: skip
from tests.fixtures.serving import serving, write_dataset
from workloads.librispeech.corpus import SUBSETS
from workloads.mnist.data import SHAPES

ROOT = Path(workloads.__file__).parent
SIZES_ALONE = re.compile(
    r"(has|have) [\d,]+|[\d,]+ were expected|not 1,000|folders missing|Where to get it"
)


def tar(folder, *names, root="", mode="w", renamed=str):
    """A tar archive of files and folders below a folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name in names:
            archive.add(folder / name, f"{root}{renamed(name)}")
    return stream.getvalue()


def of_mnist(folder, monkeypatch):
    monkeypatch.setattr(mnist, "COUNTS", {"train": 90, "t10k": 30})
    shapes = {name: (90 if "train" in name else 30, *rest) for name, (_, *rest) in SHAPES.items()}
    monkeypatch.setattr("workloads.mnist.data.SHAPES", shapes)
    mnist.write_mnist(folder, compress=True)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def of_cifar(folder, monkeypatch):
    monkeypatch.setattr("workloads.cifar.data.RECORDS", 20)
    place = folder / "cifar-10-batches-bin"
    place.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in (*cifar.TRAIN_FILES, cifar.TEST_FILE):
        records = rng.integers(0, 10, (20, 3073), dtype=np.uint8)
        (place / name).write_bytes(records.tobytes())
    (place / "readme.html").write_text("not taken")
    return {"cifar-10-binary.tar.gz": tar(folder, place.name, mode="w:gz")}


def of_ogbg(folder, monkeypatch):
    ogbg.write_files(folder)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path in sorted((folder / "ogbg_molpcba").rglob("*.gz")):
            archive.write(path, Path("pcba", path.relative_to(folder / "ogbg_molpcba")))
        archive.writestr("pcba/mapping/README.md", "not taken")
    return {"pcba.zip": stream.getvalue()}


def of_wmt(folder, monkeypatch):
    wmt.write_files(folder)
    for language, side in (("de", "src"), ("en", "ref")):
        lines = (folder / f"newstest2014.{language}").read_text(encoding="utf-8").splitlines()
        text = "".join(f'<seg id="{n}">{line}</seg>\n' for n, line in enumerate(lines, 1))
        sgm = f'<refset setid="x">\n<doc docid="1">\n<p>\n{text}</p>\n</doc>\n</refset>\n'
        (folder / f"newstest2014-deen-{side}.{language}.sgm").write_text(sgm, encoding="utf-8")
    both = lambda name: (f"{name}.de-en.de", f"{name}.de-en.en")  # noqa: E731
    (folder / "europarl-v7.cs-en.cs").write_text("not taken")
    return {
        "training-parallel-europarl-v7.tgz": tar(
            folder, *both("europarl-v7"), "europarl-v7.cs-en.cs", root="training/", mode="w:gz"
        ),
        "training-parallel-commoncrawl.tgz": tar(folder, *both("commoncrawl"), mode="w:gz"),
        "training-parallel-nc-v12.tgz": tar(
            folder, *both("news-commentary-v12"), root="training/", mode="w:gz"
        ),
        "rapid2016.tgz": tar(folder, *both("rapid2016"), mode="w:gz"),
        "dev.tgz": tar(
            folder, "newstest2013.de", "newstest2013.en", "newstest2014-deen-src.de.sgm",
            "newstest2014-deen-ref.en.sgm", root="dev/", mode="w:gz",
        ),
    }  # fmt: skip


def of_librispeech(folder, monkeypatch):
    librispeech.write_files(folder)
    (folder / "LibriSpeech/README.TXT").write_text("not taken")
    return {
        f"{subset}.tar.gz": tar(folder / "LibriSpeech", subset, "README.TXT", root="LibriSpeech/")
        for subsets in SUBSETS.values() for subset in subsets
    }  # fmt: skip


def of_nanogpt(folder, monkeypatch):
    nanogpt.write_files(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def of_finewebedu_lm(folder, monkeypatch):
    nanogpt.write_files(folder)
    files = sorted(folder.iterdir())
    names = ("finewebedu_train_000001", "finewebedu_train_000002", "finewebedu_val_000000")
    found = {f"{n}.bin": f.read_bytes() for n, f in zip(names, files, strict=True)}
    return found | {"finewebedu_val_000001.bin": files[0].read_bytes()}


def of_imagenet(folder, monkeypatch):
    from scipy.io import savemat

    imagenet.write_files(folder)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as outer:
        for wnid in imagenet.WNIDS:
            names = sorted(path.name for path in (folder / "train" / wnid).iterdir())
            content = tar(folder / "train" / wnid, *names)
            info = tarfile.TarInfo(f"{wnid}.tar")
            info.size = len(content)
            outer.addfile(info, io.BytesIO(content))
    images = sorted(path.relative_to(folder / "val") for path in folder.glob("val/*/*.JPEG"))
    numbers = [1 + imagenet.WNIDS.index(image.parent.name) for image in images]
    kit = folder / "ILSVRC2012_devkit_t12/data"
    kit.mkdir(parents=True)
    synsets = np.array(
        list(enumerate(imagenet.WNIDS, start=1)), [("ILSVRC2012_ID", "O"), ("WNID", "O")]
    )
    savemat(kit / "meta.mat", {"synsets": synsets})
    text = "".join(f"{number}\n" for number in numbers)
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text(text)
    new = {str(image): f"ILSVRC2012_val_{n:08}.JPEG" for n, image in enumerate(images, start=1)}
    return {
        "ILSVRC2012_devkit_t12.tar.gz": tar(folder, "ILSVRC2012_devkit_t12", mode="w:gz"),
        "ILSVRC2012_img_train.tar": stream.getvalue(),
        "ILSVRC2012_img_val.tar": tar(folder / "val", *new, renamed=new.get),
        "imagenetv2-matched-frequency.tar.gz": tar(folder, imagenet.V2),
    }


def of_fastmri(folder, monkeypatch):
    size = {"height": 40, "width": 36, "size": 24}
    for number in range(2):
        fastmri.write_volume(folder / f"train/file{1000 + number}.h5", seed=number, **size)
        fastmri.write_volume(folder / f"val/file{2000 + number}.h5", seed=number, **size)
    return {
        f"knee_singlecoil_{split}.tar.xz": tar(
            folder, split, mode="w:xz", renamed=lambda name: f"singlecoil_{name}"
        )
        for split in ("train", "val")
    }


def of_criteo1tb(folder, monkeypatch):
    rng = np.random.default_rng(0)
    counts = {day: 3 * 20 + day for day in range(23)} | {23: 36 * 20 - 3}
    return {
        f"day_{day}.gz": gzip.compress(
            "".join(criteo1tb._line(rng) for _ in range(count)).encode(), compresslevel=1
        )
        for day, count in counts.items()
    }


DATASETS = {
    "mnist": of_mnist,
    "cifar": of_cifar,
    "ogbg": of_ogbg,
    "wmt": of_wmt,
    "librispeech_conformer": of_librispeech,
    "nanogpt": of_nanogpt,
    "finewebedu_lm": of_finewebedu_lm,
    "imagenet_vit": of_imagenet,
    "fastmri": of_fastmri,
    "criteo1tb": of_criteo1tb,
}
GIVEN = {"imagenet_vit", "fastmri", "criteo1tb"}  # some of their files come from the user


def mirror(path, target, archives, url):
    """A description of a mirror: the built-in one with its layout, addresses and sizes changed."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    files = []
    for file in data.pop("file"):
        known = {key: file[key] for key in file.keys() & {"name", "to", "unpack", "only_for"}}
        if "numbers" in file:
            width, first = file.get("digits", 1), file["numbers"][0]
            there = [
                n for n in range(first, file["numbers"][1] + 1)
                if file["name"].replace("{number}", f"{n:0{width}}") in archives
            ]  # fmt: skip
            known |= {"numbers": [first, there[-1]], "digits": width}
        elif file["name"] not in archives:
            continue
        if known.get("unpack", {}).get("split_lines"):
            known["unpack"] = known["unpack"] | {"split_lines": 20}
        source = {"url": f"{url}/{file['name']}"} if "url" in file else {}
        files.append(known | source | {"about_bytes": 1000})
    return write_dataset(target, files, **data | {"prepared_bytes": 0})


def lower_limits(path):
    """The description with the disk space of a small dataset."""
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r'"bytes" = \d+', '"bytes" = 200000000', text), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_comes_from_its_archives_to_training(name, chronograd, tmp_path, monkeypatch):
    archives = DATASETS[name](tmp_path / "original", monkeypatch)
    data = tmp_path / "data"
    with serving() as server:
        server.files = {f"/{name}": content for name, content in archives.items()}
        described = workloads.folder(workloads.get(name)) / FILE
        source = lower_limits(mirror(described, tmp_path / "m.toml", archives, server.url))
        given = [file.name for file in read(source).files if file.url is None]
        assert bool(given) is (name in GIVEN)
        (tmp_path / "mine").mkdir()
        for one in given:
            (tmp_path / "mine" / one).write_bytes(archives[one])
        options = ("--data-dir", data, "--source", source, "--jobs", 2)
        if given:
            code, _, err = chronograd("data", "download", name, *options)
            assert (code, "not found" in err) == (2, True)
            options += ("--archives", tmp_path / "mine")
        code, out, err = chronograd("data", "get", name, *options)
    assert f"{name}: ready" in out, (out, err)
    checked = out.partition(f"{name}: ready\n")[2].splitlines()
    if code:
        assert [line for line in checked if not SIZES_ALONE.search(line)] == []
    else:
        assert checked == [f"{name}: all data is complete"]
    workload = workloads.get(name, data)
    assert next(iter(workload.build_input_queue((0, 0), "train", 2)))
    code, out, _ = chronograd("data", "list", name, "--data-dir", data, "--source", source)
    assert "missing" not in out
    assert {path.name for path in (tmp_path / "mine").iterdir()} == set(given)


def test_download_shows_what_it_needs_and_does_nothing_on_a_dry_run(chronograd, tmp_path):
    code, out, _ = chronograd("data", "download", "ogbg", "--data-dir", "d", "--dry-run")
    assert code == 0
    for text in ("pcba.zip", "39.5 MB", "SHA-256", "snap.stanford.edu", "Licence: MIT", "missing"):
        assert text in out
    assert re.search(r"To download: 39.5 MB; disk space needed: 439.5 MB at most, free: \d", out)
    assert not (tmp_path / "d").exists()


def test_a_workload_without_files_has_nothing_to_download(chronograd):
    for name in ("digits", "ogbg_mini"):
        code, _, err = chronograd("data", "download", name, "--data-dir", "d")
        assert (code, "there is nothing to download" in err) == (2, True)


def test_list_names_every_dataset_and_its_licence(chronograd):
    code, out, _ = chronograd("data", "list", "--json")
    assert code == 0
    found = {name: one for one in json.loads(out) for name in one["workloads"]}
    wanted = {n for n in workloads.names() if workloads.get(n).data_source}
    assert {workloads.get(name).base_name for name in wanted} == set(found)
    assert all(one["licence"] and one["download_bytes"] for one in found.values())
    code, out, _ = chronograd("data", "list", "wmt", "--json", "--data-dir", "d")
    assert {file["state"] for file in json.loads(out)["files"]} == {"missing"}


@pytest.mark.parametrize(
    ("name", "family"),
    [("wmt_post_ln", "wmt"), ("imagenet_resnet_silu", "imagenet"), ("fastmri_tanh", "fastmri")],
)
def test_a_variant_has_the_dataset_of_its_workload(name, family):
    assert of_workload(name).path == ROOT / family / FILE


def test_checksums_come_with_a_note_of_their_origin():
    for path in ROOT.glob("*/dataset.toml"):
        text = path.read_text(encoding="utf-8")
        if re.search(r"^(sha256|md5) =", text, re.MULTILINE):
            assert re.search(r"^(\[\[file\]\] )?# .*(hecksum|SHA-256|MD5)", text, re.MULTILINE)


def test_a_damaged_development_kit_is_a_line(tmp_path):
    for content in (b"", b"no archive", tar(tmp_path, ".", mode="w:gz")):
        path = tmp_path / "kit.tar.gz"
        path.write_bytes(content)
        with pytest.raises(Exception, match="is not ILSVRC-2012's development kit"):
            ground_truth(path)
