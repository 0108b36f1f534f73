"""Scoring works without torch, ray and pandas, and imports heavy packages late."""

import pkgutil
import subprocess
import sys
from pathlib import Path

import scoring

ROOT = Path(scoring.__file__).parents[1]
BLOCK = """
import sys
for name in ("torch", "ray", "pandas", "harness", "workloads", "submissions"):
    sys.modules[name] = None  # importing it now raises ImportError
"""


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", BLOCK + code], cwd=ROOT, check=True, timeout=60)


def test_every_module_imports_without_torch_ray_and_pandas():
    modules = [m.name for m in pkgutil.walk_packages(scoring.__path__, "scoring.")]
    assert "scoring.reading.read" in modules
    run("import importlib\n" + "\n".join(f"importlib.import_module({m!r})" for m in modules))


def test_a_leaderboard_in_the_terminal_needs_neither_matplotlib_nor_jinja():
    run(
        "import scoring.compare, scoring.reading.read\n"
        "import scoring.report.explain, scoring.report.tables, scoring.report.terminal\n"
        "assert not {'matplotlib', 'jinja2', 'pyarrow'} & set(sys.modules)\n"
    )
