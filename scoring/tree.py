"""The results tree on disk: written once per trial, read by every command.

AlgoPerf's own layout, so that its scoring script reads OUT/submissions::

    OUT/experiment.json                                          what was planned
    OUT/ledger.jsonl                                             every event, in order
    OUT/logs/                                                    debug logs, of `--verbose`
    OUT/submissions/<submission>/study_<k>/<workload>_pytorch/trial_<n>/
        eval_measurements.csv, hparams.json, meta_data_0.json    as AlgoPerf writes them; the
                                                                 column training_work is ours
        trial.json                                               spec, result, environment
        traceback.txt, log.txt                                   of a failure; what was printed
    OUT/running/<submission>/study_<k>/<workload>/trial_<n>.txt  log.txt of a trial that runs
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from scoring.escaping import printable
from scoring.files import is_hidden, open_regular, read_text, without_links
from scoring.plain import read_json, result_from_plain, spec_from_plain, to_plain, write_json
from scoring.records import EvalRow, RecordError, TrialResult, TrialSpec

EXPERIMENT_FILE = "experiment.json"
LEDGER_FILE = "ledger.jsonl"
DAMAGED_LEDGERS = "ledger.damaged-*.jsonl"  # ledgers that were set aside
LOGS = "logs"  # the folder of the debug logs of workers
TRIAL_FILE = "trial.json"
EVALUATIONS_FILE = "eval_measurements.csv"
TRACEBACK_FILE = "traceback.txt"  # of a failed trial
LOG_FILE = "log.txt"  # what a trial printed
LOG_BYTES = 2**20  # of a trial's log, in all of its attempts
OPTIMIZERS = "optimizers"  # the folder of optimizers given by dotted names
INFO_FILE = "submission_info.json"  # who made a submission
SEARCH_SPACE_FILE = "tuning_search_space.json"  # of a submission
SPLITS = ("train", "validation", "test")
WORK = "training_work"  # the column; absent in trees of early versions
_ASIDE = ".writing_"


def trial_folder(out: Path, spec: TrialSpec) -> Path:
    """The folder of a trial's records in the results tree `out`."""
    study = f"submissions/{spec.submission}/study_{spec.study}"
    return out / f"{study}/{spec.workload}_pytorch/trial_{spec.trial}"


def write_trial(out: Path, spec: TrialSpec, result: TrialResult) -> Path:
    """Writes a finished trial's folder under another name, then renames it, replacing an older one.

    An older folder exists only if an earlier attempt was lost or interrupted; its rows remain in
    the ledger, and its log in the new folder.
    """
    folder = trial_folder(out, spec)
    aside = Path(tempfile.mkdtemp(dir=out, prefix=_ASIDE))
    new = aside / "new"
    new.mkdir()
    _write_csv(new / EVALUATIONS_FILE, spec, result)
    if spec.hyperparameters is not None:
        hparams = json.dumps(spec.hyperparameters, indent=2, allow_nan=False) + "\n"
        (new / "hparams.json").write_text(hparams, encoding="utf-8")
    write_json(new / "meta_data_0.json", {**result.environment, "rng_seed": spec.seed})
    summary = {**to_plain(result), "rows": len(result.rows)}
    write_json(new / TRIAL_FILE, {"spec": spec, "result": summary})
    if result.traceback:
        text = result.traceback.encode("utf-8", "backslashreplace")
        (new / TRACEBACK_FILE).write_bytes(text)
    log = _running_log(out, spec)
    if (printed := log if log.is_file() else folder / LOG_FILE).is_file():
        shutil.copyfile(printed, new / LOG_FILE)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rename(aside / "old")
    new.rename(folder)
    shutil.rmtree(aside)
    with suppress(OSError):  # it does not exist, or other trials are running
        log.unlink()
        os.removedirs(log.parent)
    return folder


