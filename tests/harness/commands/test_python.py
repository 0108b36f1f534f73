"""`chronograd.run` and `chronograd.sweep`: what the command line runs, from Python objects."""

import json
import linecache
import os
import random
import re
import subprocess
import sys

import pytest
import torch

import chronograd as cg
from tests.fixtures.faults import RULESET, write_submission

STEPS = {"clock": "steps", "device": "cpu"}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick.toml").write_text(RULESET)


def rows_of(out):
    (file,) = out.glob("submissions/*/study_0/*/trial_1/eval_measurements.csv")
    drop = re.compile(r"[^,\n]*(time|duration)[^,\n]*")
    head, *lines = file.read_text().splitlines()
    kept = [n for n, name in enumerate(head.split(",")) if not drop.match(name)]
    return [[line.split(",")[n] for n in kept] for line in (head, *lines)]


def test_a_run_is_that_of_the_command_line(chronograd, tmp_path, capsys):
    point = {"lr": 0.01, "momentum": 0.9}
    place = ("--ruleset", "quick.toml", "--clock", "steps", "--seed", "3", "--device", "cpu")
    words = ("torch.optim.SGD", "-w", "diabetes", *place, "--hparams", json.dumps(point))
    assert chronograd("run", *words, "--out", "command")[0] == 0
    before = dict(os.environ), torch.get_num_threads(), random.getstate()
    results = cg.run(
        torch.optim.SGD, "diabetes", hparams=point, ruleset="quick.toml", seed=3, out="python",
        **STEPS,
    )  # fmt: skip
    assert before == (dict(os.environ), torch.get_num_threads(), random.getstate())
    (trial,) = results.trials().to_pylist()
    assert (trial["submission"], trial["hparams.momentum"]) == ("torch.optim.SGD", 0.9)
    assert "validation/loss" in capsys.readouterr().out
    assert rows_of(tmp_path / "python") == rows_of(tmp_path / "command")
    assert sorted(path.name for path in (tmp_path / "python").iterdir()) == sorted(
        path.name for path in (tmp_path / "command").iterdir()
    )


def test_a_folder_a_name_and_a_failure(tmp_path):
    folder = write_submission(tmp_path, "raises")
    (failed,) = cg.run(folder, "diabetes", ruleset="quick.toml", **STEPS).trials().to_pylist()
    assert failed["status"] == "failed"
    (out,) = (tmp_path / "results" / "runs").iterdir()
    assert out.name.startswith("raises-diabetes-")
    named = cg.run("self_tuning/nadamw", "diabetes", ruleset="quick.toml", out="n", **STEPS)
    assert named.submissions == ["nadamw"]


NOTEBOOK = """
import math as m
import torch
from torch import nn
from torch.optim import Optimizer

SCALE = {"factor": 0.5}

def scaled(rate):
    return rate * SCALE["factor"] * m.cos(0.0)

class Plain(Optimizer):
    def __init__(self, params, lr=1.0):
        super().__init__(params, {"lr": scaled(lr)})

    @torch.no_grad()
    def step(self, closure=None):
        loss = torch.enable_grad()(closure)()
        for group in self.param_groups:
            for p in group["params"]:
                p.add_(p.grad, alpha=-group["lr"])
        return loss

def make_plain(params, hyperparameters, horizon):
    assert horizon > 0
    return Plain(params, lr=hyperparameters.lr)

def bound(factor):
    def make_bound(params, hyperparameters, horizon):
        return torch.optim.SGD(params, lr=factor * hyperparameters.lr)
    return make_bound

half = bound(0.5)
MODEL = nn.Linear(1, 1)

def make_of_model(params, hyperparameters, horizon):
    return torch.optim.SGD(MODEL.parameters())

def no_optimizer(params):
    return None
"""


@pytest.fixture
def cell():
    """What a cell of a notebook defines."""
    name = "<ipython-input-1-0>"
    linecache.cache[name] = (len(NOTEBOOK), None, NOTEBOOK.splitlines(keepends=True), name)
    names = {"__name__": "__main__"}
    exec(compile(NOTEBOOK, name, "exec"), names)
    yield names
    del linecache.cache[name]


