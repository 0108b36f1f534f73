"""`chronograd check` finds violations of the contract, and `chronograd new` writes none."""

import json
import os
import shlex
import subprocess
import sys

import pytest
import torch

import workloads
from harness.commands import rehearsal, review
from harness.commands.check import ALONE, findings
from harness.submission import loading, search_space
from harness.trial.clock import StepClock
from scoring.records import Status
from tests.fixtures.algoperf import write
from workloads import tiny

NAMES = ("ogbg", "wmt")


def some_workloads():
    return tiny.workloads()[:2]


@pytest.fixture
def few_names(monkeypatch):
    """Workloads that a submission may know, in place of all, for each of which it is trained."""
    monkeypatch.setattr(workloads, "names", lambda: [*NAMES])


def broken(place, make_workloads=some_workloads, point=None):
    """The checks that fail, with what they found."""
    found = list(findings(place, make_workloads, NAMES, point))
    assert {finding.check for finding in found} <= {
        "signatures", "off limits", "trains", "one seed repeats", "no state leaks",
        "resumes exactly", "trains for 160 steps", "one path for every workload",
        "bounded memory", "speed", "for reviewers",
    }  # fmt: skip
    assert all(finding.fix for finding in found if not finding.passed)
    return {finding.check: finding.what for finding in found if not finding.passed}


@pytest.mark.usefixtures("few_names")
@pytest.mark.parametrize("tuning", ["external", pytest.param("self", marks=pytest.mark.slow)])
def test_what_new_writes_passes_on_every_loss_type(chronograd, tmp_path, tuning):
    code, out, _ = chronograd("new", "mine", "--tuning", tuning)
    assert (code, "chronograd check ./mine" in out) == (0, True)
    code, out, _ = chronograd("check", "mine")
    assert code == 0, out
    assert "mine meets the contract." in out
    assert all(workload.name in out for workload in tiny.workloads())
    code, _, error = chronograd("new", "mine")
    assert (code, "already exists" in error) == (2, True)


# What is put into a good submission, where, and the check that must fail.
VIOLATIONS = {
    "signatures": ("global_step, rng,\n):\n    \"\"\"Makes", "rng,\n):\n    \"\"\"Makes"),
    "off limits": ("model, optimizer = current", "workload.eval_model; model, optimizer = current"),
    "trains": ("    optimizer.step()", "    raise RuntimeError('broken')"),
    "trains for 160 steps": (
        "    optimizer.step()",
        "    assert global_step < 30, 'too long'\n    optimizer.step()",
    ),
    "one seed repeats": (
        "    optimizer.step()",
        "    import time; optimizer.param_groups[0]['lr'] = time.time() % 1e-3; optimizer.step()",
    ),
    "no state leaks": (
        "    optimizer.step()",
        "    SEEN.append(1); optimizer.param_groups[0]['lr'] = 1e-3 * len(SEEN)\n"
        "    optimizer.step()",
    ),
    "resumes exactly": (
        "    optimizer.step()", "    optimizer_state['it'] = (x for x in [1]); optimizer.step()"
    ),
    "one path for every workload": (
        "    raise ValueError",
        "    SEEN.append(workload_name)\n    raise ValueError",
    ),
    "bounded memory": (
        "    optimizer.step()",
        "    optimizer_state.setdefault('losses', []).append(loss['summed'].item())\n"
        "    optimizer.step()",
    ),
}  # fmt: skip


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_every_violation_is_found(chronograd, tmp_path, violation):
    chronograd("new", "mine")
    file = tmp_path / "mine/submission.py"
    text = file.read_text()
    old, new = VIOLATIONS[violation]
    assert old in text
    text = text.replace(old, new).replace("import torch\n", "import torch\nSEEN = []\n", 1)
    if violation.startswith("one path"):
        text = text.replace("    optimizer.step()", "    if 'ogbg' in SEEN: optimizer.step()")
    file.write_text(text)
    assert violation in broken(tmp_path / "mine")


