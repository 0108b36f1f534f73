"""Experiment trackers to which a sweep's evaluations can be written. Their packages are extras."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from harness.progress.live import describe_end
from scoring.records import EvalRow, Status, TrialResult, TrialSpec


class Tracker(Protocol):
    """Receives the trials that start; methods may raise or hang."""

    def begin(self, spec: TrialSpec) -> None:
        """Starts an attempt of a trial; an earlier attempt may still be open."""

    def write(self, spec: TrialSpec, row: EvalRow) -> None:
        """Writes an evaluation. After a lost attempt, steps may be repeated."""

    def end(self, spec: TrialSpec, result: TrialResult) -> None:
        """Ends a trial."""

    def close(self) -> None:
        """Closes the tracker; some trials may still be open."""


class TensorBoard:
    """Writes event files to OUT/tensorboard, one folder per trial.

    The relative time axis is the submission clock.

    Args:
        out: Results tree.
    """

    def __init__(self, out: Path) -> None:
        from torch.utils import tensorboard

        self._tensorboard: Any = tensorboard
        self._out = out / "tensorboard"
        self._writers: dict[str, Any] = {}

    def begin(self, spec: TrialSpec) -> None:
        """Closes the file of an earlier attempt."""
        if spec.key in self._writers:
            self._writers.pop(spec.key).close()

    def write(self, spec: TrialSpec, row: EvalRow) -> None:
        """Writes all metrics; the first row hides later rows of an earlier attempt."""
        writer = self._writer(spec, row.global_step)
        for name, value in _figures(row).items():
            writer.add_scalar(name, value, row.global_step, walltime=row.submission_seconds)
        writer.flush()

    def end(self, spec: TrialSpec, result: TrialResult) -> None:
        """Writes how the trial ended, as text."""
        writer = self._writer(spec, None)
        writer.add_text("end", describe_end(spec, result))
        self._writers.pop(spec.key).close()

    def close(self) -> None:
        """Closes open files."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, spec: TrialSpec, first_step: int | None) -> Any:
        if spec.key not in self._writers:
            folder = self._out / spec.key
            writer = self._tensorboard.SummaryWriter(folder, purge_step=first_step)
            point = {name: _scalar(value) for name, value in (spec.hyperparameters or {}).items()}
            for summary in self._tensorboard.summary.hparams(point, {spec.goal_column: 0.0}):
                writer.file_writer.add_summary(summary)
            self._writers[spec.key] = writer
        return self._writers[spec.key]


class MLflow:
    """Writes one run per attempt to MLFLOW_TRACKING_URI, by default OUT/mlflow.db.

    The timestamp of a metric is in milliseconds of the submission clock.

    Args:
        out: Results tree, which gives the experiment its name.
    """

    def __init__(self, out: Path) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import entities
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        here = f"sqlite:///{out.resolve() / 'mlflow.db'}"
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", here))
        name = f"chronograd {out.resolve().name}"
        known = self._client.get_experiment_by_name(name)
        self._experiment = known.experiment_id if known else self._client.create_experiment(name)
        self._entities = entities
        self._runs: dict[str, str] = {}

    def begin(self, spec: TrialSpec) -> None:
        """Creates a run with hyperparameters; marks an earlier attempt's as killed."""
        if spec.key in self._runs:
            self._client.set_terminated(self._runs[spec.key], status="KILLED")
        run = self._client.create_run(
            self._experiment,
            run_name=spec.key,
            tags={name: str(value) for name, value in _place(spec).items()},
        )
        self._runs[spec.key] = run.info.run_id
        point = (spec.hyperparameters or {}).items()
        parameters = [self._entities.Param(name, str(value)) for name, value in point]
        self._client.log_batch(run.info.run_id, params=parameters)

    def write(self, spec: TrialSpec, row: EvalRow) -> None:
        """Writes all metrics of a row in one call."""
        time, step = round(1000 * row.submission_seconds), row.global_step
        figures = _figures(row).items()
        metrics = [self._entities.Metric(name, value, time, step) for name, value in figures]
        self._client.log_batch(self._runs[spec.key], metrics=metrics)

    def end(self, spec: TrialSpec, result: TrialResult) -> None:
        """Writes how the trial ended, as a tag and as MLflow's status."""
        run = self._runs.pop(spec.key)
        self._client.set_tag(run, "end", describe_end(spec, result))
        statuses = {Status.FAILED: "FAILED", Status.INTERRUPTED: "KILLED"}
        self._client.set_terminated(run, status=statuses.get(result.status, "FINISHED"))

    def close(self) -> None:
        """Marks open runs as killed."""
        for run in self._runs.values():
            self._client.set_terminated(run, status="KILLED")


class WeightsAndBiases:
    """Writes one run per attempt to project `chronograd`, with files in OUT/wandb.

    Offline unless WANDB_MODE is set or an account is configured.

    Args:
        out: Results tree.
    """

    def __init__(self, out: Path) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        self._wandb, self._out = wandb, out
        known = os.environ.get("WANDB_MODE") or wandb.login(prompt=False)
        self._settings = wandb.Settings(
            mode=os.environ.get("WANDB_MODE") or ("online" if known else "offline"),
            silent=True, console="off", save_code=False, disable_git=True, x_disable_stats=True,
        )  # fmt: skip
        self._runs: dict[str, Any] = {}

    def begin(self, spec: TrialSpec) -> None:
        """Creates a run; marks an earlier attempt's as crashed."""
        if spec.key in self._runs:
            self._runs.pop(spec.key).finish(exit_code=1)
        run = self._wandb.init(
            project="chronograd",
            dir=str(self._out),
            name=spec.key,
            group=f"{spec.submission}/{spec.workload}",
            config={**_place(spec), **(spec.hyperparameters or {})},
            reinit="create_new",
            settings=self._settings,
        )
        run.define_metric("*", step_metric="submission_seconds")
        self._runs[spec.key] = run

    def write(self, spec: TrialSpec, row: EvalRow) -> None:
        """Writes all metrics of a row."""
        self._runs[spec.key].log(_figures(row), step=row.global_step)

    def end(self, spec: TrialSpec, result: TrialResult) -> None:
        """Writes how the trial ended to the run's summary."""
        run = self._runs.pop(spec.key)
        run.summary["end"] = describe_end(spec, result)
        run.finish(exit_code=int(result.status in (Status.FAILED, Status.INTERRUPTED)))

    def close(self) -> None:
        """Marks open runs as crashed."""
        for run in self._runs.values():
            run.finish(exit_code=1)


def _figures(row: EvalRow) -> dict[str, float]:
    figures = {**row.metrics, "submission_seconds": row.submission_seconds}
    return figures if row.work is None else {**figures, "training_work": row.work}


def _place(spec: TrialSpec) -> dict[str, str | int]:
    return {name: getattr(spec, name) for name in ("submission", "workload", "study", "trial")}


def _scalar(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)


TRACKERS: Mapping[str, Callable[[Path], Tracker]] = {
    "tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WeightsAndBiases,
}  # fmt: skip
