"""The published contracts let good plugins pass and name what breaks bad ones."""

import subprocess
import sys

import pytest

import workloads
from harness.testing import SubmissionContract, WorkloadContract
from tests.fixtures.faults import write_submission

PLUGIN = """
import pytest
import workloads
from harness.testing import SubmissionContract, WorkloadContract

class TestMine(WorkloadContract):
    @pytest.fixture
    def workload(self):
        found = workloads.get("diabetes")
        queue = found.build_input_queue
        found.build_input_queue = lambda rng, split, size, start=0: queue(rng, split, size)
        return found
"""


def test_pytest_finds_them_in_somebodys_file(tmp_path):
    (tmp_path / "test_mine.py").write_text(PLUGIN)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "test_mine.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 failed, 8 passed" in done.stdout, done.stdout + done.stderr
    assert "test_a_queue_can_start_at_any_batch" in done.stdout


def test_a_workload_whose_evaluation_trains_is_noticed():
    workload = workloads.get("diabetes")
    evaluate = workload.eval_model

    def eval_model(params, model_state, split):
        next(params.parameters()).data.add_(1.0)
        return evaluate(params, model_state, split)

    workload.eval_model = eval_model
    contract = WorkloadContract()
    with pytest.raises(AssertionError):
        contract.test_evaluation_does_not_depend_on_its_batch_size_and_changes_nothing(workload)


def test_a_submission_is_checked_as_by_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(workloads, "names", lambda: ["digits", "wmt"])  # that it may know
    contract = SubmissionContract()
    contract.test_the_contract_is_kept(write_submission(tmp_path, "well_behaved"))
    with pytest.raises(AssertionError, match=r"trains for 160 steps .* I cannot continue.*; fix: "):
        contract.test_the_contract_is_kept(write_submission(tmp_path, "raises"))
