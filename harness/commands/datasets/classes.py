"""The classes of ILSVRC-2012's validation images, which their archive does not sort."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path, PurePosixPath

from harness.spec import DataError

_MOST_BYTES = 64 * 2**20  # of a file that is read
Folders = dict[str, str]  # the folder of each file that is sorted into one


def ground_truth(archive: Path) -> Folders:
    """The folder (WordNet name) of each validation image, from ILSVRC-2012's development kit.

    Raises:
        DataError: It is damaged.
    """
    from scipy.io import loadmat

    wanted = {"meta.mat": b"", "ILSVRC2012_validation_ground_truth.txt": b""}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                if name in wanted and member.isreg() and member.size < _MOST_BYTES:
                    content = tar.extractfile(member)
                    wanted[name] = content.read() if content else b""
        synsets = loadmat(io.BytesIO(wanted["meta.mat"]), squeeze_me=True)["synsets"]
        names = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
        numbers = [int(line) for line in wanted["ILSVRC2012_validation_ground_truth.txt"].split()]
        folders = [names[number] for number in numbers]
    except Exception as error:  # noqa: BLE001 - loadmat raises anything for damaged files
        raise DataError(f"{archive}: is not ILSVRC-2012's development kit ({error})") from None
    if not all(re.fullmatch(r"n\d{8}", folder) for folder in folders):
        raise DataError(f"{archive}: names classes that are no WordNet names")
    return {
        f"ILSVRC2012_val_{number:08}.JPEG": folder for number, folder in enumerate(folders, start=1)
    }
