"""Links, command lines and options in the documentation exist."""

import dataclasses
import functools
import re
import shlex
import unicodedata
from pathlib import Path

import pytest
import typer
from markdown_it import MarkdownIt

from docs import command_line
from harness.cli import _without_aliases, app
from harness.sweep import events
from scoring import records
from scoring.experiment import Experiment, PlannedSubmission, PlannedWorkload

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page for place in ("*.md", "docs/**/*.md", "workloads/*/*.md") for page in ROOT.glob(place)
)
GUIDES = [page for page in PAGES if page.name != "CHANGELOG.md"]  # old commands are named there
CHOICES = {c.name: [p for p in c.parameters if p.choices] for c in command_line.commands()}
COMMAND = typer.main.get_command(app)
README_WORDS = 1200
MARKDOWN = MarkdownIt("commonmark").enable("table")
FOREIGN = {"--exclusive", "--volumes", "--working-dir"}  # of sbatch, docker compose, ray
PLACEHOLDER = re.compile(r"[A-Z]+|.*[.|/<>$].*")


@functools.cache
def tokens(page):
    """All Markdown tokens of a page, nested ones too."""
    found = []
    for token in MARKDOWN.parse(page.read_text(encoding="utf-8")):
        found += [token, *(token.children or ())]
    return found


@functools.cache
def anchors(page):
    """The anchors that GitHub makes of a page's headings."""
    found = []
    every = tokens(page)
    for place, token in enumerate(every):
        if token.type == "heading_open":
            text = "".join(
                child.content
                for child in every[place + 1].children
                if child.type in ("text", "code_inline")
            )
            kept = (c for c in text.lower() if c in "-_ " or unicodedata.category(c)[0] in "LN")
            slug = "".join(kept).replace(" ", "-")
            again = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None
                        for other in found)  # fmt: skip
            found.append(f"{slug}-{again}" if again else slug)
    return set(found)


def links(page):
    """The addresses that a page refers to."""
    for token in tokens(page):
        address = token.attrGet("href") or token.attrGet("src")
        if address is not None:
            yield str(address)


def faults_of_links(page):
    """What is wrong with a page's links to files and headings of the project."""
    for address in links(page):
        if re.match(r"[a-z]+:", address):
            continue
        path, _, anchor = address.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or not target.is_relative_to(ROOT):
            yield f"{address}: no such file"
        elif anchor and (target.suffix != ".md" or anchor not in anchors(target)):
            yield f"{address}: no such heading"


def code_of(page):
    """Lines of code on a page, and whether each is a complete command line."""
    for token in tokens(page):
        if token.type == "code_inline":
            yield token.content, False
        elif token.type == "fence" and token.info in ("", "sh", "bash"):
            for line in re.sub(r"\\\n\s*", "", token.content).splitlines():
                yield line, True


