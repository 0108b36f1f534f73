"""What the documentation site has besides docs/*.md: generated pages, and links out of docs/.

A hook of MkDocs (see mkdocs.yml). Pages that are made from the code are generated here at every
build and are in no file: the Python API, schemas, and the cards of workloads and submissions.
"""

from __future__ import annotations

import inspect
import json
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {  # pages at the root of the repository, and where they are on the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
ON_SITE = {  # other files that links lead to, and the page that has what they say
    "docs/results.ipynb": "tutorials/notebook.md",
    "harness/spec.py": "reference/api.md",
    "harness/testing/__init__.py": "reference/api.md",
}
_LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^()\s]+)\)")
_CODE = re.compile(r"(```.*?^```$)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages, the pages at the root of the repository, and the notebook."""
    generated: dict[str, Callable[[], str]] = {
        "reference/api.md": api,
        "reference/schemas.md": schemas,
        "cards/workloads.md": workload_cards,
        "cards/submissions.md": submission_cards,
        "tutorials/notebook.md": notebook,
    }
    for uri, make in generated.items():
        files.append(File.generated(config, uri, content=make()))
    for source, uri in PAGES.items():
        content = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Makes links fit the site: to pages that are elsewhere here, and to files that are not on it.

    Files of the repository are shown by their path: the project has no public address yet.
    """
    uri = page.file.src_uri
    sources = {uri: source for source, uri in PAGES.items()}
    folder = posixpath.dirname(sources.get(uri, f"docs/{uri}"))
    parts = _CODE.split(markdown)
    parts[::2] = [_LINK.sub(lambda m: _link(m[1], m[2], folder, uri), part) for part in parts[::2]]
    return "".join(parts)


def _link(text: str, address: str, folder: str, page: str) -> str:
    """A link of a page, seen from where the page is on the site."""
    path, hash_sign, anchor = address.partition("#")
    if not path or re.match(r"[a-z]+:", address):
        return f"{text}({address})"
    target = posixpath.normpath(posixpath.join(folder, path))
    if target in PAGES:
        target = PAGES[target]
    elif target in ON_SITE:
        target = ON_SITE[target]
    elif target.startswith("docs/") and not target.startswith("docs/site/"):
        target = target.removeprefix("docs/")
    else:
        words = text.strip("[]")
        return f"`{target}`" if words.strip("`") == target else f"{words} (`{target}`)"
    return f"{text}({posixpath.relpath(target, posixpath.dirname(page) or '.')}{hash_sign}{anchor})"


def api() -> str:
    """The Python API: what users call, and what plugins implement."""
    return """# Python API

Generated from docstrings.

## Results and leaderboards

::: chronograd
    options: {members: [], show_root_heading: false}
::: chronograd.read
::: chronograd.Results
::: chronograd.score
::: chronograd.Board

## Workloads

What a workload implements; see [Add a workload](../tutorials/add_a_workload.md).

::: harness.spec.Workload
::: harness.spec.ForwardPassMode
::: harness.spec.LossType
::: harness.spec.ParameterType
::: harness.spec.DataError

## Submissions

`submissions.recipe` makes a submission from an optimizer; see [Submissions](../submissions.md).

::: submissions.recipe.submission

## Tests for plugins

::: harness.testing.WorkloadContract
::: harness.testing.SubmissionContract
"""


def schemas() -> str:
    """The fields of what the harness reads and writes, from the classes that do so."""
    from harness.sweep import events

    kinds: list[type] = [events.DriverStarted, *events.TrialEvent.__subclasses__()]
    ledger = "\n".join(f"::: {kind.__module__}.{kind.__qualname__}" for kind in kinds)
    records = ("RunOptions", "Goal", "TrialSpec", "TrialResult", "EvalRow")
    trials = "\n".join(f"::: scoring.records.{name}" for name in records)
    return f"""# Schemas

Generated from the classes that read and write these files. [Records](../records.md) describes the
files and where they are.

## Plan: experiment.json

::: scoring.experiment.Experiment
::: scoring.experiment.PlannedSubmission
::: scoring.experiment.PlannedWorkload

## Trials: trial.json and eval_measurements.csv

{trials}

## Ledger

{ledger}

## Rulesets

::: scoring.rulesets.Ruleset
    options: {{members: []}}
::: scoring.rulesets.WorkloadRules
    options: {{members: []}}

## Datasets: dataset.toml

::: harness.commands.datasets.source.Dataset
    options: {{members: []}}
::: harness.commands.datasets.source.File
    options: {{members: []}}
::: harness.commands.datasets.source.Unpack
    options: {{members: []}}

## Parquet of score

{_parquet()}
"""


def _parquet() -> str:
    """The columns of the tables that `score --parquet` writes."""
    from scoring.report.parquet import _EVALUATION, _TRIAL

    lines = ["| table | column | type |", "|---|---|---|"]
    for table, columns in (("trials", _TRIAL), ("evaluations", _EVALUATION)):
        lines += [f"| {table} | `{name}` | {kind} |" for name, kind in dict(columns).items()]
    return "\n".join(lines)


def workload_cards() -> str:
    """A card per workload: task, target, budget, sizes, dataset and licence."""
    import workloads
    from harness.commands.datasets.source import of_workload

    parts = [
        "# Workload cards\n",
        "Generated from the workloads and each `dataset.toml`; variants are with their workload.\n",
    ]
    found = {name: workloads.get(name) for name in workloads.names()}
    variants: dict[str, list[str]] = {}
    for name, workload in found.items():
        variants.setdefault(workload.base_name, []).append(name)
    for name, others in variants.items():
        workload = found[name]
        dataset = of_workload(name)
        parts += [f"## {name}\n", f"{_sentence(workload.summary)}\n"]
        facts = dict(_facts(workload))
        if dataset is not None:
            facts["dataset"] = f"[{dataset.title}]({dataset.page})"
            facts["licence of the data"] = dataset.licence
        elif workload.data_source:
            facts["dataset"] = workload.data_source
        rest = [f"`{other}`" for other in others if other != name]
        if rest:
            facts["variants"] = ", ".join(rest)
        parts += [_table(facts), ""]
        parts += [_paragraphs(type(workload).__doc__ or ""), ""]
    return "\n".join(parts)


def _facts(workload: Any) -> Iterator[tuple[str, str]]:
    yield "target", f"{workload.goal} (validation)"
    if workload.target_remark:
        yield "remark", workload.target_remark
    seconds, steps = workload.max_allowed_runtime_sec, workload.budget_steps
    yield "budget", f"{steps:,} baseline steps" if steps is not None else f"{seconds:,.0f} s"
    sizes = {split: getattr(workload, f"num_{split}_examples") for split in workload.splits}
    yield "examples", ", ".join(f"{count:,} {split}" for split, count in sizes.items())
    yield "batch size", f"{workload.train_batch_size:,}"
    yield "step hint", f"{workload.step_hint:,}"
    yield "loss", workload.loss_type.name.lower().replace("_", " ")
    if workload.suites:
        yield "suites", ", ".join(workload.suites)


def submission_cards() -> str:
    """A card per submission of the library, from its submission_info.json."""
    from harness.submission.files import available, library

    parts = ["# Submission cards\n", "Generated from `submission_info.json` of each submission.\n"]
    for name in available():
        folder = library() / name
        info = json.loads((folder / "submission_info.json").read_text(encoding="utf-8"))
        parts += [f"## {name}\n", f"**{info['title']}.** {info.get('description', '')}\n"]
        shown = ("authors", "paper", "differs", "state_bytes_per_parameter")
        facts = {key.replace("_", " "): info[key] for key in shown if info.get(key)}
        space = folder / "tuning_search_space.json"
        if space.is_file():
            facts["search space"] = ", ".join(
                f"`{key}`" for key in _names(json.loads(space.read_text(encoding="utf-8")))
            )
        parts += [_table(facts), ""]
    return "\n".join(parts)


def _names(space: Any) -> list[str]:
    """The hyperparameters of a search space, or of a list of points."""
    points = space if isinstance(space, list) else [space]
    return list(dict.fromkeys(name for point in points for name in point))


def notebook() -> str:
    """The notebook docs/results.ipynb as a page, without its outputs."""
    cells = json.loads((ROOT / "docs/results.ipynb").read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def _table(facts: dict[str, Any]) -> str:
    lines = [f"| {name} | {_cell(value)} |" for name, value in facts.items()]
    return "\n".join(["| fact | value |", "|---|---|", *lines])


def _cell(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return " ".join(text.split()).replace("|", "\\|")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _paragraphs(docstring: str) -> str:
    """The paragraphs of a docstring before its sections."""
    text = inspect.cleandoc(docstring).partition("\n\nAttributes:")[0]
    return text.replace("\n    ", "\n").replace("*", "\\*")
