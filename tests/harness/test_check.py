"""`chronograd check` finds what breaks the contract, and `chronograd new` writes what keeps it."""

import json

import pytest

from harness import submission
from harness.check import findings
from tests.fixtures.algoperf import write
from workloads import tiny

NAMES = ("ogbg", "wmt")


def some_workloads():
    return tiny.workloads()[:2]


def broken(place, make_workloads=some_workloads, point=None):
    """The checks that fail, with what they found."""
    found = list(findings(place, make_workloads, NAMES, point))
    assert {finding.check for finding in found} <= {
        "signatures", "off limits", "finite losses", "one seed repeats", "no state leaks",
        "resumes exactly", "one path for every workload", "bounded memory", "speed",
    }  # fmt: skip
    assert all(finding.mend for finding in found if not finding.passed)
    return {finding.check: finding.what for finding in found if not finding.passed}


@pytest.mark.parametrize("tuning", ["external", "self"])
def test_what_new_writes_passes_on_every_loss_type(chronograd, tmp_path, tuning):
    code, out, _ = chronograd("new", "mine", "--tuning", tuning)
    assert (code, "chronograd check mine" in out) == (0, True)
    code, out, _ = chronograd("check", "mine")
    assert code == 0, out
    assert "mine keeps the contract." in out
    assert all(workload.name in out for workload in tiny.workloads())
    code, _, error = chronograd("new", "mine")
    assert (code, "is there already" in error) == (2, True)


# What is put into a good submission, where, and the check that must notice.
BREACHES = {
    "signatures": ("global_step, rng,\n):\n    \"\"\"A step's", "rng,\n):\n    \"\"\"A step's"),
    "off limits": ("model, optimizer = current", "workload.eval_model; model, optimizer = current"),
    "finite losses": ("    optimizer.step()", "    model.hidden.bias.data += 1e99"),
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
        "    optimizer.step()", "    optimizer_state['it'] = iter([1]); optimizer.step()"
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


@pytest.mark.parametrize("breach", BREACHES)
def test_every_breach_is_noticed(chronograd, tmp_path, breach):
    chronograd("new", "mine")
    file = tmp_path / "mine/submission.py"
    text = file.read_text()
    old, new = BREACHES[breach]
    assert old in text
    text = text.replace(old, new).replace("import torch\n", "import torch\nSEEN = []\n", 1)
    if breach.startswith("one path"):
        text = text.replace("    optimizer.step()", "    if 'ogbg' in SEEN: optimizer.step()")
    file.write_text(text)
    assert breach in broken(tmp_path / "mine")


def test_json_says_it_all(chronograd, tmp_path):
    chronograd("new", "mine")
    file = tmp_path / "mine/submission.py"
    file.write_text(file.read_text().replace("def update_params(", "def update("))
    code, out, _ = chronograd("check", "mine", "--json")
    report = json.loads(out)
    assert (code, report["passed"]) == (1, False)
    assert "must define update_params()" in report["findings"][0]["what"]


def test_imports_of_the_harness_are_off_limits(chronograd, tmp_path):
    chronograd("new", "mine")
    (tmp_path / "mine/helper.py").write_text("import harness.clock")
    assert "helper.py:1 imports harness.clock" in broken(tmp_path / "mine")["off limits"]


@pytest.mark.parametrize("name", ["self_tuning/nadamw", "external_tuning/schedule_free_adamw"])
def test_submissions_of_ours_keep_the_contract(name):
    assert broken(submission.find(name), tiny.workloads) == {}


@pytest.mark.parametrize(
    ("name", "point"),
    [
        ("v05/external_tuning/lawa", None),
        ("v06/external_tuning/shampoo", None),
        ("v05/self_tuning/closures", None),
        ("submissions/self_tuning/lion_here", None),
    ],
)
def test_submissions_written_for_algoperf_keep_it(tmp_path, name, point):
    assert broken(write(tmp_path, name), point=point) == {}
