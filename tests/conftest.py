"""What every test needs: one thread, no usage statistics, an environment that does not leak."""

import os

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from hypothesis import settings

settings.register_profile("chronograd", deadline=None)  # machines are noisy
settings.load_profile("chronograd")


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_tests(tmp_path_factory):
    """Data that the project makes goes into a folder of the session, not into the user's cache."""
    os.environ["CHRONOGRAD_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def environment_is_kept():
    """Restores what a test changed in the environment, as trials do on purpose."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
