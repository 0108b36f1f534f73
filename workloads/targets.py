"""The targets of workloads that `chronograd calibrate` has set."""

from __future__ import annotations

import json
import math
from pathlib import Path


def read_targets(workload_file: str, name: str) -> tuple[float, float | None]:
    """The validation and test targets in the file NAME.target.json beside a workload's module.

    `chronograd calibrate` writes that file; it also says how the targets were found. Before the
    first calibration there is none, and the targets are NaN, which no trial meets.
    """
    file = Path(workload_file).with_name(f"{name}.target.json")
    if not file.is_file():
        return math.nan, math.nan
    targets = json.loads(file.read_text(encoding="utf-8"))
    return targets["validation_target"], targets["test_target"]
