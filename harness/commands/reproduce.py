"""Reproduces published findings in parallel processes, and writes what they found as one page."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from multiprocessing import connection, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import findings
from harness import environment
from scoring.plain import read_json, write_json
from scoring.records import RecordError
from scoring.writing import write_text

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

RESULT, FIGURE, PAGE = "result.json", "figure", "index.html"
DPI = 150


def reproduce(
    names: Sequence[str],
    out: Path,
    *,
    quick: bool,
    processes: int,
    started: Callable[[str], None] = lambda name: None,
    ended: Callable[[dict[str, Any]], None] = lambda result: None,
) -> list[dict[str, Any]]:
    """Runs findings, each in a process with one thread, and writes OUT/NAME and OUT/index.html.

    Args:
        names: Names of findings.
        out: Output folder; results of other findings in it are kept, and shown on the page.
        quick: Whether to run the quick versions.
        processes: How many run at a time.
        started: Called with a name when its process starts.
        ended: Called with the result when a process has ended.

    Returns:
        The results, as in result.json, in the order of `names`.
    """
    context = get_context("spawn")
    waiting = list(names)
    running: dict[Any, tuple[str, SpawnProcess, float]] = {}  # by the sentinel of the process
    results: dict[str, dict[str, Any]] = {}
    for name in names:
        (out / name / RESULT).unlink(missing_ok=True)
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                name = waiting.pop(0)
                process = context.Process(target=_run, args=(name, out, quick), name=name)
                process.start()
                running[process.sentinel] = (name, process, time.monotonic())
                started(name)
            for sentinel in connection.wait(list(running)):
                name, process, began = running.pop(sentinel)
                process.join()
                seconds = time.monotonic() - began
                results[name] = _result_of(name, out, process.exitcode, seconds, quick)
                write_page(out)
                ended(results[name])
    finally:
        for _, process, _ in running.values():
            process.terminate()
            process.join()
    return [results[name] for name in names]


def run_finding(name: str, out: Path, quick: bool) -> dict[str, Any]:
    """Runs one finding in this process and writes OUT/NAME; returns its result."""
    began = time.monotonic()
    finding, run = findings.load(name)
    outcome = run(quick)
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    for ending in ("png", "pdf"):
        outcome.figure.savefig(folder / f"{FIGURE}.{ending}", dpi=DPI)
    result = {
        "name": name,
        **asdict(finding),
        "verdict": outcome.verdict,
        "reproduced": outcome.verdict == "reproduced",
        "checks": [asdict(check) for check in outcome.checks],
        "numbers": outcome.numbers,
        "quick": quick,
        "seconds": round(time.monotonic() - began, 2),
        "environment": environment.describe("cpu", 1),
    }
    write_json(folder / RESULT, result)
    return result


def _run(name: str, out: Path, quick: bool) -> None:
    """Runs one finding in its own process; an exception becomes its result."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    try:
        run_finding(name, out, quick)
    except Exception as error:  # noqa: BLE001 - other findings continue
        traceback.print_exc()
        _write_failure(name, out, f"{type(error).__name__}: {error}", quick)
        sys.exit(1)


def _write_failure(
    name: str, out: Path, message: str, quick: bool, seconds: float = 0.0
) -> dict[str, Any]:
    result = {
        "name": name, "claim": "", "source": "", "chosen": "", "checks": [], "numbers": {},
        "verdict": f"failed: {message}", "reproduced": False, "quick": quick, "seconds": seconds,
    }  # fmt: skip
    write_json(out / name / RESULT, result)
    return result


def _result_of(
    name: str, out: Path, code: int | None, seconds: float, quick: bool
) -> dict[str, Any]:
    """The result that a process has written, or that it died without one."""
    if not (out / name / RESULT).is_file():
        return _write_failure(name, out, f"its process ended with {code}", quick, round(seconds, 2))
    return read_json(out / name / RESULT)


def write_page(out: Path) -> None:
    """Writes OUT/index.html of all results in OUT, those that are not reproduced last."""
    from scoring.report import page

    results = []
    for name in findings.names():
        try:
            found = read_json(out / name / RESULT)
        except RecordError:  # not run yet
            continue
        results.append({**found, "has_figure": (out / name / f"{FIGURE}.png").is_file()})
    results.sort(key=lambda found: not found["reproduced"])
    text = page.environment().get_template("findings.html.j2").render(
        results=results,
        reproduced=sum(found["reproduced"] for found in results),
        quick=any(found["quick"] for found in results),
        made=page.made(),
        version=page.chronograd_version(),
        command="chronograd reproduce",
        **page.stylesheet_parts(),
    )  # fmt: skip
    write_text(out / PAGE, text)
