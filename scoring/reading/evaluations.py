"""Reads eval_measurements.csv, AlgoPerf's or ours, and reports every fault in it.

Complete lines are used even if a killed run left the file truncated.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from itertools import compress, pairwise
from pathlib import Path

from scoring.escaping import one_line
from scoring.files import read_text
from scoring.records import Goal, RecordError
from scoring.tree import WORK

SECONDS = "accumulated_submission_time"
STEP = "global_step"
MOST = 2.0**53  # seconds or steps: beyond it floats skip integers, so such a cell is damaged
_NOT_MEASURED = frozenset(  # in lower case; includes those of pandas, Excel and C
    ("", "-", "--", "na", "n/a", "<na>", "#na", "#n/a", "#n/a n/a", "null", "none", "nan", "-nan")
) | {"1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "nan(ind)", "-nan(ind)"}


@dataclass(frozen=True, slots=True)
class Hit:
    """The first evaluation of a trial that meets its goal."""

    evaluation: int  # from 0
    line: int  # of the file; the header is line 1
    global_step: int | None  # None if the file has no integer there
    submission_seconds: float
    value: float
    work: float | None = None  # training work; None if the file has no number there

    @property
    def effort(self) -> str:
        """The steps and the training work to the target, in words; "" if steps are unknown."""
        if self.global_step is None:
            return ""
        work = "" if self.work is None else f", training work {self.work:,g}"
        return f" after {self.global_step:,} steps{work}"


@dataclass(frozen=True, slots=True)
class Evaluations:
    """The evaluations of one trial, in the order of the file.

    Attributes:
        lines: The line of each in the file; the header is line 1.
        seconds: The submission clock at each.
        values: The goal's metric on validation data, NaN if there is none.
        faults: What is wrong with the file, one phrase per fault.
        header: The names of all columns.
        rows: The cells of all columns.
    """

    lines: list[int]
    seconds: list[float]
    values: list[float]
    faults: list[str]
    header: list[str]
    rows: list[list[str]]

    def column(self, name: str) -> list[float]:
        """A column as numbers: NaN where it is absent, empty or not a number."""
        if name not in self.header:
            return [math.nan] * len(self.rows)
        place = self.header.index(name)
        return [as_number(row[place]) for row in self.rows]

    def last(self, name: str) -> float | None:
        """The number in the last row of a column; None if there is none."""
        if not self.rows or name not in self.header:
            return None
        number = as_number(self.rows[-1][self.header.index(name)])
        return number if math.isfinite(number) else None

    def first_hit(self, goal: Goal) -> Hit | None:
        """The first evaluation that meets the goal, None if none does.

        Later evaluations that miss the goal do not matter. NaN never meets it.
        """
        for row, value in enumerate(self.values):
            if goal.met_by(value):
                step = as_step(self.rows[row][self.header.index(STEP)])
                return Hit(row, self.lines[row], step, self.seconds[row], value, self._work(row))
        return None

    def _work(self, row: int) -> float | None:
        if WORK not in self.header:
            return None
        work = as_number(self.rows[row][self.header.index(WORK)])
        return work if 0 <= work < MOST else None


def read_evaluations(path: Path, goal: Goal) -> Evaluations:
    """Reads an eval_measurements.csv to be judged by `goal`.

    Raises:
        RecordError: It is missing, not a regular file, too large or not text, or lacks the clock or
            the step.
    """
    try:
        text = read_text(path)
        table = csv_cells(text)
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file") from None
    except (OSError, ValueError, csv.Error) as error:
        raise RecordError(f"{path}: cannot be read ({error})") from None
    header = table[0] if table else []
    for name in (SECONDS, STEP):
        if name not in header:
            raise RecordError(f"{path}: has no column {name}")
    judged = f"validation/{goal.metric}"
    twice = [name for name in (SECONDS, STEP, judged) if header.count(name) > 1]
    faults = [f"column {name} appears twice, the first counts" for name in twice]
    lines, rows = _complete_rows(table, text.endswith("\n"), faults)
    seconds, _ = _numbers(SECONDS, header, rows)
    timed = [0 <= value < MOST for value in seconds]
    if not all(timed):
        faults += [
            f"line {line} has no time and is left out"
            for line, has_time in zip(lines, timed, strict=True)
            if not has_time
        ]
        lines, rows = list(compress(lines, timed)), list(compress(rows, timed))
        seconds = list(compress(seconds, timed))
    if any(later < earlier for earlier, later in pairwise(seconds)):
        faults.append("the clock runs backwards; the first line that meets the goal counts")
    faults += _strange_steps(header, rows, lines)
    if judged in header:
        values, strange = _numbers(judged, header, rows)
        faults += _named(judged, strange, lines, "not a number: it counts as not measured")
        best = -math.inf if goal.direction == "min" else math.inf
        beyond = [(n, str(best)) for n, value in enumerate(values) if value == best]
        faults += _named(judged, beyond, lines, "not a measured value: it does not meet the goal")
    else:
        faults.append(f"has no column {judged}: the goal is not met")
        values = [math.nan] * len(rows)
    if not rows:
        faults.append("has no evaluations: the goal is not met")
    return Evaluations(lines, seconds, values, faults, header, rows)


def csv_cells(text: str) -> list[list[str]]:
    """The cells of a CSV file; without quotes, splitting is enough and twice as fast as `csv`."""
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    return list(csv.reader(lines)) if '"' in text else [line.split(",") for line in lines]


def _complete_rows(
    table: list[list[str]], complete: bool, faults: list[str]
) -> tuple[list[int], list[list[str]]]:
    """The rows with as many cells as the header, and their lines; the others become faults."""
    width, last = len(table[0]), len(table)
    if complete and all(len(row) == width for row in table):
        return list(range(2, last + 1)), table[1:]
    lines: list[int] = []
    rows: list[list[str]] = []
    for line, row in enumerate(table[1:], 2):
        if line == last and not complete:
            faults.append(f"ends in the middle of line {line}, which is left out")
        elif len(row) != width:
            faults.append(f"line {line} has {len(row)} cells, not {width}, and is left out")
        else:
            lines.append(line)
            rows.append(row)
    return lines, rows


Strange = list[tuple[int, str]]  # row index and cell


def _numbers(name: str, header: list[str], rows: list[list[str]]) -> tuple[list[float], Strange]:
    """A column as numbers (NaN for other cells), and the cells that do not mean "not measured"."""
    place = header.index(name)
    cells = [row[place] for row in rows]
    try:
        numbers = list(map(float, cells))
        if "_" not in "".join(cells):
            return numbers, []
    except ValueError:
        pass
    numbers = list(map(as_number, cells))
    strange = [
        (row, cell)
        for row, (cell, number) in enumerate(zip(cells, numbers, strict=True))
        if math.isnan(number) and cell.strip().casefold() not in _NOT_MEASURED
    ]
    return numbers, strange


def as_number(cell: str) -> float:
    """A cell as a number, else NaN; Python reads 0_4 as 4, but other readers do not."""
    try:
        return math.nan if "_" in cell else float(cell)
    except ValueError:
        return math.nan


def _strange_steps(header: list[str], rows: list[list[str]], lines: list[int]) -> list[str]:
    """A fault if cells are not whole numbers of steps."""
    place = header.index(STEP)
    cells = [row[place] for row in rows]
    if all(map(str.isdecimal, cells)) and max(map(len, cells), default=0) < 16:
        return []  # fast path for nearly all files
    strange = [(row, cell) for row, cell in enumerate(cells) if as_step(cell) is None]
    return _named(STEP, strange, lines, "not a whole number: this step is unknown")


def as_step(cell: str) -> int | None:
    """A cell as a whole number of steps; None if it is not one."""
    step = as_number(cell)
    return int(step) if 0 <= step < MOST and step.is_integer() else None


def _named(column: str, strange: Strange, lines: list[int], fault: str) -> list[str]:
    """At most one fault: the first strange cell, its line, and the number of others."""
    if not strange:
        return []
    row, cell = strange[0]
    others = f" (and {len(strange) - 1} more)" if len(strange) > 1 else ""
    return [f"line {lines[row]}{others}: {column} is {one_line(cell)[:40]!r}, {fault}"]
