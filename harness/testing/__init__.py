"""The contracts of workloads and submissions as tests, for authors of plugins.

In a test file of yours (pytest finds the class by its name `Test...`):

    import pytest
    from harness.testing import SubmissionContract, WorkloadContract

    class TestMyWorkload(WorkloadContract):
        @pytest.fixture
        def workload(self):
            return MyWorkload(data_dir="data")

    class TestMySubmission(SubmissionContract):
        @pytest.fixture
        def submission(self):
            return "./my_optimizer"

Imports `commands.check`, `submission`, `spec`, torch and `workloads`, and no pytest.
"""

from harness.testing.submission import SubmissionContract
from harness.testing.workload import WorkloadContract

__all__ = ["SubmissionContract", "WorkloadContract"]
