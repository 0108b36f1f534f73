"""The Ray cluster of the tests, one for all: a process that had one of its own joins no other."""

import pytest


@pytest.fixture(scope="session")
def address():
    """A cluster to join: two CPUs and two GPUs that are not there."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        head = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 2, "num_gpus": 2, "include_dashboard": False},
        )
    yield head.address
    head.shutdown()
