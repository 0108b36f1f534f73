"""Logs of modded-nanogpt's track 3 and CSV files of curves: what is read, and every fault."""

import gzip
import lzma
import math
import os

import pytest

from scoring.reading.loss_curves import read_curves, read_published
from scoring.reading.track3 import read_track3
from scoring.records import RecordError
from tests.scoring.track3 import (
    HEADER,
    RULE,
    curve,
    evaluation,
    first_line,
    log_text,
    run_lines,
    write_log,
)

CSV = "result,run,planned_steps,step,val_loss\n"


def only(found, entry):
    assert list(found.runs) == [entry]
    return found.runs[entry]


def test_a_step_that_does_not_grow_begins_a_new_run(tmp_path):
    first, second, third = {0: 10.8, 125: 4.5, 250: 4.0}, {0: 10.8, 125: 4.4}, {125: 4.3, 250: 3.9}
    write_log(tmp_path / "a.txt", first, run_lines(second, 250), third)
    found = read_track3(tmp_path)
    runs = only(found, "a")
    assert [dict(zip(run.steps, run.losses, strict=True)) for run in runs] == [first, second, third]
    assert [run.planned for run in runs] == [250, 250, 250]
    start = first_line()
    assert [run.lines[0] for run in runs] == [start, start + 3, start + 5]
    assert {run.made_with for run in runs} == {HEADER}
    assert runs[0].seconds == pytest.approx([0, 18.75, 37.5])
    assert (found.warnings, found.remarks) == ([], [])


def test_lines_lead_to_the_evaluations_in_the_file(tmp_path):
    path = write_log(tmp_path / "a.txt", curve(3.278), curve(3.279))
    lines = path.read_text().split("\n")
    for run in only(read_track3(tmp_path), "a"):
        for step, loss, line in zip(run.steps, run.losses, run.lines, strict=True):
            assert f"step:{step}/" in lines[line - 1]
            assert f"val_loss:{loss:.5f}" in lines[line - 1]


def test_a_folder_is_an_entry_and_so_is_a_file_beside_folders(tmp_path):
    write_log(tmp_path / "adamh" / "1.txt", curve(3.27))
    write_log(tmp_path / "adamh" / "2.log", curve(3.28))
    write_log(tmp_path / "kron.txt", curve(3.29), curve(3.30))
    write_log(tmp_path / "nested" / "soap" / "x.txt", curve(3.31))
    (tmp_path / "adamh" / "train.py").write_text("print('step:1/2 val_loss:3')")
    found = read_track3(tmp_path)
    counts = {name: len(runs) for name, runs in found.runs.items()}
    assert counts == {"kron": 2, "adamh": 2, "nested/soap": 1}
    assert found.warnings == []


def test_files_named_by_a_uuid_with_the_same_source_are_one_entry(tmp_path):
    names = [f"1bd8db7a-f3a3-4195-856d-cab7e081644{number}" for number in range(3)]
    for number, name in enumerate(names):
        write_log(tmp_path / "muon" / f"{name}.txt", curve(3.27 + number / 1000))
    assert len(only(read_track3(tmp_path / "muon"), "muon")) == 3
    write_log(tmp_path / "muon" / f"{names[2]}.txt", curve(3.2), source="another\n")
    assert {n: len(r) for n, r in read_track3(tmp_path / "muon").runs.items()} == {
        names[0]: 2, names[2]: 1,
    }  # fmt: skip


@pytest.mark.parametrize("change", ["bom", "crlf", "gz", "xz", "utf16", "no newline", "cr"])
def test_strangers_files_read_alike(tmp_path, change):
    text = log_text(curve(3.278), curve(3.279))
    plain = write_log(tmp_path / "plain" / "a.txt", curve(3.278), curve(3.279))
    wanted = only(read_track3(tmp_path / "plain"), "a")
    path = plain.parent.parent / "changed" / "a.txt"
    path.parent.mkdir()
    content = {
        "bom": b"\xef\xbb\xbf" + text.encode(),
        "crlf": text.replace("\n", "\r\n").encode(),
        "cr": text.replace("\n", "\r").encode(),
        "utf16": text.encode("utf-16"),
        "no newline": text.rstrip("\n").encode(),
        "gz": gzip.compress(text.encode()),
        "xz": lzma.compress(text.encode()),
    }[change]
    suffix = f".{change}" if change in ("gz", "xz") else ""
    path.with_name(f"a.txt{suffix}").write_bytes(content)
    found = read_track3(path.parent)
    runs = only(found, "a")
    assert [(r.steps, r.losses, r.lines) for r in runs] == [
        (r.steps, r.losses, r.lines) for r in wanted
    ]
    assert found.warnings == []


