"""Names of tensors end with their shapes, explained by a legend at the top of the file."""

import ast
import re
from pathlib import Path

import pytest

import workloads

ROOT = Path(workloads.__file__).parent
TREES = {
    str(file.relative_to(ROOT)): ast.parse(file.read_text())
    for file in [*sorted(ROOT.glob("*/*.py")), ROOT / "resnet.py"]
}
AS_IN_A_BATCH = {"inputs", "targets"}  # arguments that AlgoPerf names


def forwards(tree):
    """The `forward` of every module of a file."""
    methods = (line for c in ast.walk(tree) if isinstance(c, ast.ClassDef) for line in c.body)
    found = [f for f in methods if isinstance(f, ast.FunctionDef) and f.name == "forward"]
    kinds = [[arg.arg for arg in f.args.args] for f in found]
    return [f for f, args in zip(found, kinds, strict=True) if not {"ctx", "batch"} & set(args)]


MODELS = [name for name, tree in TREES.items() if forwards(tree)]
TASKS = [name for name in TREES if name.endswith("task.py")]


def letters(name):
    text = (ast.get_docstring(TREES[name]) or "").partition("Shapes:")[2]
    return set(re.findall(r"\b[A-Z]\b", text))


@pytest.mark.parametrize("name", [*MODELS, *TASKS])
def test_a_model_or_a_task_has_a_legend(name):
    assert letters(name)


@pytest.mark.parametrize("name", MODELS)
def test_what_a_module_takes_says_its_shape(name):
    for forward in forwards(TREES[name]):
        tensors = [
            arg.arg
            for arg in forward.args.args[1:]
            if arg.annotation and ast.unparse(arg.annotation) in ("Tensor", "torch.Tensor")
        ]
        for tensor in tensors[:1]:
            suffix = tensor.rpartition("_")[2]
            known = letters(name) | set("0123456789")
            assert tensor in AS_IN_A_BATCH or set(suffix.upper()) <= known, (name, tensor)
