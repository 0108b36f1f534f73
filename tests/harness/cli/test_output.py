"""Consoles that cannot be written, messages that cannot be printed: the records are complete."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import workloads
from harness.cli.output import Unfailing, make_console, unfailing
from harness.executors.local import LocalExecutor
from harness.progress.live import watch
from harness.sweep.run import run_sweep
from scoring.records import Failure, Status
from scoring.tree import read_trial, trial_folder
from tests.fixtures.faults import RULESET, write_submission
from tests.fixtures.sweeps import Quiet, Script, plan_faults, plan_toys
from tests.harness.sweep.test_sweep import finish
from tests.scoring.trees import write_tree

HOSTILE = r"if global_step == 25: raise ValueError('\udcff \x1b[2J\0 \u202e [/x] <b> =1+1')"


class Broken:
    """A callback whose every method raises."""

    def __getattr__(self, name):
        def fail(*_):
            raise UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range")

        return fail


def chronograd(folder, *arguments, stdout=subprocess.PIPE, **environment):
    (folder / "quick.toml").write_text(RULESET)
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *map(str, arguments)],
        cwd=folder, stdout=stdout, stderr=subprocess.PIPE, check=False,
        env=os.environ | environment,
    )  # fmt: skip


QUICK = ("--workload", "diabetes", "--ruleset", "quick.toml", "--clock", "steps", "--out", "out")


def test_a_failing_callback_affects_neither_the_sweep_nor_other_callbacks(tmp_path, capsys):
    summary = run_sweep(plan_toys("a", "b"), tmp_path, Script(finish, finish), Broken())
    assert summary.by_status == {Status.REACHED: 2}
    said = capsys.readouterr().err
    assert said.count("warning: progress cannot be shown (UnicodeEncodeError") == 1
    assert said.count("\n") == 1


def test_a_board_that_cannot_be_drawn_does_not_affect_the_sweep(tmp_path, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("harness.progress.live.draw", fail)
    with watch(Console(file=io.StringIO(), force_terminal=True)) as callback:
        summary = run_sweep(plan_toys("a"), tmp_path, Script(finish), callback)
    assert summary.by_status == {Status.REACHED: 1}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A tree with a trial whose message can be neither encoded nor printed."""
    folder = tmp_path_factory.mktemp("hostile")
    names = (HOSTILE, "hostile"), ("pass", "well_behaved")
    submissions = [write_submission(folder, code, name) for code, name in names]
    experiment = plan_faults(folder, *submissions)
    run_sweep(experiment, folder / "out", LocalExecutor(workloads.get), Quiet())
    return folder / "out", experiment


def test_a_message_that_cannot_be_printed_affects_no_other_trial(hostile):
    out, experiment = hostile
    first, second = (read_trial(trial_folder(out, spec))[1] for spec in experiment.specs())
    assert (first.failure, second.status) == (Failure.SUBMISSION_ERROR, Status.OUT_OF_TIME)
    message, _, place = first.message.partition(", at ")
    assert message == r"ValueError: \udcff \x1b[2J\x00 \u202e [/x] <b> =1+1"
    assert place.startswith("submission.py:")


RAW = "ValueError: \udcff \x1b[2J\0 \u202e [/x] <b> =1+1"


