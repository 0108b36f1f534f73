"""Options of the command line: records become options, and `resume` reuses them."""

import inspect
import json
import re
from types import SimpleNamespace

import pytest
import typer

from harness.cli import app
from harness.cli.options import OPTIONS
from harness.cli.records import override, takes_records
from harness.commands import machine
from harness.sweep.options import EVERY_TRIAL, SweepOptions
from harness.sweep.restore import last_options
from harness.sweep.run import run_sweep
from scoring.plain import to_plain
from scoring.records import Order, Pruning
from tests.fixtures.faults import write_submission
from tests.fixtures.sweeps import Quiet, Script, plan_toys
from tests.scoring.trees import write_tree


def commands():
    group = typer.main.get_command(app)
    data = group.commands["data"]
    return {**{n: c for n, c in group.commands.items() if c is not data}, **data.commands}


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_option_has_a_help_text(name):
    for parameter in commands()[name].params:
        assert parameter.help or parameter.param_type_name == "argument", parameter.name


@pytest.mark.parametrize("name", sorted(commands()))
def test_the_paragraphs_of_a_help_text_are_not_broken_twice_at_80_columns(name):
    _, *others = inspect.cleandoc(commands()[name].help).split("\n\n")  # typer joins the first
    assert max((len(line) for text in others for line in text.splitlines()), default=0) <= 78


@pytest.mark.parametrize("record", OPTIONS, ids=lambda record: record.__name__)
def test_every_field_of_a_record_is_an_option_with_its_default(record):
    assert list(inspect.signature(record).parameters) == list(OPTIONS[record])
    sweep = {parameter.name: parameter for parameter in commands()["sweep"].params}
    for name, field in inspect.signature(record).parameters.items():
        assert (sweep[name].default or ()) == (field.default or ()), name


