"""Writes constraints.txt: what pip installs today for chronograd[cluster], every package pinned."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docker" / "constraints.txt"
HEAD = """\
# Every package of the images, at the version that was tested. All nodes of a cluster must run one
# version of Ray; rayjob.yaml names it too. The packages of CUDA are pinned by torch itself.
# Written by docker/pin.py.
"""

pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
report = subprocess.run(
    [*pip, "--report", "-", f"{ROOT}[cluster]"], stdout=subprocess.PIPE, check=True
)
found = {
    entry["metadata"]["name"].lower().replace("_", "-"): entry["metadata"]["version"].split("+")[0]
    for entry in json.loads(report.stdout)["install"]
}
found.pop("chronograd")
pins = [f"{name}=={version}\n" for name, version in sorted(found.items())]
FILE.write_text(HEAD + "".join(pins))
