"""Imports run one way, parts stand alone, and no file grows out of hand."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("scoring", "harness", "workloads", "submissions")
FILES = sorted(f for package in PACKAGES for f in (ROOT / package).rglob("*.py"))

# What a package may import of ours, itself aside. harness/cli alone imports more.
ALLOWED = {
    "scoring": (),
    "harness": (
        "scoring.records", "scoring.tree", "scoring.rulesets", "scoring.pruning", "scoring.order",
        "scoring.files", "scoring.escaping",
        "scoring.experiment",
    ),
    "workloads": ("harness.spec", "scoring.files"),
    "submissions": ("harness.spec",),
}  # fmt: skip

SHARED = (  # what a workload's or a submission's folder may import besides itself
    "harness.spec", "scoring.files", "workloads.base", "workloads.arrays", "workloads.distributed",
    "workloads.prefetch", "workloads.prepared", "workloads.resnet", "workloads.sklearn_data",
    "workloads.vocabulary",
    "submissions.averaging", "submissions.cautious", "submissions.draws", "submissions.kronecker",
    "submissions.recipe", "submissions.schedules",
)  # fmt: skip


def imports_of(file):
    """Every module of ours that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in PACKAGES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_run_one_way(file):
    package = file.relative_to(ROOT).parts[0]
    if file.is_relative_to(ROOT / "harness" / "cli") or "commands" in file.parts:
        return
    for name in imports_of(file):
        ours = name.split(".")[0] == package
        assert ours or name.startswith(ALLOWED[package]), f"{file} imports {name}"


def test_a_workload_or_submission_imports_no_other():
    for folder in [*(ROOT / "workloads").glob("*/"), *(ROOT / "submissions").glob("*_tuning/*/")]:
        for file in folder.glob("*.py"):
            for name in imports_of(file):
                module = name.removeprefix("workloads.")
                shared = name.startswith(SHARED) or module in ("prepared", "distributed")
                own = name.startswith(f"workloads.{folder.name}")
                assert shared or own, f"{file}: {name}"


def test_three_files_import_ray():
    for file in FILES:
        tree = ast.parse(file.read_text())
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        if any((name or "").split(".")[0] == "ray" for name in names):
            assert file.name in ("cluster.py", "nodes.py", "team.py")


def test_the_core_names_no_plugin():
    plugins = {f.parent.name for f in (ROOT / "workloads").glob("*/workload.py")}
    plugins |= {f.parent.name for f in (ROOT / "submissions").glob("*_tuning/*/submission.py")}
    for file in [*(ROOT / "harness").rglob("*.py"), *(ROOT / "scoring").rglob("*.py")]:
        if "cli" in file.parts:  # defaults of commands
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in plugins, f"{file}:{node.lineno} names {node.value}"


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        ("scoring.tree", ("torch", "ray", "numpy", "pydantic")),
        ("scoring.leaderboard", ("torch", "ray", "matplotlib")),
        ("harness.cli", ("torch", "ray", "numpy", "pandas", "scipy", "matplotlib", "pydantic")),
        ("harness.executors.cluster", ("torch",)),  # a trial's process sets its threads first
        ("workloads", ("torch",)),
    ],
)
def test_heavy_imports_stay_where_they_are_needed(imported, absent):
    code = f"import sys, {imported}; print([m for m in {absent!r} if m in sys.modules])"
    done = run_python(code)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_help_loads_neither_torch_nor_ray():
    code = (
        "import sys\nsys.argv = ['chronograd', '--help']\nfrom harness.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print('code', end.code)\n"
        "print('loaded', [m for m in ('torch', 'ray', 'pandas', 'scipy') if m in sys.modules])"
    )
    done = run_python(code)
    assert "loaded []" in done.stdout, done.stderr
    assert "code 0" in done.stdout
    for command in ("run", "sweep", "status", "score", "calibrate", "workloads", "submissions"):
        assert command in done.stdout


def test_files_and_functions_stay_short():
    for file in FILES:
        text = file.read_text()
        assert text.count("\n") <= 300, f"{file} is long"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):  # the options of a command are not counted
                assert node.end_lineno - node.body[0].lineno <= 60, f"{file}: {node.name} is long"
    banned = {"utils.py", "helpers.py", "common.py"}
    assert not banned & {file.name for file in FILES}