def test_what_a_notebook_defines_trains_like_the_same_optimizer(cell, tmp_path):
    settings = {"ruleset": "quick.toml", **STEPS}
    cg.run(torch.optim.SGD, "diabetes", hparams={"lr": 0.01}, out="sgd", **settings)
    expected = rows_of(tmp_path / "sgd")
    for name in ("Plain", "make_plain", "half"):
        results = cg.run(cell[name], "diabetes", hparams={"lr": 0.02}, out=name, **settings)
        assert results.trials().to_pylist()[0]["status"] != "failed"
        assert rows_of(tmp_path / name) == expected
    text = (tmp_path / "Plain/optimizers/Plain/submission.py").read_text()
    assert "SCALE = {'factor': 0.5}" in text
    assert "import math as m" in text
    assert "MODEL" not in text
    cg.run(cell["Plain"], "diabetes", hparams={"lr": 0.02}, out="Plain", **settings)  # is kept


def test_a_script_needs_no_guard_around_its_main_part(tmp_path):
    script = """
import chronograd as cg
import torch

class Mine(torch.optim.SGD):
    kind = "without methods of its own"

trial = cg.run(Mine, "diabetes", hparams={"lr": 0.1}, max_steps=1, device="cpu", out="mine")
assert trial.trials().to_pylist()[0]["submission"] == "Mine"
trial = cg.run("nadamw", "diabetes", ruleset="demo", max_steps=1, device="cpu", out="out")
print("ended:", trial.trials().to_pandas()["status"][0])
"""
    (tmp_path / "script.py").write_text(script)
    ended = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ended.stdout.endswith("ended: step_limit\n")
    assert ended.stdout.count("timing the baseline") == 2


def test_what_cannot_be_run_is_said(cell, tmp_path):
    settings = {"ruleset": "quick.toml", "hparams": {"lr": 1.0}, "out": "out", **STEPS}
    with pytest.raises(cg.UserError, match="make_of_model uses MODEL, a Linear, which cannot be"):
        cg.run(cell["make_of_model"], "diabetes", **settings)
    with pytest.raises(cg.UserError, match="no_optimizer: must take the parameters, the hyper"):
        cg.run(cell["no_optimizer"], "diabetes", **settings)
    with pytest.raises(cg.UserError, match="its source code cannot be found"):
        cg.run(lambda *_: torch.optim.SGD([]), "diabetes", **settings)
    with pytest.raises(cg.UserError, match=r"no submission 'nadamww'\. Did you mean"):
        cg.run("nadamww", "diabetes", **settings)
    with pytest.raises(cg.UserError, match=r"no option 'sed'\. Did you mean 'seed'"):
        cg.run("nadamw", "diabetes", sed=1, **settings)
    with pytest.raises(cg.UserError, match=r"no option 'suit'\. Did you mean 'suite'"):
        cg.sweep("nadamw", suit="demo", out="out")
    with pytest.raises(cg.UserError, match="3 is not a submission; give a name, a path"):
        cg.run(3, "diabetes", **settings)
    with pytest.raises(cg.UserError, match="expected one or several, got \\[\\]"):
        cg.sweep([], suite="demo", out="out")
    with pytest.raises(cg.UserError, match="schedule must be one of none, "):
        cg.run(torch.optim.SGD, "diabetes", schedule="best", **settings)
    with pytest.raises(cg.UserError, match="unknown: lr; missing: "):
        cg.run("nadamw", "diabetes", **settings)


@pytest.mark.ray
def test_a_sweep_of_a_name_a_class_and_a_function(cell, tmp_path, address):
    space = {"lr": {"min": 1e-3, "max": 1e-1, "scaling": "log"}}
    settings = {
        "out": "out", "workloads": "diabetes", "ruleset": "quick.toml", "clock": "steps",
        "address": address, "search_space": space, "trials": 2, "pruning": "off",
    }  # fmt: skip
    results = cg.sweep([torch.optim.SGD, cell["make_plain"]], **settings)
    trials = results.trials().to_pandas()
    assert sorted(set(trials["submission"])) == ["make_plain", "torch.optim.SGD"]
    assert len(trials) == 4
    assert not (trials["status"] == "failed").any()
    assert trials["hparams.lr"].between(1e-3, 1e-1).all()
    assert json.loads((tmp_path / "out/search_space.json").read_text()) == space
    with pytest.raises(cg.UserError, match="holds another search space"):
        cg.sweep(torch.optim.SGD, **{**settings, "search_space": {"lr": {"min": 1, "max": 2}}})


def test_every_keyword_is_an_option():
    from dataclasses import fields

    from chronograd.trials import SweepKeywords
    from harness.sweep.options import OptimizerOptions, SweepOptions
    from scoring.records import RunOptions

    known = {f.name for kind in (RunOptions, SweepOptions, OptimizerOptions) for f in fields(kind)}
    assert set(SweepKeywords.__annotations__) == known - {"track"}
    with pytest.raises(cg.UserError, match="no option 'track'"):
        cg.sweep("nadamw", suite="demo", out="out", track=("tensorboard",))
