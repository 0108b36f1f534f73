"""Cheats leave traces in a trial's integrity record; honest submissions leave none."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import workloads
from harness.submission import loading
from harness.trial import audit, integrity
from harness.trial.clock import WallClock
from harness.trial.seeds import Streams
from scoring.integrity import findings
from scoring.reading.read import read
from scoring.records import Status, TrialResult
from tests.fixtures.cheats import (
    CHEATS,
    DETECTED,
    PEOPLE,
    PREVENTED,
    WITHOUT_EFFECT,
    write_cheat,
)
from tests.fixtures.toy import make_spec

ROOT = Path(__file__).parents[3]
RULESET = """
studies = 1
trials = 1
self_tuning_budget_factor = 1.0
r_max = 4.0
[workloads.diabetes]
validation_target = 0.001
budget_seconds = 60.0
eval_period_seconds = 0.05
step_hint = 60
"""


HONEST = ["external_tuning/nadamw", "self_tuning/schedule_free_adamw", "external_tuning/muon"]

# Runs the trials from one process, so that what their processes import is imported once.
RUNNER = """
import os, sys
import harness.cli
for place in sys.argv[1:]:
    sys.argv = ["chronograd", "run", place, "-w", "diabetes", "--ruleset", "quick.toml",
                "--max-steps", "40", "--out", "out/" + os.path.basename(place)]
    try:
        harness.cli.main()
    except SystemExit:
        pass
"""


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """The results tree of each cheat, and of each honest submission, by its name."""
    folder = tmp_path_factory.mktemp("integrity")
    (folder / "quick.toml").write_text(RULESET)
    places = [write_cheat(folder / "cheats", name) for name in CHEATS]
    places += map(loading.find, HONEST)
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, *map(str, places)], cwd=folder, capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.stdout.count("Records in") == len(places), done.stdout + done.stderr
    return lambda name: folder / "out" / Path(name).name


def test_at_least_fifteen_of_the_cheats_are_prevented_or_detected():
    fates = [fate for fate, _, _ in CHEATS.values()]
    assert len(fates) >= 20
    assert sum(fate != PEOPLE for fate in fates) >= 0.75 * len(fates)


def last_losses(out):
    """The losses of a trial's last evaluation, of the step at which all of them end."""
    (file,) = out.glob("submissions/*/*/*/*/eval_measurements.csv")
    row = list(csv.DictReader(file.read_text().splitlines()))[-1]
    assert row["global_step"] == "40"
    return {name: value for name, value in row.items() if name.endswith("/loss")}


@pytest.mark.parametrize("name", CHEATS)
def test_each_cheat_is_prevented_detected_or_known(trees, name):
    fate, sign, _ = CHEATS[name]
    results = read([trees(name)])
    if fate == PREVENTED:
        assert results.trials == []
        assert sign in "\n".join(results.warnings)
    elif fate == DETECTED:
        (trial,) = results.trials
        assert sign in "\n".join(trial.findings), trial.findings
    elif fate == WITHOUT_EFFECT:
        assert results.findings == []
        assert last_losses(trees(name)) == last_losses(trees("chosen_for_a_workload"))
    else:
        assert fate == PEOPLE
        assert results.findings == []


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_submission_has_no_integrity_findings(trees, name):
    out = trees(name)
    results = read([out])
    assert (results.findings, results.warnings) == ([], [])
    (file,) = out.glob("submissions/*/*/*/*/trial.json")
    record = json.loads(file.read_text())["result"]["integrity"]
    initial, data = record["initial_parameters"], record["evaluation_data"]
    assert initial["before_import"] == initial["after_init"]
    assert data["before_import"] == data["after_trial"]
    assert record["clock"]["observed_seconds"] >= record["clock"]["submission_seconds"] - 1e-3
    assert len(record["evaluations"]) >= 2


def test_the_librarys_shared_modules_may_be_read_wherever_they_are_installed(tmp_path, monkeypatch):
    """An editable installation is found without being on sys.path, so it is not Python's own."""
    place, library = tmp_path / "mine", tmp_path / "elsewhere/submissions"
    (library / "other").mkdir(parents=True)
    monkeypatch.setattr(audit, "_watched", [audit.Watch(place, [], library)])
    names = {}
    exec(
        compile("def read(f, path): f('open', (path, 'r', 0))", place / "submission.py", "exec"),
        names,
    )
    names["read"](audit._hook, str(library / "recipe.py"))
    assert audit._watched[0].calls == {}
    names["read"](audit._hook, str(tmp_path / "elsewhere/secret.py"))
    assert list(audit._watched[0].calls) == [f"reads {tmp_path / 'elsewhere/secret.py'}"]


def test_an_archive_of_the_import_path_may_be_read_and_another_one_not(tmp_path, monkeypatch):
    """Python tries to import from python311.zip, whoever imports."""
    archive, place = tmp_path / "lib/python311.zip", tmp_path / "mine"
    monkeypatch.syspath_prepend(str(archive))
    monkeypatch.setattr(audit, "_watched", [audit.Watch(place, [], tmp_path / "library")])
    code = compile("def read(f, path): f('open', (path, 'r', 0))", place / "submission.py", "exec")
    exec(code, names := {})
    for path in (archive, tmp_path / "data.zip"):
        names["read"](audit._hook, str(path))
    assert list(audit._watched[0].calls) == [f"reads {tmp_path / 'data.zip'}"]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # in torch's own imports
def test_a_compiled_model_is_the_workloads_own(tmp_path):
    """`torch.compile` wraps the model, and its parameters then have other names."""
    workload = workloads.get("diabetes")
    spec = make_spec(workload="diabetes")
    record = integrity.Recorder(spec, workload, tmp_path)
    streams = Streams.of(spec)
    streams.seed_generators(0)
    model = torch.compile(workload.init_model_fn(streams.model)[0])
    record.initialised(model)
    record.paused(model, WallClock())
    facts = record.summary()
    record.close()
    assert facts["initial_parameters"]["after_init"] == facts["initial_parameters"]["before_import"]
    assert facts["changed"] == {}


@pytest.mark.parametrize(
    ("section", "seconds", "found"),
    [("set-up", 29.0, False), ("set-up", 40.0, True),
     ("evaluations and checkpoints", 0.4, False), ("evaluations and checkpoints", 6.0, True)],
)  # fmt: skip
def test_untimed_seconds_of_the_submissions_code_have_a_limit(section, seconds, found):
    record = {"changed": {}, "threads": [], "calls": {}, "evaluations": [],
              "untimed": {section: [seconds, "submission.py:7"]}}  # fmt: skip
    ending = TrialResult(
        status=Status.STEP_LIMIT, submission_seconds=100.0, total_seconds=200.0, integrity=record
    )
    texts = findings(make_spec(clock="steps"), ending, None)
    assert any("submission.py:7" in text and section in text for text in texts) is found
