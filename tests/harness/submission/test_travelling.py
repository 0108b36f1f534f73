"""Results trees that were moved, copied, or made by early versions or other people."""

import json
import shutil
from pathlib import Path

import pytest

import workloads
from harness.commands import dotted
from harness.sweep.options import OptimizerOptions
from harness.sweep.plan import PlanError
from harness.sweep.request import Request, check, resumed
from scoring import rulesets
from scoring.experiment import Experiment
from scoring.reading.read import read
from scoring.records import RunOptions
from scoring.tree import EXPERIMENT_FILE, OPTIMIZERS
from tests.fixtures.faults import write_submission

POINTS = '{"lr": {"min": 0.001, "max": 0.1, "scaling": "log"}}'


class NoExecutor:
    def close(self):
        pass


def plan(out, *submissions, **changes):
    request = Request(
        submissions=submissions,
        workloads=["diabetes"],
        ruleset=rulesets.load("demo"),
        options=RunOptions(clock="steps"),
        **changes,
    )
    experiment = check(request, workloads.get).complete(out, NoExecutor())
    experiment.write(out)
    return experiment


def edit(out, change):
    data = json.loads((out / EXPERIMENT_FILE).read_text())
    change(data)
    (out / EXPERIMENT_FILE).write_text(json.dumps(data))


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A tree with an optimizer given by its dotted name, and the file of its search space."""
    monkeypatch.chdir(tmp_path)
    space = tmp_path / "space.json"
    space.write_text(POINTS)
    out = tmp_path / "results"
    names = dotted.write(["torch.optim.Adagrad"], out / OPTIMIZERS, OptimizerOptions())
    plan(out, *names, search_space=space)
    return out


def resume(out, **options):
    return resumed(out, None, workloads.get, **options).complete(out, NoExecutor())


@pytest.mark.parametrize("early", [False, True], ids=["now", "early version"])
def test_a_moved_tree_resumes_with_its_own_optimizers(tree, tmp_path, monkeypatch, early):
    before = Experiment.read(tree).at(tree)
    if early:  # absolute paths
        edit(tree, lambda d: d.update(json.loads(before.model_dump_json())))
        assert Path(json.loads((tree / EXPERIMENT_FILE).read_text())["submissions"]
                    ["torch.optim.Adagrad"]["path"]).is_absolute()  # fmt: skip
    else:
        assert str(tmp_path) not in json.dumps(
            json.loads((tree / EXPERIMENT_FILE).read_text())["submissions"]
        )
    elsewhere = tmp_path / "moved" / "away"
    shutil.move(tree, elsewhere)
    (tmp_path / "space.json").unlink()
    monkeypatch.chdir("/")
    after = resume(elsewhere)
    planned = after.submissions["torch.optim.Adagrad"]
    assert planned.path == str(elsewhere / OPTIMIZERS / "torch.optim.Adagrad")
    assert planned.points == before.submissions["torch.optim.Adagrad"].points
    assert [spec.seed for spec in after.specs()] == [spec.seed for spec in before.specs()]


def test_more_studies_need_the_search_space(tree):
    (tree.parent / "space.json").unlink()
    with pytest.raises(Exception, match=r"space\.json"):
        resumed(tree, 9, workloads.get)


NEWER = ("environment", "until", "stop_diverged", "compile", "max_steps", "batch_size",
         "search_space", "data_dir", "cpus_per_trial", "gpus_per_trial", "processes_per_trial",
         "only")  # fmt: skip


def test_a_resumed_tree_can_be_scored(tmp_path, monkeypatch):
    """An experiment.json of an early version lacks fields that were added later."""
    monkeypatch.chdir(tmp_path)
    plan(tmp_path / "results", str(write_submission(tmp_path / "code", "well_behaved")))
    edit(tmp_path / "results", lambda data: [data.pop(name) for name in NEWER])
    assert resume(tmp_path / "results").options.until == "validation"
    assert list(read([tmp_path / "results"]).submissions) == ["well_behaved"]


def test_code_elsewhere_is_not_imported_before_it_is_trusted(tmp_path, monkeypatch, chronograd):
    place = write_submission(tmp_path / "code", "well_behaved")
    out, here = tmp_path / "results", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(tmp_path)
    plan(out, str(place))
    assert resume(out)  # below the working directory
    file, mark = place / "submission.py", tmp_path / "imported"
    file.write_text(f"open({str(mark)!r}, 'w')\n{file.read_text()}")
    monkeypatch.chdir(here)
    code, _, error = chronograd("sweep", "--resume", str(out), "--dry-run")
    assert code == 2
    assert f"refers to code outside it and the working directory ({place})" in error
    assert "--trust" in error
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlanError, match="code of submission well_behaved has changed"):
        resume(out)
    assert not mark.exists()


def test_trusted_code_elsewhere_runs(tmp_path, monkeypatch, chronograd):
    place = write_submission(tmp_path / "code", "well_behaved")
    out, here = tmp_path / "results", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    plan(out, str(place))
    code, text, error = chronograd("sweep", "--resume", str(out), "--trust", "--dry-run")
    assert code == 0, error
    assert "well_behaved" in text
    code, _, error = chronograd("sweep", "nadamw", "--trust", "--workload", "digits", "--out", "o")
    assert (code, "No such option: --trust" in error) == (2, True)
    link = here / "link"
    link.symlink_to(place)
    edit(out, lambda data: data["submissions"]["well_behaved"].update(path=str(link)))
    with pytest.raises(PlanError, match="refers to code outside"):
        resume(out)