def calls(line):
    """The arguments of each call of chronograd in a line, also inside another command."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        words = line.split()
    if words[:2] == ["git", "clone"]:
        return
    for place, word in enumerate(words):
        if " " in word:
            yield from calls(word)
        elif word == "chronograd" or word.endswith("/chronograd"):
            rest = words[place + 1 :]
            ends = [n for n, other in enumerate(rest) if other in ("&&", "|", ";")]
            yield rest[: min(ends, default=len(rest))]


def faults_of_call(given, complete):
    """What is wrong with a call, without running it; a mention in a text need not be complete."""
    name, command, words = "chronograd", COMMAND, _without_aliases(list(given))
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if words[0] not in command.commands:
            yield f"no command {words[0]}"
            return
        name, command, words = f"{name} {words[0]}", command.commands[words[0]], words[1:]
    if not complete and len(words) == 0:
        return
    try:
        context = command.make_context("", [], resilient_parsing=True)
        context.resilient_parsing = False
        parsed, _, _ = command.make_parser(context).parse_args(list(words))
    except Exception as error:  # noqa: BLE001 - typer has its own click, or not
        yield f"{type(error).__name__}: {getattr(error, 'message', error)}"
        return
    for parameter in command.params:
        value = parsed.get(parameter.name)
        if complete and parameter.required and value in (None, ()):
            yield f"{parameter.name}: missing"
    for parameter in CHOICES.get(name, ()):
        value = parsed.get(parameter.names[0].removeprefix("--").replace("-", "_"))
        given = value if isinstance(value, list | tuple) else [value] if value else []
        for text in given:
            if text not in parameter.choices and not PLACEHOLDER.fullmatch(text):
                yield f"{parameter.names[0]}: {text} is not one of {parameter.choices}"


def options_of(command):
    """Every option of a command and its subcommands."""
    found = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    return found.union(*map(options_of, getattr(command, "commands", {}).values()))


def faults_of_code(page):
    """What is wrong with the command lines on a page."""
    known = options_of(COMMAND) | FOREIGN | {"--help"}
    for line, complete in code_of(page):
        for given in calls(line):
            yield from (f"{line}: {fault}" for fault in faults_of_call(given, complete))
        if not complete and line.startswith("--"):
            name = re.split(r"[ =]", line)[0]
            if name not in known:
                yield f"{line}: no command has this option"
        for script in re.findall(r"python -m (benchmarks\.\w+|docs\.\w+)", line):
            path = ROOT.joinpath(*script.split(".")).with_suffix(".py")
            if not path.is_file():
                yield f"{line}: no such script"
            else:
                wanted = re.findall(r"(?<!\S)--[\w-]+", line)
                yield from (f"{line}: {o}" for o in wanted if o not in path.read_text())
        for target in re.findall(r"(?:^|\n|`)make ([\w-]+)", line):
            if not re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE):
                yield f"{line}: no such target"


of_pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
of_guides = pytest.mark.parametrize("page", GUIDES, ids=lambda page: str(page.relative_to(ROOT)))


@of_pages
def test_links_and_anchors_resolve(page):
    assert list(faults_of_links(page)) == []


@of_guides
def test_command_lines_name_what_exists(page):
    assert list(faults_of_code(page)) == []


@pytest.mark.parametrize(
    "text",
    [
        "`chronograd swep`",
        "`chronograd sweep --resum OUT`",
        "`chronograd score DIR --methods official`",
        "`chronograd score DIR --method oficial`",
        "`--no-such-option`",
        "`chronograd status OUT --estimate`",
        "`chronograd data repair WORKLOAD`",
        "```\nchronograd sweep nadamw --suite demo\n```",  # lacks --out
        "```\ndocker run x chronograd runn nadamw\n```",
        '```\nray exec x "env/bin/chronograd sweep a --suit demo --out r"\n```',
        "`python -m benchmarks.nothing`",
        "`python -m benchmarks.orders --nothing`",
        "`make nothing`",
    ],
)
def test_a_wrong_command_line_is_found(text, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    assert list(faults_of_code(page))


@pytest.mark.parametrize(
    "text",
    ["[a](missing.md)", "[a](#missing)", "![a](missing.png)", f"[a]({ROOT.name}.md#x)"],
)
def test_a_wrong_link_is_found(text, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# A heading\n\n{text}\n")
    assert list(faults_of_links(page))


@pytest.mark.parametrize(
    "text", ["`chronograd sweep --resume OUT`", "`chronograd doctor --estimate`"]
)
def test_aliases_are_command_lines_too(text, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    assert list(faults_of_code(page)) == []


def test_every_page_can_be_reached_from_the_readme():
    left, seen = [ROOT / "README.md"], set()
    while left:
        page = left.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        targets = (address.partition("#")[0] for address in links(page) if ":" not in address)
        left += [(page.parent / target).resolve() for target in targets if target]
    assert {page for page in PAGES if page.parent in (ROOT, ROOT / "docs")} <= seen


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= README_WORDS


def test_the_page_of_the_command_line_is_current():
    written = command_line.PAGE.read_text(encoding="utf-8")
    assert written == command_line.page(), "run `python -m docs.command_line`"


def test_the_page_of_the_command_line_has_every_option():
    """Against the commands themselves, whatever the page is made from."""
    left, text = [("chronograd", COMMAND)], command_line.page()
    while left:
        name, command = left.pop()
        below = getattr(command, "commands", {})
        left += [(f"{name} {own}", other) for own, other in below.items()]
        section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        for parameter in command.params:
            for option in (*parameter.opts, *parameter.secondary_opts):
                if option.startswith("-") and "-completion" not in option:
                    assert f"`{option}`" in section, (name, option)


RECORDS = ROOT / "docs" / "records.md"


def named_in(heading):
    """What a section of docs/records.md names as code."""
    section = RECORDS.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2]
    return set(re.findall(r"`([^`\n]+)`", section.partition("\n## ")[0]))


def names_of(record):
    return {field.name for field in dataclasses.fields(record)}


def test_every_field_of_the_plan_and_of_a_trial_is_documented():
    options = names_of(records.RunOptions)
    planned = {*PlannedSubmission.model_fields, *PlannedWorkload.model_fields}
    plan = set(Experiment.model_fields) - {"options"} | planned | options
    assert plan | names_of(records.Goal) <= named_in("experiment.json")
    trial = names_of(records.TrialSpec) - options | names_of(records.TrialResult)
    trial |= set(records.Status) | set(records.Failure)
    assert trial <= named_in("trial.json")


def test_every_event_of_the_ledger_and_its_fields_are_documented():
    named = named_in("The ledger")
    kinds = [events.DriverStarted, *events.TrialEvent.__subclasses__()]
    for kind in kinds:
        assert kind.kind in named
        in_line = {"where", "result"}  # whose own fields are in the line
        assert names_of(kind) - in_line - {"rows"} <= named, kind


def test_every_column_of_the_tables_is_documented():
    from scoring.report.parquet import _EVALUATION, _TRIAL

    assert {*_TRIAL, *_EVALUATION} <= named_in("Parquet of score")


def test_every_environment_variable_is_documented():
    used = set()
    for package in ("chronograd", "harness", "scoring", "workloads"):
        for file in (ROOT / package).rglob("*.py"):
            for line in file.read_text(encoding="utf-8").splitlines():
                if "environ" in line:
                    used |= set(re.findall(r'"([A-Z][A-Z_]*[A-Za-z_]+)"', line))
    assert len(used) > 8
    assert used - {"~"} <= named_in("Environment variables")


@pytest.mark.parametrize("package", ["harness", "scoring"])
def test_the_map_of_the_code_has_every_room(package):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert {room for room in rooms if f"| `{room}/` |" not in text} == set()
