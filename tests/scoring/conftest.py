"""What the tests of scoring share."""

import os

import pytest


@pytest.fixture(autouse=True, scope="package")
def files_are_not_synced():
    """Lets the disk write when it likes: these tests leave thousands of files and no power fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield
