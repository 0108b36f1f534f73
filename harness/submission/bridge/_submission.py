"""The submission, for processes that it starts: imports it there as it was imported here.

What a submission pickles for a process that does not inherit its modules, as by the start method
"spawn", names the module `_submission`. Such a process finds this one, on the import path that it
is given, and has the submission in its place.
"""

import os
from pathlib import Path

from harness.submission.imports import FILE_VARIABLE, import_submission

import_submission(Path(os.environ[FILE_VARIABLE]))