def test_json_has_all_findings(chronograd, tmp_path):
    chronograd("new", "mine")
    file = tmp_path / "mine/submission.py"
    file.write_text(file.read_text().replace("def update_params(", "def update("))
    code, out, _ = chronograd("check", "mine", "--json")
    report = json.loads(out)
    assert (code, report["passed"]) == (1, False)
    assert "must define update_params()" in report["findings"][0]["what"]


def test_imports_of_the_harness_are_off_limits(chronograd, tmp_path):
    chronograd("new", "mine")
    (tmp_path / "mine/helper.py").write_text("import harness.trial.clock")
    assert "helper.py:1 imports harness.trial.clock" in broken(tmp_path / "mine")["off limits"]


@pytest.mark.parametrize(
    "name",
    [
        "self_tuning/nadamw",
        pytest.param("external_tuning/schedule_free_adamw", marks=pytest.mark.slow),
    ],
)
def test_submissions_of_the_library_meet_the_contract(name):
    assert broken(loading.find(name), tiny.workloads) == {}


@pytest.mark.parametrize(
    ("name", "point"),
    [
        ("v05/external_tuning/lawa", None),
        pytest.param("v06/external_tuning/shampoo", None, marks=pytest.mark.slow),
        ("v05/self_tuning/closures", None),
        pytest.param("submissions/self_tuning/lion_here", None, marks=pytest.mark.slow),
    ],
)
def test_submissions_written_for_algoperf_meet_it(tmp_path, name, point):
    assert broken(write(tmp_path, name), point=point) == {}


def mine(chronograd, tmp_path, old, new):
    """The submission that `new` writes, changed."""
    chronograd("new", "mine")
    file = tmp_path / "mine/submission.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    return tmp_path / "mine"


@pytest.mark.usefixtures("few_names")
def test_a_point_that_diverges_is_noted_and_not_a_violation(chronograd, tmp_path):
    old = "    optimizer.step()"
    place = mine(chronograd, tmp_path, old, "    model.hidden.bias.data += float('inf')")
    found = list(findings(place, some_workloads, NAMES))
    assert all(finding.passed for finding in found)
    remarks = {finding.check: finding.what for finding in found if finding.what}
    assert "diverges within 24 steps" in remarks["trains"]
    assert "resumes exactly" in {finding.check for finding in found}
    code, out, _ = chronograd("check", "mine")
    assert (code, "note trains (tiny_softmax): diverges" in out) == (0, True)


def test_what_fails_on_all_losses_is_said_once_with_its_place(chronograd, tmp_path):
    old = "    optimizer.step()"
    mine(chronograd, tmp_path, old, "    hyperparameters.momentum\n" + old)
    code, out, _ = chronograd("check", "mine")
    assert code == 1
    (line,) = [line for line in out.splitlines() if line.startswith("FAIL")]
    assert all(workload.name in line for workload in tiny.workloads())
    assert line.endswith(
        "step 1: AttributeError: hyperparameters.momentum does not exist; there are: "
        "learning_rate, one_minus_beta1, at submission.py:58 in update_params"
    )


def test_a_missing_search_space_is_named(chronograd, tmp_path):
    place = mine(chronograd, tmp_path, "import torch\n", "import torch\n")
    (place / "tuning_search_space.json").unlink()
    found = [f for f in findings(place, some_workloads, NAMES) if not f.passed]
    assert [f.where for f in found] == [", ".join(w.name for w in some_workloads())]
    assert "at submission.py:22 in init_optimizer_state" in found[0].what
    assert "hyperparameters is None, as the submission has no tuning_search_space" in found[0].fix


def test_unknown_hyperparameters_are_refused(chronograd, tmp_path):
    chronograd("new", "mine")
    code, out, err = chronograd("check", "mine", "--hparams", '{"lr": 1}')
    assert (code, out) == (2, "")  # a mistake in the call, not a violation of the contract
    assert "unknown: lr; missing: learning_rate, one_minus_beta1; it takes learning_rate" in err


@pytest.mark.usefixtures("few_names")
def test_an_optimizer_class_is_checked_as_a_submission(chronograd):
    code, out, _ = chronograd("check", "torch.optim.SGD", "--hparams", '{"lr": 0.01}')
    assert (code, "torch.optim.SGD meets the contract." in out) == (0, True)
    assert "ok   resumes exactly (tiny_ctc)" in out
    code, out, _ = chronograd("check", "torch.optim.SGD", "--hparams", '{"rate": 0.01}')
    assert (code, "torch.optim.SGD takes no 'rate'; it takes lr, momentum" in out) == (1, True)
    code, _, err = chronograd("check", "torch.optim.AdamWW")
    assert (code, "torch.optim has no 'AdamWW'. Did you mean 'AdamW'?" in err) == (2, True)


def test_a_folder_without_a_submission_is_called_that(chronograd, tmp_path):
    (tmp_path / "nadam").mkdir()
    for name in ("nadam", "./nadam"):
        code, _, err = chronograd("check", name)
        assert (code, f"{name}: this folder has no submission.py" in err) == (2, True)


def test_what_new_says_can_be_pasted(chronograd, tmp_path):
    for name in ("mine", "my opt", str(tmp_path / "else" / "where"), "nadamw"):
        out = chronograd("new", name)[1]
        place = shlex.split(out.strip().rpartition("chronograd check ")[2])
        assert [*map(os.path.abspath, place)] == [str(tmp_path / name)]
        assert os.sep in place[0]  # else a submission of the library comes first


@pytest.mark.parametrize("step", [25, 159])
def test_a_failure_after_the_short_trials_is_found_with_its_step(chronograd, tmp_path, step):
    old = "    optimizer.step()"
    place = mine(chronograd, tmp_path, old, f"    assert global_step < {step}, 'too long'\n{old}")
    for finding in findings(place, some_workloads, NAMES):
        assert finding.passed is not (finding.check == "trains for 160 steps"), finding
        if not finding.passed:
            place = "submission.py:58 in update_params"
            assert finding.what == f"step {step + 1}: AssertionError: too long, at {place}"


def test_a_submission_that_ends_itself_early_is_checked_to_the_end(chronograd, tmp_path):
    old = "    optimizer.step()"
    new = f"{old}\n    raise spec.TrainingCompleteError"
    assert broken(mine(chronograd, tmp_path, old, new)) == {}


def test_schedules_see_the_proportions_of_official_workloads(chronograd, tmp_path):
    """The evaluation period is 1% of the budget, which the step hint nearly fills."""
    old = "    optimizer.step()"
    new = (
        f"{old}\n    share = workload.eval_period_time_sec / workload.max_allowed_runtime_sec\n"
        "    assert 0.005 <= share <= 0.02, share\n"
        "    assert 0.5 <= workload.step_hint / workload.max_allowed_runtime_sec <= 1"
    )
    assert broken(mine(chronograd, tmp_path, old, new)) == {}