def test_hidden_files_are_not_read(tmp_path):
    write_log(tmp_path / "e" / "a.txt", curve(3.278))
    for name in ("._a.txt", ".ipynb_checkpoints/a.txt", "__MACOSX/a.txt"):
        write_log(tmp_path / "e" / name, curve(3.1))
    found = read_track3(tmp_path)
    assert len(only(found, "e")) == 1
    assert found.warnings == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (evaluation(3375, 3.27)[:-20], "ends in the middle of this line"),
        ("step:33", "ends in the middle of this line"),
        ("step:3375/3375 val_loss:3.2", "ends in the middle of this line"),
        ("step:33x/3375 val_loss:3.2 train_time:1s step_avg:1ms\n", "no whole number of steps"),
        (evaluation(3375, "3_2"), "not a number"),
        (evaluation(3375, "?"), "not a number"),
        ("step:3375 val_loss:3.2 train_time:1s step_avg:1ms\n", "cannot be read"),
    ],
)
def test_a_damaged_line_is_left_out_with_one_warning(tmp_path, line, fault):
    good = {0: 10.8, 3350: 3.28}
    path = write_log(tmp_path / "a.txt", run_lines(good, 3375) + line)
    found = read_track3(tmp_path)
    assert only(found, "a")[0].steps == [0, 3350]
    (warning,) = found.warnings
    assert warning.startswith(f"{path}:{first_line() + 2}: ")
    assert fault in warning
    assert "\n" not in warning


@pytest.mark.parametrize("loss", ["nan", "NaN", "inf", "-inf", "1e999"])
def test_a_loss_that_is_not_finite_is_kept_and_reported(tmp_path, loss):
    path = write_log(tmp_path / "a.txt", {0: 10.8, 125: loss, 250: loss})
    found = read_track3(tmp_path)
    assert not any(map(math.isfinite, only(found, "a")[0].losses[1:]))
    (warning,) = found.warnings
    assert warning.startswith(
        f"{path}:{first_line() + 1} (and 1 more): run 1 of a.txt has the loss"
    )


def test_a_run_logged_twice_counts_once(tmp_path):
    first = write_log(tmp_path / "e" / "1.txt", curve(3.278), curve(3.279))
    copy = write_log(tmp_path / "e" / "2.txt", curve(3.277), curve(3.279))
    found = read_track3(tmp_path)
    assert [run.losses[-1] for run in only(found, "e")] == [3.278, 3.279, 3.277]
    (warning,) = found.warnings
    length = len(curve(3.278))
    assert warning == (
        f"{copy}:{first_line() + length}: e, run 2 of 2.txt: has the losses of run 2 of 1.txt "
        f"({first}:{first_line() + length}), and is left out as a duplicate"
    )


def test_all_duplicates_of_an_entry_are_one_warning(tmp_path):
    losses = curve(3.278), curve(3.279)
    write_log(tmp_path / "e" / "1.txt", *losses)
    for copy in ("2.txt", "3.txt"):
        write_log(tmp_path / "e" / copy, *losses)
    found = read_track3(tmp_path)
    assert len(only(found, "e")) == 2
    (warning,) = found.warnings
    place = f"{tmp_path / 'e' / '2.txt'}:{first_line()}"
    assert warning.startswith(f"{place} (and 3 more): e, run 1 of 2.txt: has the losses of run 1")


def test_two_runs_with_equal_single_evaluations_are_not_duplicates(tmp_path):
    write_log(tmp_path / "a.txt", {3210: 3.2785}, {3210: 3.2785})
    assert len(only(read_track3(tmp_path), "a")) == 2


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"step:1/2 val_loss:3 train_time:1s step_avg:1ms\n", "is not a log of this format"),
        (f"source\n{RULE}\nGPU\n".encode(), "is not a log of this format"),
        (f"source\n{RULE}\nGPU\n{RULE}\n".encode(), "has no evaluation"),
        (b"\xff\x00\x81", "cannot be read"),
        (b"\x1f\x8b\x08 broken", "damaged compressed data"),
        (b"", "is not a log of this format"),
    ],
)
def test_a_file_that_is_no_log_is_left_out_with_one_warning(tmp_path, content, fault):
    write_log(tmp_path / "good.txt", curve(3.278))
    (tmp_path / "bad.txt").write_bytes(content)
    found = read_track3(tmp_path)
    assert list(found.runs) == ["good"]
    (warning,) = found.warnings
    assert warning.startswith(f"{tmp_path / 'bad.txt'}: ")
    assert fault in warning


def test_a_space_before_a_unit_changes_nothing(tmp_path):
    line = "step:125/125 val_loss:4.5 train_time:22.87 s step_avg:182.9 ms"
    write_log(tmp_path / "a.txt", line)
    (run,) = only(read_track3(tmp_path), "a")
    assert (run.steps, run.losses, run.seconds) == ([125], [4.5], [22.87])