def append_to_log(out: Path, spec: TrialSpec, text: str) -> None:
    """Adds text to the log of a running trial, which `write_trial` puts into the trial's folder.

    What exceeds LOG_BYTES is dropped.
    """
    log, earlier = _running_log(out, spec), trial_folder(out, spec) / LOG_FILE
    log.parent.mkdir(parents=True, exist_ok=True)
    if earlier.is_file() and not log.exists():  # of an attempt that was interrupted
        shutil.copyfile(earlier, log)
    text = printable(text.replace("\r\n", "\n").replace("\r", "\n"))
    with os.fdopen(open_regular(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as file:
        room = LOG_BYTES - file.tell()
        added = text.encode("utf-8", "backslashreplace")
        if len(added) > room >= 0:
            added = added[:room] + b"\n[what was printed after this is not recorded]\n"
        file.write(added if room >= 0 else b"")


def _running_log(out: Path, spec: TrialSpec) -> Path:
    return out / "running" / f"{spec.key}.txt"


def remove_half_written(out: Path) -> None:
    """Removes what a driver killed inside `write_trial` left; the ledger has all of it."""
    for aside in out.glob(f"{_ASIDE}*"):
        shutil.rmtree(aside, ignore_errors=True)


def read_trial(folder: Path) -> tuple[TrialSpec, TrialResult]:
    """Reads a trial's folder, as written by `write_trial`."""
    spec, result, measured = read_ending(folder)
    try:
        if measured:
            result.rows.extend(_read_csv(folder / EVALUATIONS_FILE))
        if len(result.rows) != measured:
            raise ValueError(f"{len(result.rows)} evaluations, trial.json has {measured}")
    except (KeyError, TypeError, ValueError, OSError, csv.Error) as error:
        raise RecordError(f"{folder}: damaged trial records ({error})") from None
    return spec, result


def read_ending(folder: Path) -> tuple[TrialSpec, TrialResult, int]:
    """Reads trial.json: the trial's spec, its result without rows, and the number of its rows.

    If that is 0, eval_measurements.csv has a single row of NaN.
    """
    data = read_json(folder / TRIAL_FILE)
    try:
        ending = result_from_plain(data["result"], [])
        return spec_from_plain(data["spec"]), ending, int(data["result"]["rows"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RecordError(f"{folder}: damaged trial records ({error})") from None


def trial_folders(out: Path) -> Iterator[Path]:
    """All trial folders of the results tree in a fixed order, hidden ones excepted."""
    root = out / "submissions"
    for folder in without_links(sorted(root.glob("*/study_*/*_pytorch/trial_*/"))):
        if not any(map(is_hidden, folder.relative_to(root).parts)):
            yield folder


_TIMES = {  # AlgoPerf's column -> ours; `score` repeats the submission time
    "accumulated_submission_time": "submission_seconds",
    "accumulated_submission_cpu_time": "cpu_seconds",
    "accumulated_eval_time": "eval_seconds",
    "accumulated_logging_time": "logging_seconds",
    "total_duration": "total_seconds",
}


def _write_csv(path: Path, spec: TrialSpec, result: TrialResult) -> None:
    """Writes eval_measurements.csv as AlgoPerf does: sorted columns; one row of NaN for none.

    A metric that was not evaluated is an empty cell, which pandas reads as NaN.
    """
    rows = result.rows or [
        EvalRow(
            global_step=result.global_step,
            work=result.work,
            **{name: getattr(result, name) for name in _TIMES.values()},
            metrics={},
        )
    ]
    metrics = {f"{split}/{spec.goal.metric}" for split in SPLITS}
    metrics |= {name for row in rows for name in row.metrics}
    columns = sorted([*_TIMES, "global_step", "preemption_count", "score", WORK, *metrics])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            cells: dict[str, Any] = {name: row.metrics.get(name, "") for name in metrics}
            cells |= {column: getattr(row, name) for column, name in _TIMES.items()}
            cells |= {"global_step": row.global_step, "score": row.submission_seconds}
            cells[WORK] = "" if row.work is None else row.work
            writer.writerow({**cells, "preemption_count": result.attempts - 1})
        file.flush()
        os.fsync(file.fileno())


def _read_csv(path: Path) -> list[EvalRow]:
    """The inverse of `_write_csv`; an empty cell is a metric that was not evaluated."""
    text = read_text(path)
    if not text.endswith("\n"):
        raise ValueError(f"{path.name} ends in the middle of a line")
    rows = []
    head, *lines = csv.reader(io.StringIO(text, newline=""))
    metrics = [(name, head.index(name)) for name in head if "/" in name]
    times = [(name, head.index(column)) for column, name in _TIMES.items()]
    step, work = head.index("global_step"), head.index(WORK) if WORK in head else None
    for cells in filter(None, lines):
        if len(cells) != len(head):
            raise ValueError(f"{path.name}: a line has too many or too few cells")
        values = {name: float(cells[place]) for name, place in metrics if cells[place]}
        seconds = {name: float(cells[place]) for name, place in times}
        done = float(cells[work]) if work is not None and cells[work] else None
        rows.append(EvalRow(global_step=int(cells[step]), work=done, metrics=values, **seconds))
    return rows
