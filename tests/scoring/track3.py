"""Logs in the format of modded-nanogpt's track 3, for the tests."""

from pathlib import Path

RULE = "=" * 100
HEADER = "Running PyTorch 2.11.0 compiled for CUDA 12.8 on NVIDIA H100 80GB HBM3"
# A source with what a reader may take for a log: its own rule, and a line of an earlier run
SOURCE = f'"""\nstep:125/3350 val_loss:9.9 train_time:1s step_avg:1ms\n"""\nprint("{RULE}")\n'


def evaluation(step: int, loss: float | str, planned: int = 3350, seconds: float = 0.0) -> str:
    loss = loss if isinstance(loss, str) else f"{loss:.5f}"
    seconds = seconds or step * 0.15
    return f"step:{step}/{planned} val_loss:{loss} train_time:{seconds:.3f}s step_avg:150.00ms\n"


def run_lines(losses: dict[int, float | str], planned: int | None = None) -> str:
    """The lines of one run from {step: loss}."""
    planned = planned or max(losses)
    return "".join(evaluation(step, loss, planned) for step, loss in losses.items())


def log_text(*runs: dict[int, float | str] | str, source: str = SOURCE) -> str:
    """A log with several runs, each from {step: loss} or as its lines."""
    lines = "".join(run if isinstance(run, str) else run_lines(run) for run in runs)
    return f"{source}\n{RULE}\n{HEADER}\n{RULE}\n{lines}"


def first_line(source: str = SOURCE) -> int:
    """The line of the first evaluation in a log."""
    return source.count("\n") + 5


def curve(final: float, stop: int = 3350, worth: float = 4.5e-5) -> dict[int, float | str]:
    """A run that ends at `stop` with the loss `final`, evaluated at some steps before."""
    steps = [*range(0, stop - 100, 125), stop - 50, stop - 25, stop]
    return {step: final + worth * (stop - step) * (1 + (stop - step) / 500) for step in steps}


def write_log(path: Path, *runs: dict[int, float | str] | str, source: str = SOURCE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(log_text(*runs, source=source))
    return path