def test_a_name_that_cannot_be_printed_is_left_out_with_a_warning(tmp_path):
    write_log(tmp_path / "good.txt", curve(3.278))
    for name in (b"bad\xff.txt", b"bad\x1b.txt"):
        path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
        with open(path, "w") as file:  # noqa: PTH123 - Path is tested elsewhere
            file.write(log_text(curve(3.2)))
    found = read_track3(tmp_path)
    assert list(found.runs) == ["good"]
    assert len(found.warnings) == 2
    assert all(warning.isprintable() for warning in found.warnings)


def test_a_link_to_a_folder_beside_it_is_not_a_second_entry(tmp_path):
    write_log(tmp_path / "e" / "a.txt", curve(3.278))
    (tmp_path / "latest").symlink_to("e")
    (tmp_path / "e" / "loop").symlink_to(tmp_path)
    assert list(read_track3(tmp_path).runs) == ["e"]


def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    assert "not a regular file" in read_track3(tmp_path).warnings[0]


def test_logs_appended_to_each_other_give_their_runs(tmp_path):
    (tmp_path / "a.txt").write_text(log_text(curve(3.278)) + log_text(curve(3.279)))
    assert [run.losses[-1] for run in only(read_track3(tmp_path), "a")] == [3.278, 3.279]


def test_a_line_of_the_source_that_looks_like_the_logs_rule_changes_nothing(tmp_path):
    source = f'"""\n{RULE}\n{evaluation(125, 9.9)}"""\n'
    write_log(tmp_path / "a.txt", curve(3.278), curve(3.279), source=source)
    assert [run.losses[-1] for run in only(read_track3(tmp_path), "a")] == [3.278, 3.279]


def test_what_a_run_prints_between_evaluations_is_passed_over(tmp_path):
    lines = "step:1/3350 train_time:1s step_avg:1ms\npeak memory 31 GiB\n\n"
    write_log(tmp_path / "a.txt", run_lines({0: 10.8}, 3350) + lines + run_lines({3350: 3.278}))
    found = read_track3(tmp_path)
    assert only(found, "a")[0].steps == [0, 3350]
    assert found.warnings == []


def test_sources_that_differ_within_an_entry_are_remarked_on(tmp_path):
    write_log(tmp_path / "e" / "1.txt", curve(3.278))
    write_log(tmp_path / "e" / "2.txt", curve(3.279), source="lr = 0.1\n")
    (remark,) = read_track3(tmp_path).remarks
    assert remark.startswith("e: its 2 logs begin with 2 different sources")


@pytest.mark.parametrize("pack", [None, gzip.compress, lzma.compress])
def test_curves_are_read_from_csv(tmp_path, pack):
    text = f"{CSV}12.0,0,10,0,10.8\n12.0,0,10,10,3.2\n12.0,1,10,10,3.3\n,7,10,0,10.8\nx,0,9,9,nan\n"
    path = tmp_path / "curves.csv"
    path.write_bytes(pack(text.encode()) if pack else text.encode())
    found = read_curves(path)
    first, second = found.runs["12"]
    assert (first.steps, first.losses, first.lines, first.planned) == (
        [0, 10],
        [10.8, 3.2],
        [2, 3],
        10,
    )
    assert (first.name, second.losses, second.lines) == ("run 0", [3.3], [4])
    assert math.isnan(found.runs["x"][0].losses[0])
    assert found.remarks == [f"{path}: 1 runs (1 rows) belong to no result and are not scored"]
    assert found.warnings == [f"{path}:6: run 0 has the loss nan at step 9: it diverged"]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("a,0,10,1.5,3", ":3: step is '1.5'"),
        ("a,0,10,10,x", ":3: val_loss is 'x'"),
        ("a,0,10,10", ":3: has 4 cells, not 5"),
        ("a,0,10,0,3.1", ":3: run 0 has step 0 twice (line 2), the first counts"),
    ],
)
def test_a_damaged_row_of_curves_is_left_out_with_one_warning(tmp_path, row, fault):
    path = tmp_path / "curves.csv"
    path.write_text(f"{CSV}a,0,10,0,3.2\n{row}\n")
    found = read_curves(path)
    assert found.runs["a"][0].losses == [3.2]
    (warning,) = found.warnings
    assert warning.startswith(f"{path}{fault}")


def test_curves_without_a_column_are_refused(tmp_path):
    path = tmp_path / "curves.csv"
    path.write_text("result,run,step,val_loss\n")
    with pytest.raises(RecordError, match="needs one column planned_steps"):
        read_curves(path)


def test_published_results_are_read_and_refused_by_line(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("result,steps,mean_loss,runs\n1,3600,3.2777,1\n2,5625,,\n")
    found = read_published(path)
    assert (found["1"].steps, found["1"].mean_loss, found["1"].runs) == (3600, 3.2777, 1)
    assert (found["2"].mean_loss, found["2"].runs) == (None, None)
    path.write_text("result,steps\n1,3600\n1,3500\n")
    with pytest.raises(RecordError, match=r"results\.csv:3: needs a result that no other row has"):
        read_published(path)