def test_help_is_grouped_and_fits_80_columns(chronograd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = chronograd("sweep", "--help")
    assert code == 0
    panels = ("What is run", "How trials run", "Cluster", "Pruning", "Failures")
    assert all(f"─ {panel} ─" in out for panel in panels)
    assert max(map(len, out.splitlines())) <= 80
    assert not re.search(r"--[\w-]+…", out)  # no name is cut


def test_the_options_of_a_sweep_are_recorded(tmp_path):
    used = SweepOptions(
        pruning=Pruning.PREDICT, history=(tmp_path / "a", tmp_path / "b"), order=Order.LATENCY,
        address="auto", max_concurrent=3, hang_timeout=7.5, exclusive_nodes=True,
        checkpoint_dir="s3://bucket/folder", max_attempts=5, track=("tensorboard",), risk=0.2,
    )  # fmt: skip
    plan = plan_toys()
    run_sweep(plan, tmp_path / "out", Script(), Quiet(), options=EVERY_TRIAL)
    assert last_options(tmp_path / "out") == EVERY_TRIAL
    run_sweep(plan, tmp_path / "out", Script(), Quiet(), options=used)
    assert last_options(tmp_path / "out") == used


def test_resume_reuses_the_options_of_a_sweep_and_given_ones_replace_them(chronograd, tmp_path):
    folder = write_submission(tmp_path, "well_behaved")
    place = ("-w", "diabetes", "--ruleset", "quick.toml", "--clock", "steps", "--out", "out")
    assert chronograd("run", folder, *place)[0] == 0
    assert "Sweep options: --pruning off\n" in chronograd("resume", "out", "--dry-run")[1]
    alias = chronograd("sweep", "--resume", "out", "--dry-run", "--pruning", "exact")[1]
    assert "Sweep options" not in alias
    more = ("--max-attempts", "5", "--exclusive-nodes", "--order", "latency")
    shown = chronograd("resume", "out", "--dry-run", *more)[1].replace("\n", " ")
    for option in ("--max-attempts 5", "--exclusive-nodes", "--order latency", "--pruning off"):
        assert option in shown


@pytest.mark.parametrize(("clock", "warns"), [("wall", True), ("steps", False)])
def test_a_busy_machine_is_mentioned_before_a_measured_trial(
    chronograd, monkeypatch, tmp_path, clock, warns
):
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    folder = write_submission(tmp_path, "well_behaved")
    place = ("-w", "diabetes", "--ruleset", "quick.toml", "--max-steps", "1")
    code, out, _ = chronograd("run", folder, *place, "--clock", clock, "--out", f"out-{clock}")
    assert code == 0
    text = " ".join(out.split())
    assert ("load 99.0: other work distorts step times" in text) is warns


def test_a_sweep_takes_a_stopping_step_only_under_a_ruleset_by_steps(chronograd):
    place = ("nadamw", "-w", "diabetes", "--max-steps", "9", "--out", "out", "--dry-run")
    code, _, error = chronograd("sweep", *place, "--ruleset", "mini")
    assert code == 2
    assert "under mini, a trial ends" in error
    code, out, _ = chronograd("sweep", *place, "--ruleset", "track3")
    assert code == 0
    assert "these hours are nominal" in " ".join(out.split())


def test_lists_that_are_not_given_are_empty():
    given = []

    @takes_records(OPTIONS)
    def command(*, how: SweepOptions) -> None:
        given.append(how)

    command(history=None, track=None)  # typer's values of lists that are not given
    assert given == [SweepOptions()]
    nulls = {**to_plain(SweepOptions()), "history": None, "track": None}
    assert SweepOptions.from_plain(nulls) == SweepOptions()


def test_a_sweep_with_predictions_can_be_resumed_without(chronograd, tmp_path):
    predicts = SweepOptions(pruning=Pruning.PREDICT, history=(tmp_path,))
    plan = plan_toys()
    run_sweep(plan, tmp_path / "out", Script(), Quiet(), options=predicts)
    given = SweepOptions(pruning=Pruning.OFF)

    class Context:
        params = ("pruning", "history")

        def get_parameter_source(self, name):
            return SimpleNamespace(name="COMMANDLINE" if name in self.named else "DEFAULT")

    context = Context()
    context.named = {"pruning"}
    assert override(context, last_options(tmp_path / "out"), given) == given
    context.named = set()
    assert override(context, predicts, given) == predicts


def test_studies_auto_in_a_dry_run_and_wrong_numbers_of_studies(chronograd, tmp_path):
    given = ("nadamw", "adamw", "--workload", "digits", "--ruleset", "demo", "--clock", "steps")
    out = ("--out", str(tmp_path / "out"), "--dry-run")
    code, text, _ = chronograd("sweep", *given, "--studies", "auto", "--max-studies", "7", *out)
    assert code == 0
    text = " ".join(text.split())
    assert "Sweep options: --decide all --max-studies 7" in text
    assert "x 2 to 7 studies x 2 trials = at least 8, at most 28 trials" in text
    assert "results decide how many more do, up to 7 studies" in text
    code, text, _ = chronograd("sweep", *given, "--studies", "3", "--decide", "top", *out)
    assert code == 0
    assert "x 3 to 20 studies x" in " ".join(text.split())
    for wrong in ("0", "-1", "many"):
        code, _, error = chronograd("sweep", *given, "--studies", wrong, *out)
        assert code == 2
        assert "neither a number from 1 nor auto" in " ".join(error.replace("│", "").split())


def test_replay_studies_auto(chronograd, tmp_path):
    trials = {
        (name, workload, study, 1): seconds * (1 + 0.01 * (study * 3 % 5))
        for name, seconds in (("a", 10.0), ("b", 20.0))
        for workload in "vwxyz"
        for study in range(6)
    }
    tree = write_tree(tmp_path / "tree", trials)
    file = tmp_path / "replay.json"
    code, text, _ = chronograd("replay", str(tree), "--studies", "auto", "--json", str(file))
    assert code == 0
    found = json.loads(file.read_text())
    (pair,) = found["pairs"]
    assert (pair["first"], pair["faster"], pair["alone_faster"]) == ("a", "a", "a")
    assert pair["alone_studies"] == 2
    assert found["hours"] < found["most"] / 2
    assert "1 of 1 pairs decided" in " ".join(text.split())