def as_before(out, spec):
    """Restores the message as it is in old trees, in which messages were not cleaned."""
    path = trial_folder(out, spec) / "trial.json"
    trial = json.loads(path.read_text())
    trial["result"]["message"] = trial["result"]["traceback"] = RAW
    path.write_text(json.dumps(trial))
    events = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
    for event in events:
        event.pop("crc32", None)
        event |= {"message": RAW} if event.get("message") else {}
    (out / "ledger.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


@pytest.mark.parametrize("old", [False, True])
def test_every_command_reads_a_tree_with_such_a_message(hostile, tmp_path, chronograd, old):
    out, experiment = hostile
    if old:
        as_before(out, next(experiment.specs()))
    code, said, _ = chronograd("status", out)
    assert code == 0
    assert r"ValueError: \udcff \x1b[2J\x00 \u202e" in said
    files = {name: tmp_path / name for name in ("html", "json", "csv", "markdown", "parquet")}
    code, said, err = chronograd(
        "score", out, *(x for n, p in files.items() for x in (f"--{n}", p))
    )
    assert code == 0, err
    assert all(path.exists() for path in files.values())
    assert r"\udcff \x1b[2J\x00" in files["html"].read_text()
    code, said, _ = chronograd("explain", out, "hostile")
    assert code == 0
    assert "\x1b" not in said


@pytest.mark.parametrize(
    "console", ["full", *(pytest.param(c, marks=pytest.mark.slow) for c in ("ascii", "closed"))]
)
def test_a_console_that_cannot_be_written_loses_no_record(tmp_path, console):
    write_submission(tmp_path, "well_behaved", "bé")
    stdout, options = {
        "full": (Path("/dev/full").open("w"), {}),  # noqa: SIM115
        "ascii": (subprocess.PIPE, {"PYTHONIOENCODING": "ascii"}),
        "closed": (subprocess.PIPE, {}),
    }[console]
    if console == "closed":
        reading, stdout = os.pipe()
        os.close(reading)
    done = chronograd(tmp_path, "run", "bé", *QUICK, stdout=stdout, **options)
    (file,) = tmp_path.glob("out/submissions/*/*/*/*/trial.json")
    spec, result = read_trial(file.parent)
    assert (spec.submission, result.status) == ("bé", Status.OUT_OF_TIME)
    assert [row.global_step for row in result.rows] == [1, 11, 21, 31, 41]
    err = done.stderr.decode()
    assert (done.returncode, "Traceback" in err) == (0, False), err
    if console == "ascii":
        assert "target <= 0.001" in done.stdout.decode("ascii")
        assert not err
    else:
        assert err.count("stdout cannot be written") == 1
        assert err.count("\n") == 1


def test_files_are_written_before_a_table_that_the_stream_can_print(hostile, tmp_path):
    out, _ = hostile
    done = chronograd(
        tmp_path, "score", out, "--json", "x.json", "--csv", "x.csv", PYTHONIOENCODING="latin-1"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "x.json").read_text())["submissions"]
    assert (tmp_path / "x.csv").is_file()
    assert "inf missed" in done.stdout.decode("latin-1")


def test_characters_that_an_encoding_lacks_are_spelled_out(capsys):
    for encoding, shown in [
        ("ascii", r"inf beta x\xe9 >= \udcff"),
        ("latin-1", "inf beta xé >= \\udcff"),
    ]:
        under = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        stream = Unfailing(under, "stdout")
        stream.write("∞ β xé ≥ \udcff")
        stream.flush()
        assert under.buffer.getvalue().decode(encoding) == shown
    assert capsys.readouterr().err == ""


def test_a_submission_that_closes_stdout_silences_itself_alone():
    under, console = io.StringIO(), Console()
    before = sys.stdout
    sys.stdout = under
    try:
        with unfailing(console):
            sys.stdout.close()
            with pytest.raises(ValueError, match="closed file"):
                print("a submission's own line")
            console.print("a line of the progress")
    finally:
        sys.stdout = before
    assert under.getvalue() == "a line of the progress\n"


def test_colours_in_a_log_are_not_forced(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = make_console()
    with console.capture() as captured:
        console.print("text", style="red")
    assert (console.is_terminal, captured.get()) == (False, "text\n")


@pytest.mark.parametrize(("columns", "width"), [("80", 80), ("", 240), ("no", 240), ("0", 240)])
def test_the_width_of_a_log_is_columns(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    assert make_console().width == width


def test_a_piped_listing_is_as_wide_as_columns(tmp_path):
    done = chronograd(tmp_path, "submissions", COLUMNS="80")
    lines = done.stdout.decode().splitlines()
    assert max(map(len, lines)) <= 80
    assert "external_tuning/schedule_free_adamw" in done.stdout.decode()


def test_a_piped_explanation_cuts_no_path(tmp_path):
    name = "a" * 60
    trial = ("a" * 60, "w", 0, 1)
    write_tree(tmp_path / "tree", {trial: 10.0})
    text = chronograd(tmp_path, "explain", "tree", name, COLUMNS="80").stdout.decode()
    assert f"tree/submissions/{name}/study_0/w_pytorch/trial_1/eval_measurements.csv:" in text
