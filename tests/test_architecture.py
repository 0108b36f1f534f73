"""Imports run one way, parts stand alone, and no file grows out of hand."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("chronograd", "scoring", "harness", "workloads", "submissions", "findings")
FILES = sorted(f for package in PACKAGES for f in (ROOT / package).rglob("*.py"))

# What a part may import of ours, itself aside: a name includes all that is below it.
SCORING_RECORDS = (  # what is read and written, under everything else
    "scoring.records", "scoring.tree", "scoring.rulesets", "scoring.files", "scoring.escaping",
    "scoring.plain", "scoring.experiment", "scoring.integrity", "scoring.writing",
    "scoring.names", "scoring.grid", "scoring.toml",
)  # fmt: skip
BASE = ("harness.system", "harness.environment", "harness.spec", *SCORING_RECORDS)
TRIAL = ("harness.checkpoint", "harness.submission", *BASE)
SWEEP = (
    "harness.checkpoint", "harness.submission", "scoring.pruning", "scoring.order",
    "scoring.sequential", *BASE,
)  # fmt: skip
BOTH = ("harness.trial", "harness.sweep", *TRIAL, *SWEEP)
COMMANDS = (
    "harness.executors", "harness.testing", "harness.progress", "scoring", "workloads",
    "submissions", "findings", *BOTH,
)  # fmt: skip
ALLOWED = {  # by part; the longest that a file is in holds
    **dict.fromkeys(SCORING_RECORDS, SCORING_RECORDS),
    "scoring.reading": SCORING_RECORDS,
    "scoring.report": ("scoring",),
    "scoring.site": ("scoring",),
    "scoring": ("scoring.reading", *SCORING_RECORDS),
    "chronograd": ("scoring", "harness.commands", "harness.progress", "harness.sweep", "workloads"),
    "harness.spec": ("scoring.records",),
    "harness.environment": ("scoring.files", "scoring.escaping", "scoring.records"),
    "harness.system": (),
    "harness.checkpoint": (
        "harness.system",
        "scoring.files",
        "scoring.escaping",
        "scoring.writing",
        "scoring.records",
    ),
    "harness.submission": BASE,
    "harness.trial": TRIAL,
    "harness.sweep": SWEEP,
    "harness.executors": BOTH,
    "harness.progress": ("harness.sweep", *SWEEP),
    "harness.commands": COMMANDS,
    "harness.cli": ("harness.commands", *COMMANDS),
    "harness.testing": ("harness.commands", "harness.submission", "harness.spec", "workloads"),
    "workloads": ("harness.spec", "scoring.files", "scoring.names"),
    "submissions": ("harness.spec",),
    "findings": ("harness.trial", "scoring", "workloads", "submissions", *TRIAL),
}

SHARED = (  # what a workload's or a submission's folder may import besides itself
    "harness.spec",
    "scoring.files",
    *(f"{p}.{f.stem}" for p in ("workloads", "submissions") for f in (ROOT / p).glob("[a-z]*.py")),
)


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


def part_of(module):
    """The part that a module is in, the longest of its names."""
    return max((part for part in ALLOWED if is_in(module, part)), key=len, default=None)


def is_in(module, part):
    return module == part or module.startswith(f"{part}.")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_run_one_way(file):
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    part = part_of(module)
    if module == "harness":
        assert not imports_of(file)
        return
    assert part, f"{file} is in no part; add its folder to ALLOWED, or move it into a folder there"
    for name in imports_of(file):
        own = part_of(name) == part
        allowed = any(is_in(name, other) for other in ALLOWED[part])
        assert own or allowed, f"{file} imports {name}"


def test_a_folder_says_what_it_is_and_what_it_imports():
    rooms = sorted(path for path in (ROOT / "harness").iterdir() if (path / "__init__.py").exists())
    assert len(rooms) <= 10
    for room in rooms:
        text = ast.get_docstring(ast.parse((room / "__init__.py").read_text()))
        assert re.search(r"\bImports\b|imported inside", text), room


def test_a_workload_or_submission_imports_no_other():
    for folder in [*(ROOT / "workloads").glob("*/"), *(ROOT / "submissions").glob("*_tuning/*/")]:
        for file in folder.glob("*.py"):
            for name in imports_of(file):
                own = name.startswith(f"workloads.{folder.name}.")
                assert own or any(is_in(name, shared) for shared in SHARED), f"{file}: {name}"


def test_a_finding_imports_no_other():
    modules = {f"findings.{file.stem}" for file in (ROOT / "findings").glob("[a-z]*.py")}
    for file in (ROOT / "findings").rglob("*.py"):
        assert not {n for n in imports_of(file) if any(is_in(n, m) for m in modules)}, file


def test_a_workload_file_holds_named_workloads_alone():
    """What the workloads of a family share is in their task.py."""
    for file in (ROOT / "workloads").glob("*/workload.py"):
        classes = [n for n in ast.parse(file.read_text()).body if isinstance(n, ast.ClassDef)]
        for node in classes:
            named = [
                target.id
                for line in node.body
                if isinstance(line, ast.Assign | ast.AnnAssign)
                for target in (line.targets if isinstance(line, ast.Assign) else [line.target])
                if isinstance(target, ast.Name)
            ]
            assert "name" in named, f"{file}: {node.name} has no name; put it into task.py"


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
        ("findings", ("torch", "numpy", "matplotlib")),
        ("harness.testing", ("pytest",)),
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
