"""Workloads are found by the names that their classes state, without importing them."""

import ast
import os
import sys
from pathlib import Path

import pytest

import workloads
from harness.spec import Workload

HEAD = "from typing import ClassVar, Final\nfrom harness.spec import Workload\n"
WAYS = {
    "plain": 'class A(Workload):\n    name = "new"\n',
    "annotated": 'class A(Workload):\n    name: str = "new"\n',
    "class variable": 'class A(Workload):\n    name: ClassVar[str] = "new"\n',
    "final": 'class A(Workload):\n    name: Final = "new"\n',
    "single quotes": "class A(Workload):\n    name = 'new'\n",
    "commented": 'class A(Workload):\n    name = "new"  # as in the paper\n',
    "two spaces": 'class A(Workload):\n  name = "new"\n',
    "in parentheses": 'class A(Workload):\n    name = (\n        "n"\n        "ew"\n    )\n',
    "windows lines": 'class A(Workload):\r\n    name = "new"\r\n',
    "one line": 'class A(Workload): name = "new"\n',
    "conditional": 'if True:\n    class A(Workload):\n        name = "new"\n',
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of workloads that is the only one."""
    monkeypatch.setattr(workloads, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(workloads, "__path__", [str(tmp_path)])
    workloads._folders.cache_clear()
    (tmp_path / "some").mkdir()
    yield tmp_path / "some"
    workloads._folders.cache_clear()
    for name in [name for name in sys.modules if name.startswith("workloads.some")]:
        del sys.modules[name]


@pytest.mark.parametrize("source", WAYS.values(), ids=WAYS)
def test_a_name_is_found_however_it_is_written(folder, source):
    (folder / "workload.py").write_text(HEAD + source)
    assert workloads.names() == ["new"]
    assert "workloads.some" not in sys.modules
    found = workloads._find("new")
    assert issubclass(found, Workload)
    assert found.name == "new"


def test_what_is_no_name_of_a_class_is_not_found(folder):
    (folder / "workload.py").write_text(
        'name = "module"\n"""\n    name = "docstring"\n"""\n# name = "comment"\n'
        'class A:\n    name: str\n    def name_of(self):\n        name = "local"\n'
        '    name = "in" + "valid"\n'
    )
    assert workloads.names() == []


def test_suites_are_found_however_they_are_written(folder):
    (folder / "workload.py").write_text(
        "class A:\n    suites: tuple[str, ...] = (\n        \"one\",\n        'two',\n    )\n"
        'class B(A):\n    suites = ()\nclass C(A):\n    suites = ("three",)\n'
    )
    assert workloads.suites() == ["one", "three", "two"]


def test_every_workload_here_is_found():
    """By its class, where all classes are imported."""
    folders = {file.parent for file in Path(workloads.__file__).parent.glob("*/workload.py")}
    stated = {
        node.name
        for folder in folders
        for node in ast.parse((folder / "workload.py").read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    assert {workloads._find(name).__name__ for name in workloads.names()} == stated


def install(site, name, module):
    """Installs a package with a workload, as pip does: its metadata names the entry point."""
    (site / f"{module}.py").write_text(f'{HEAD}class A(Workload):\n    name = "{name}"\n')
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[chronograd.workloads]\n{name} = {module}:A\n")


def test_a_workload_of_an_installed_package_is_found_also_if_it_is_installed_later(
    tmp_path, monkeypatch
):
    before = workloads.names()
    install(tmp_path, "theirs", "first_plugin")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert workloads.names() == sorted([*before, "theirs"])
    assert workloads._find("theirs").__module__ == "first_plugin"
    install(tmp_path, "also_theirs", "second_plugin")
    os.utime(tmp_path, ns=(0, tmp_path.stat().st_mtime_ns + 10**9))  # clocks of disks are coarse
    assert workloads.names() == sorted([*before, "theirs", "also_theirs"])
    assert workloads._find("also_theirs").__module__ == "second_plugin"