NEEDS = {
    "CUDA at import": ("import torch\n", "import torch\ntorch.zeros(1).cuda()\n", "CUDA"),
    "a device by name": ("    optimizer.step()", "    torch.zeros(1, device='cuda')", "CUDA"),
    "an assertion": ("    optimizer.step()", "    assert torch.cuda.is_available()", "CUDA"),
    "a group": ("    optimizer.step()", "    torch.distributed.barrier()", "several processes"),
    "a rank at import": (
        "import torch\n", "import os\nimport torch\nRANK = int(os.environ['LOCAL_RANK'])\n",
        "several processes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("need", NEEDS)
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_what_a_machine_lacks_is_neither_pass_nor_failure(chronograd, tmp_path, need):
    old, new, what = NEEDS[need]
    mine(chronograd, tmp_path, old, new)
    code, out, _ = chronograd("check", "mine")
    assert code == 2
    assert f"needs {what}" in out
    assert "mine cannot be checked here" in out
    assert "FAIL" not in out
    code, out, _ = chronograd("check", "mine", "--json")
    assert (code, json.loads(out)["passed"]) == (2, None)


def test_files_that_python_3_cannot_read_are_skipped(chronograd, tmp_path):
    place = mine(chronograd, tmp_path, "import torch\n", "import torch\n")
    (place / "old.py").write_text("print 'Python 2'")
    (place / "._submission.py").write_bytes(b"\x00\x05\x16\x07\xff")
    (place / "latin.py").write_bytes("# coding: latin-1\nNAME = 'é'\n".encode("latin-1"))
    (place / "binary.py").write_bytes(b"\xff\xfe\x00")
    (place / "marked.py").write_bytes(b"\xef\xbb\xbfimport harness.trial.clock\n")
    assert "marked.py:1 imports harness.trial.clock" in broken(place)["off limits"]
    (place / "marked.py").unlink()
    assert broken(place) == {}


ADAM = """    for p in model.parameters():
        m, v, t = optimizer_state.get(p) or (0.0, 0.0, 0)
        m, v, t = 0.9 * m + 0.1 * p.grad, 0.999 * v + 0.001 * p.grad**2, t + 1
        optimizer_state[p] = m, v, t
        p.data -= 1e-2 * ((m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8) + 0.01 * p.data)
"""
ADEMAMIX = """
    from pytorch_optimizer import AdEMAMix
    if "own" not in optimizer_state:
        optimizer_state["own"] = AdEMAMix(model.parameters(), lr=0.01, t_alpha_beta3=500_000)
    optimizer_state["own"].step()
"""
SEEN_BY_REVIEWERS = {
    "a slow average that stays cold": (
        "    optimizer.step()\n", ADEMAMIX,
        "a schedule outlasts every step hint: t_alpha_beta3 is 500,000 steps, and the longest "
        "workload has 195,999",
    ),
    "AdEMAMix that trains as AdamW": (
        "    optimizer.step()\n", ADEMAMIX, "its updates equal those of AdamW",
    ),
    "a scheduler": (
        "    optimizer.step()\n",
        "    optimizer.step()\n    optimizer_state.setdefault('more', [torch.optim.lr_scheduler."
        "CosineAnnealingLR(optimizer, T_max=10**6)])\n",
        "T_max is 1,000,000 steps",
    ),
    "momentum": (
        "    optimizer.step()\n",
        "    optimizer.step()\n"
        "    optimizer.param_groups[0]['weight_decay'] = 1 / (1 + global_step)\n",
        "weight_decay of its optimizer still changes after the step hint",
    ),
    "initial parameters of its own": (
        "    optimizer = torch.optim.SGD(\n",
        "    [p.data.mul_(0.5) for p in model_params.parameters()]\n"
        "    optimizer = torch.optim.SGD(\n",
        "init_optimizer_state changes the initial parameters",
    ),
    "nothing": ("    optimizer.step()", "    pass", "the parameters never change"),
    "a longer schedule": (
        "    if global_step < workload.step_hint:", "    if True:",
        "the learning rate still changes after the step hint",
    ),
    "AdamW": ("    optimizer.step()\n", ADAM, "its updates equal those of AdamW"),
    "gc": ("import torch\n", "import gc\nimport torch\n", "submission.py:7 imports gc"),
    "ctypes": (
        "import torch\n", "import torch\nfrom ctypes import util\n",
        "submission.py:8 imports ctypes.util",
    ),
    "a local import": (
        "    optimizer.step()", "    import socket; optimizer.step()", " imports socket",
    ),
    "frames": (
        "import torch\n", "import sys\nimport torch\nF = sys._getframe\n",
        "submission.py:9 uses _getframe",
    ),
    "a closure": (
        "import torch\n", "import torch\nF = (lambda: 0).__closure__\n",
        "submission.py:8 uses __closure__",
    ),
    "a file": ("import torch\n", "import torch\nCACHE = '/tmp/w.pt'\n", "names '/tmp/w.pt'"),
}  # fmt: skip


def reviewed(place):
    """The remarks of a whole training run on one workload, and of the sources."""
    loaded, file = loading.load(place), loading.search_space_of(place)
    point = search_space.load(file).points(0, 1, 1)[0][0] if file.is_file() else None
    watch, workload = review.Watch(loaded, point), tiny.workloads()[0]
    spec = rehearsal.make_spec(place, workload, point, 0, rehearsal.PERIODS, 1)
    clock, recorder = StepClock(1.0), rehearsal.Recorder()
    result, _ = rehearsal.train(watch.submission, workload, spec, clock, recorder, ALONE)
    assert result.status is not Status.FAILED, result.traceback
    return [*review.source_remarks(place), *watch.remarks(rehearsal.STEP_HINT)]


@pytest.mark.parametrize("trick", SEEN_BY_REVIEWERS)
def test_reviewers_get_a_remark(chronograd, tmp_path, trick):
    old, new, remark = SEEN_BY_REVIEWERS[trick]
    assert any(remark in found for found in reviewed(mine(chronograd, tmp_path, old, new)))


@pytest.mark.usefixtures("few_names")
def test_remarks_for_reviewers_are_not_violations(chronograd, tmp_path):
    old = "    optimizer.step()"
    new = "    [p.grad.neg_() for p in model.parameters()]; optimizer.step(); import gc"
    mine(chronograd, tmp_path, old, new)
    code, out, _ = chronograd("check", "mine")
    assert code == 0
    assert "note for reviewers" in out
    assert "the training loss fell on none of 5 workloads" in out
    assert "imports gc" in out


@pytest.mark.parametrize(
    "name", ["adamw", "lion", "muon", "heavy_ball", "adopt", "mars", "ademamix", "prodigy"]
)
def test_other_methods_are_not_mistaken_for_known_ones(name):
    assert reviewed(loading.find(f"external_tuning/{name}")) == []


JUNK = """    import os
    for file in range(3, 256):
        try: os.write(file, b"junk" * 9)
        except OSError: pass
"""
ENDINGS = {
    "    import ctypes; ctypes.string_at(0)": "its process was killed by SIGSEGV",
    "    import posix; posix._exit(7)": "its process ended with exit code 7",
    JUNK: "the connection to its process was lost",
}


@pytest.mark.parametrize("body", ENDINGS)
def test_a_submission_that_ends_its_process_is_a_finding(chronograd, tmp_path, body):
    mine(chronograd, tmp_path, "    optimizer.step()", body)
    code, out, _ = chronograd("check", "mine")
    assert code == 1
    assert f"FAIL trains ({tmp_path / 'mine'}): {ENDINGS[body]}" in out
    assert "mine violates the contract." in out


def test_what_a_submission_prints_is_not_part_of_the_findings(tmp_path, chronograd):
    mine(chronograd, tmp_path, "    optimizer.step()", "    print('hello')\n    raise ValueError")
    command = [sys.executable, "-m", "harness.cli", "check", "./mine", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["passed"] is False, done.stderr
    assert "hello" in done.stderr


@pytest.mark.usefixtures("few_names")
def test_what_a_submission_replaces_does_not_reach_the_command(chronograd, tmp_path):
    new = "import builtins, json\nimport torch\n"
    new += "builtins.print = json.encoder._make_iterencode = None\n"
    mine(chronograd, tmp_path, "import torch\n", new)
    code, out, _ = chronograd("check", "mine", "--json")
    assert (code, json.loads(out)["passed"]) == (0, True)


TOGETHER = """    import torch.distributed as dist
    assert dist.get_world_size() == 2
    seen = [None, None]
    inputs = batch["inputs"][0] if isinstance(batch["inputs"], tuple) else batch["inputs"]
    dist.all_gather_object(seen, float(inputs.double().sum()))
    assert seen[0] != seen[1], "the processes have the same batch"
    optimizer.step()"""


@pytest.mark.usefixtures("few_names")
def test_a_submission_that_needs_a_group_is_checked_in_several_processes(chronograd, tmp_path):
    mine(chronograd, tmp_path, "    optimizer.step()", TOGETHER)
    code, out, _ = chronograd("check", "mine", "--processes", "2")
    assert code == 0, out
    assert out.count("resumes exactly") == len(tiny.workloads())
    assert "mine meets the contract." in out


def test_a_failure_of_one_process_ends_the_check_of_all(chronograd, tmp_path):
    new = TOGETHER.replace("    optimizer.step()", "    assert dist.get_rank() == 0, 'not alone'")
    mine(chronograd, tmp_path, "    optimizer.step()", new)
    code, out, _ = chronograd("check", "mine", "--processes", "2")
    assert code == 1
    assert "FAIL trains (tiny_softmax)" in out
    assert "mine violates the contract." in out
