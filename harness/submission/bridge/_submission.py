"""Imports the submission in processes that it starts, in the same way as in this process.

An object that a submission pickles for a process that does not inherit its modules, for example
one started by "spawn", refers to the module `_submission`. That process finds this module on its
import path, and this module replaces itself by the submission.
"""

import os
from pathlib import Path

from harness.submission.imports import FILE_VARIABLE, import_submission

import_submission(Path(os.environ[FILE_VARIABLE]))
