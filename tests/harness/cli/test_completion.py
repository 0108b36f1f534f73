"""What the shell offers after a TAB."""

import pytest

import workloads
from tests.scoring.trees import write_tree


@pytest.fixture
def offered(chronograd, monkeypatch):
    """The words that a shell is offered to end a command line."""

    def offer(line):
        monkeypatch.setenv("_CHRONOGRAD_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", f"chronograd {line}")
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" "))))
        _, out, _ = chronograd()
        monkeypatch.delenv("_CHRONOGRAD_COMPLETE")
        return out.split()

    return offer


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("run nada", ["nadamp", "nadamw"]),
        ("run self_tuning/schedule_free_a", ["self_tuning/schedule_free_adamw"]),
        ("check schedule_free_a", ["schedule_free_adamw"]),
        ("sweep nadamw nes", ["nesterov"]),
        ("estimate nes", ["nesterov"]),
        ("run nadamw --workload dig", ["digits"]),
        ("sweep nadamw -w dig", ["digits"]),
        ("calibrate diab", ["diabetes"]),
        ("data check fastmri_m", ["fastmri_mini", "fastmri_model_size"]),
        ("sweep nadamw --suite q", ["qualification"]),
        ("sweep nadamw --ruleset algoperf-0.5", ["algoperf-0.5"]),
        ("score tree --ruleset de", ["demo"]),
        ("run ./my_fold", []),
    ],
)
def test_names_are_completed(offered, line, expected):
    assert offered(line) == expected


def test_a_command_that_reads_results_completes_what_they_hold(offered, tmp_path):
    write_tree(tmp_path / "tree", {("mine", "w", 0, 1): 1.0, ("other", "w", 0, 1): 1.0})
    assert offered("explain tree m") == ["mine"]
    assert offered("compare tree mine o") == ["other"]


def test_the_suites_offered_are_those_of_the_workloads():
    belongs = {suite for name in workloads.names() for suite in workloads.get(name).suites}
    assert workloads.suites() == sorted(belongs)
