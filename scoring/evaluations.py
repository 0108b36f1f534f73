"""Reads eval_measurements.csv, AlgoPerf's or ours, and names every fault in it.

What stands in whole lines is used, also where a killed run left the file cut off.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from itertools import compress, pairwise
from pathlib import Path

from scoring.records import Goal, RecordError

FILE = "eval_measurements.csv"
SECONDS = "accumulated_submission_time"
STEP = "global_step"
MOST = 2.0**53  # seconds or steps: a float beyond it counts nothing, so its cell is damaged


@dataclass(frozen=True, slots=True)
class Hit:
    """The first evaluation of a trial that meets its goal."""

    evaluation: int  # from 0
    line: int  # of the file; the header is line 1
    global_step: int
    submission_seconds: float
    value: float


@dataclass(frozen=True, slots=True)
class Evaluations:
    """The evaluations of one trial, in the order of the file.

    Attributes:
        lines: In which line of the file each stands; the header is line 1.
        seconds: The submission clock at each.
        values: The goal's metric on validation data, NaN where there is none.
        faults: What is wrong with the file, a phrase each.
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
        """Any column as numbers: NaN where it is absent, empty or no number."""
        if name not in self.header:
            return [math.nan] * len(self.rows)
        place = self.header.index(name)
        return [_number(row[place]) for row in self.rows]

    def first_hit(self, goal: Goal) -> Hit | None:
        """The first evaluation that meets the goal, None if none does.

        A later evaluation may miss the goal again: that changes nothing. NaN never meets it.
        """
        for row, value in enumerate(self.values):
            if goal.met_by(value):
                step = _number(self.rows[row][self.header.index(STEP)])
                whole = int(step) if 0 <= step < MOST else 0
                return Hit(row, self.lines[row], whole, self.seconds[row], value)
        return None


def read_evaluations(path: Path, goal: Goal) -> Evaluations:
    """Reads an eval_measurements.csv that is judged by `goal`.

    Raises:
        RecordError: It is absent or not text, or lacks the clock or the step.
    """
    try:
        text = path.read_bytes().decode("utf-8")
        table = _cells(text)
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
    faults = [f"column {name} stands twice, the first counts" for name in twice]
    lines, rows = _whole_rows(table, text.endswith("\n"), faults)
    seconds = _numbers(SECONDS, header, rows)
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
    if judged in header:
        values = _numbers(judged, header, rows)
    else:
        faults.append(f"has no column {judged}: the goal is not met")
        values = [math.nan] * len(rows)
    if not rows:
        faults.append("holds no evaluation: the goal is not met")
    return Evaluations(lines, seconds, values, faults, header, rows)


def _cells(text: str) -> list[list[str]]:
    """The table of a CSV file; splitting is twice as fast as `csv`, and enough without quotes."""
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    return list(csv.reader(lines)) if '"' in text else [line.split(",") for line in lines]


def _whole_rows(
    table: list[list[str]], whole: bool, faults: list[str]
) -> tuple[list[int], list[list[str]]]:
    """The rows with as many cells as the header, and their lines; the others become faults."""
    width, last = len(table[0]), len(table)
    if whole and all(len(row) == width for row in table):
        return list(range(2, last + 1)), table[1:]
    lines: list[int] = []
    rows: list[list[str]] = []
    for line, row in enumerate(table[1:], 2):
        if line == last and not whole:
            faults.append(f"ends in the middle of line {line}, which is left out")
        elif len(row) != width:
            faults.append(f"line {line} has {len(row)} cells, not {width}, and is left out")
        else:
            lines.append(line)
            rows.append(row)
    return lines, rows


def _numbers(name: str, header: list[str], rows: list[list[str]]) -> list[float]:
    """A column as numbers, NaN where a cell is none."""
    place = header.index(name)
    try:
        return [float(row[place]) for row in rows]
    except ValueError:
        return [_number(row[place]) for row in rows]


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
