"""Any optimizer class by its dotted name is a submission."""

import sys

import pytest

from harness.submission import loading
from scoring.tree import read_trial
from submissions import dotted, schedules

QUICK = ("--workload", "diabetes", "--ruleset", "quick.toml", "--clock", "steps")


@pytest.fixture
def run(chronograd, tmp_path):
    def call(name, *options, out="out"):
        code, text, error = chronograd("run", name, *QUICK, "--out", out, *options)
        found = list((tmp_path / out).rglob("trial.json"))
        return code, (text + error).replace("\n", " "), found and read_trial(found[0].parent)

    return call


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("torch.optim.AdamW", ("--hparams", '{"lr": 0.003, "betas": [0.9, 0.99]}')),
        ("torch.optim.AdamW", ("--schedule", "cosine", "--warmup", 0.1, "--grad-clip", 1)),
        ("torch.optim.LBFGS", ("--hparams", '{"lr": 0.01}')),
        ("schedulefree.SGDScheduleFree", ("--hparams", '{"lr": 0.01}')),
        ("pytorch_optimizer.SOAP", ("--schedule", "wsd")),
    ],
)
def test_any_optimizer_trains_by_its_name(run, name, options):
    code, _, (spec, result) = run(name, *options)
    assert (code, spec.submission) == (0, name)
    losses = [row.metrics["train/loss"] for row in result.rows]
    assert losses[-1] < losses[0]


def test_it_equals_the_library_on_the_same_point(run):
    """nadamw of the library is the same class with a cosine."""
    point = (
        '{"lr": 0.01, "betas": [0.9, 0.99], "weight_decay": 0.1, "decoupled_weight_decay": true}'
    )
    ours = (
        '{"learning_rate": 0.01, "one_minus_beta1": 0.1, "beta2": 0.99, "weight_decay": 0.1, '
        '"warmup_factor": 0.1}'
    )
    options = ("--schedule", "cosine", "--warmup", 0.1, "--hparams", point)
    _, _, (_, named) = run("torch.optim.NAdam", *options)
    _, _, (_, known) = run("nadamw", "--hparams", ours, out="library")
    assert [row.metrics for row in named.rows] == [row.metrics for row in known.rows]


@pytest.mark.parametrize(
    ("name", "options", "code", "message"),
    [
        ("torch.optim.Adam_W", (), 2, "has no 'Adam_W'. Did you mean 'AdamW'?"),
        ("torch.optim.Optimizer", (), 2, "is no subclass of torch.optim.Optimizer"),
        ("no_such_package.Adam", (), 2, "cannot be imported (No module named 'no_such_package')"),
        ("nadamw", ("--warmup", 0.1), 2, "apply only to optimizer classes"),
        ("torch.optim.AdamW", ("--hparams", '{"x": 1}'), 1, "takes no 'x'; it takes lr, betas"),
        ("torch.optim.SparseAdam", (), 1, "does not support dense gradients"),
        ("pytorch_optimizer.AdaHessian", (), 1, "AdaHessian differentiates the gradient"),
    ],
)
def test_classes_that_cannot_be_used_are_refused_by_name(run, name, options, code, message):
    got, text, _ = run(name, *options)
    assert got == code
    assert message in text


OPTIMIZERS = """
import torch

class Ungraded(torch.optim.SGD):
    @torch.no_grad()
    def step(self, closure=None):
        loss = closure()
        super().step()
        return loss

class Looks(torch.optim.SGD):  # at the loss, of which it needs no gradient
    @torch.no_grad()
    def step(self, closure=None):
        before = closure(backward=False)
        assert not before.requires_grad
        return super().step(closure=closure)
"""


@pytest.mark.parametrize("name", ["Ungraded", "Looks"])
def test_closures_that_an_optimizer_calls_without_recording_have_gradients(
    run, tmp_path, monkeypatch, name
):
    (tmp_path / "optimizers_of_mine.py").write_text(OPTIMIZERS)
    monkeypatch.syspath_prepend(tmp_path)
    point = ("--hparams", '{"lr": 0.01, "momentum": 0.9}', "--max-steps", 20)
    code, text, (_, mine) = run(f"optimizers_of_mine.{name}", *point)
    assert code == 0, text
    _, _, (_, torchs) = run("torch.optim.SGD", *point, out="torchs")
    assert mine.rows[-1].global_step == 20
    assert mine.rows[-1].metrics == torchs.rows[-1].metrics


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", "cannot be imported (ZeroDivisionError: division by zero)"),
        ("def :", "cannot be imported (SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", "cannot be imported (SystemExit: 3)"),
        ("def __getattr__(name): raise OSError('a\\nb')", "cannot be imported (OSError: a)"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line(run, tmp_path, monkeypatch, code, message):
    (tmp_path / "broken_on_purpose.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_on_purpose", raising=False)
    got, text, _ = run("broken_on_purpose.Sgd")
    assert got == 2
    assert f"broken_on_purpose.Sgd: {message}" in text


def test_class_version_and_options_are_in_the_hash_and_other_options_refused(run, tmp_path):
    run("torch.optim.SGD", "--schedule", "linear", "--max-steps", 2)
    again, _, (spec, _) = run("torch.optim.SGD", "--schedule", "linear", "--max-steps", 2)
    assert again == 0
    code, text, _ = run("torch.optim.SGD", "--schedule", "cosine", "--max-steps", 2)
    assert code == 2
    assert "was written with other options" in text
    _, _, (other, _) = run("torch.optim.SGD", "--schedule", "cosine", "--max-steps", 2, out="b")
    assert other.submission_hash != spec.submission_hash
    file = tmp_path / "out/optimizers/torch.optim.SGD/submission.py"
    assert f"'{dotted.version('torch.optim')}'" in file.read_text()
    file.write_text(file.read_text().replace("torch 2.", "torch 1."))
    with pytest.raises(loading.SubmissionError, match=r"planned with torch 1.*installed is"):
        loading.load(file.parent)


def test_a_sweep_takes_classes_with_a_search_space(chronograd, tmp_path):
    (tmp_path / "space.json").write_text('{"lr": {"min": 0.01, "max": 0.1, "scaling": "log"}}')
    code, out, _ = chronograd(
        "sweep", "torch.optim.SGD", "torch.optim.AdamW", *QUICK, "--search-space", "space.json",
        "--trials", 2, "--out", "out", "--dry-run",
    )  # fmt: skip
    assert code == 0
    assert "2 submissions (torch.optim.SGD, torch.optim.AdamW)" in out
    assert "external tuning" in out
    assert not (tmp_path / "out").exists()


def test_the_command_offers_every_schedule():
    from harness.cli.options import Schedule

    assert {*Schedule} == {*schedules.SCHEDULES}
