"""mnist's files, written once a session."""

import pytest

from tests.fixtures.mnist import write_mnist


@pytest.fixture(scope="session")
def mnist_dir(tmp_path_factory):
    return write_mnist(tmp_path_factory.mktemp("mnist"))
