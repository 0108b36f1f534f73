"""Reads the logs of modded-nanogpt's track 3 (docs/records.md describes the format).

A log begins with the source of the run, followed by a line of 100 `=`, lines that name PyTorch and
the GPU, another such line, and a line per evaluation. In LOGS, a folder contains the logs of one
entry; a file beside such folders, or directly in LOGS, is an entry by itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from scoring.escaping import one_line
from scoring.files import entries, read_packed_text, without_links
from scoring.reading.evaluations import as_number, as_step
from scoring.reading.runs import Found, LossRun, not_finite, without_duplicates

_RULE = "=" * 100
_KINDS = (".txt", ".log")
_PACKED = (".gz", ".xz")
_DEPTH = 4  # of folders below LOGS
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_EVALUATION = re.compile(r"step:(\S+?)/(\S+)\s+val_loss:(\S+)(?:\s+(.*))?")
_TIME = re.compile(r"train_time:\s*(\S+?)\s*(ms|s)(?:\s|$)")
_ENDS = re.compile(r"step_avg:\s*\S+?\s*ms$")


@dataclass(slots=True)
class _Log:
    """One log file.

    Attributes:
        file: The file.
        source: The hash of the source that it begins with.
        runs: The runs in it.
    """

    file: Path
    source: str
    runs: list[LossRun]


def read_track3(root: Path) -> Found:
    """Reads all logs in a folder."""
    found = Found()
    for name, logs in _entries(root, found):
        runs = [run for log in logs for run in log.runs]
        if len({log.source for log in logs}) > 1:
            found.remarks.append(
                f"{name}: its {len(logs)} logs begin with "
                f"{len({log.source for log in logs})} different sources; runs of one entry should "
                "differ in nothing but the seed"
            )
        found.runs[name] = without_duplicates(name, runs, found.warnings)
    return found


def _entries(root: Path, found: Found) -> Iterator[tuple[str, list[_Log]]]:
    """The logs of each entry, by its name."""
    for folder, logs, leaf in _folders(root, found, _DEPTH):
        if leaf and folder != root:
            yield folder.relative_to(root).as_posix(), logs
            continue
        groups: dict[str, list[_Log]] = {}
        for log in logs:  # the benchmark's script names the log of each run by a UUID
            stem = _stem(log.file)
            groups.setdefault(log.source if _UUID.fullmatch(stem) else stem, []).append(log)
        for group in groups.values():
            name = _stem(group[0].file)
            if leaf and len(groups) == 1 and len(group) > 1:
                name = root.resolve().name
            yield (folder / name).relative_to(root).as_posix(), group


def _folders(folder: Path, found: Found, depth: int) -> Iterator[tuple[Path, list[_Log], bool]]:
    """Each folder with logs, the logs, and whether no folder in it has any."""
    try:
        children = without_links(entries(folder))
        above = folder.resolve()
        children = [child for child in children if not above.is_relative_to(child.resolve())]
        folders = {child for child in children if child.is_dir()}
    except OSError as error:
        found.warnings.append(f"{folder}: cannot be listed ({error}); the runs in it are missing")
        return
    logs: list[_Log] = []
    deeper: list[tuple[Path, list[_Log], bool]] = []
    for child in children:
        if not child.name.isprintable():
            found.warnings.append(f"{folder}: {child.name!a}: cannot be printed, left out")
        elif child in folders and depth:
            deeper += _folders(child, found, depth - 1)
        elif child not in folders and _is_log(child):
            logs += filter(None, [_read(child, found)])
    if logs:
        yield folder, logs, not deeper
    yield from deeper


def _is_log(path: Path) -> bool:
    name = path.name.removesuffix(path.suffix) if path.suffix in _PACKED else path.name
    return name.endswith(_KINDS)


def _stem(path: Path) -> str:
    name = path.name
    for kind in (*_PACKED, *_KINDS):
        name = name.removesuffix(kind)
    return name


def _read(path: Path, found: Found) -> _Log | None:
    """Reads a log; None, with a warning, if there is no run in it."""
    try:
        text = read_packed_text(path)
    except (OSError, ValueError) as error:
        found.warnings.append(f"{path}: cannot be read ({error}); its runs are missing")
        return None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    ahead = sum(line.strip() == _RULE for line in lines)
    parser = _Parser(path, found.warnings, ahead)
    for number, line in enumerate(lines, 1):
        parser.take(number, line, last=number == len(lines))
    if parser.rules < 2:
        found.warnings.append(
            f"{path}: is not a log of this format (no two lines of 100 `=` after the source of the "
            "run); left out"
        )
        return None
    if not parser.runs:
        found.warnings.append(f"{path}: has no evaluation after its second line of `=`; left out")
        return None
    found.warnings += filter(None, map(not_finite, parser.runs))
    return _Log(path, parser.source.hexdigest(), parser.runs)


@dataclass(slots=True)
class _Parser:
    """Takes the lines of a log; adds a warning for everything that is out of place."""

    file: Path
    warnings: list[str]
    ahead: int  # lines of `=` that follow
    rules: int = 0  # lines of `=` so far
    in_source: bool = False  # whether this is the source of another log, appended to the first
    made_with: str = ""
    runs: list[LossRun] = field(default_factory=list)
    source: hashlib._Hash = field(default_factory=hashlib.sha256)
    begins: bool = True  # whether the next evaluation begins a run

    def take(self, number: int, line: str, *, last: bool) -> None:
        """Takes a line; one that is none of the format's is text that a run printed."""
        line = line.strip()
        if line == _RULE:
            self.rules += 1
            self.ahead -= 1
            self.begins, self.in_source = True, False
        elif self.rules == 0:
            self.source.update(line.encode() + b"\n")
        elif not self.runs and "torch" in line.casefold():
            self.made_with = one_line(line)  # the last such line before the evaluations
        elif self.rules == 1:
            pass  # settings
        elif line.startswith("step:") and not self.in_source:
            if last or "val_loss" in line:
                self._evaluation(number, line, last)
        elif line:
            self.in_source = self.ahead > 0

    def _evaluation(self, number: int, line: str, last: bool) -> None:
        match = _EVALUATION.fullmatch(line)
        if last and not (match and _ENDS.search(line)):
            self._fault(number, "the file ends in the middle of this line, which is left out")
            return
        if match is None:
            self._fault(number, f"cannot be read as an evaluation, left out: {line[:60]!r}")
            return
        step, planned, loss = as_step(match[1]), as_step(match[2]), as_number(match[3])
        if step is None or planned is None:
            self._fault(number, f"has no whole number of steps, left out: {line[:60]!r}")
            return
        if loss != loss and match[3].casefold().lstrip("+-") != "nan":
            self._fault(number, f"val_loss is {one_line(match[3])[:40]!r}, not a number, left out")
            return
        time = _TIME.search(match[4] or "")
        seconds = as_number(time[1]) / (1000 if time[2] == "ms" else 1) if time else float("nan")
        run = self.runs[-1] if self.runs else None
        if run is None or self.begins or step <= run.last or planned != run.planned:
            run = self._begin(planned)
        run.steps.append(step)
        run.losses.append(loss)
        run.lines.append(number)
        run.seconds.append(seconds)

    def _begin(self, planned: int) -> LossRun:
        self.begins = False
        run = LossRun(
            name=f"run {len(self.runs) + 1} of {self.file.name}",
            file=self.file,
            planned=planned,
            made_with=self.made_with,
            steps=[],
            losses=[],
            lines=[],
            seconds=[],
        )
        self.runs.append(run)
        return run

    def _fault(self, number: int, fault: str) -> None:
        self.warnings.append(f"{self.file}:{number}: {fault}")
