"""Batches that a thread makes ahead: their order, errors, end, and the device of the thread."""

import itertools
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

import workloads
from harness.spec import DataError
from harness.submission import loading
from harness.trial.attempt import run_attempt
from scoring.records import Failure, Status
from tests.fixtures import criteo1tb, fastmri
from tests.harness.checkpoint.test_resume import assert_same_rows, run_in_pieces, spec_of
from workloads.criteo1tb.click_log import ClickLog
from workloads.criteo1tb.task import ClickThroughRates
from workloads.parts import Rows
from workloads.prefetch import on_device, read_ahead

CPU = torch.device("cpu")


def reading_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("read ahead")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert reading_threads() == []


@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_batches_come_in_order_up_to_the_last(count):
    assert list(read_ahead(iter(range(20)), count, CPU)) == list(range(20))


def test_so_many_batches_are_made_ahead_and_no_more():
    made, waiting = [], threading.Semaphore(0)

    def batches():
        for number in itertools.count():
            made.append((number, threading.current_thread()))
            waiting.release()
            yield number

    queue = read_ahead(batches(), 3, CPU)
    assert made == []  # the thread starts with the first batch
    for taken in range(1, 5):
        assert next(queue) == taken - 1
        for _ in range(4 if taken == 1 else 1):
            assert waiting.acquire(timeout=60)
    queue.close()
    assert [number for number, _ in made] == list(range(7))
    assert threading.current_thread() not in {thread for _, thread in made}


def test_an_error_is_raised_where_its_batch_is_taken():
    def batches():
        yield from range(3)
        raise DataError("day_5_02: cannot be read")

    queue = read_ahead(batches(), 10, CPU)
    assert [next(queue) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="day_5_02"):
        next(queue)
    assert next(queue, "over") == "over"


@pytest.mark.parametrize("end", ["close", "drop"])
def test_the_thread_ends_with_the_iterator(end):
    queue = read_ahead(itertools.count(), 2, CPU)
    next(queue)
    assert len(reading_threads()) == 1
    if end == "close":
        queue.close()
    else:
        del queue
    assert reading_threads() == []


def test_the_thread_uses_the_gpu_of_the_training(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(
        torch.cuda,
        "set_device",
        lambda index: chosen.append((index, threading.current_thread().name)),
    )
    queue = read_ahead(itertools.count(), 2, torch.device("cuda"))
    assert next(queue) == 0
    assert chosen == [(3, "read ahead_0")]
    queue.close()


def test_arrays_get_to_the_device_with_their_type_and_values():
    for array in (np.arange(6).reshape(2, 3), np.ones(4, np.float32), np.zeros((0, 2), np.uint8)):
        tensor = on_device(array, CPU)
        assert tensor.dtype == torch.from_numpy(array).dtype
        assert np.array_equal(tensor.numpy(), array)


# --- the workloads ---------------------------------------------------------------------------


def test_workloads_that_read_files_read_ahead_and_the_others_need_not():
    ahead = {name for name in workloads.names() if workloads.get(name).read_ahead}
    families = {workloads.get(name).base_name for name in ahead}
    assert families == {
        "criteo1tb", "fastmri", "finewebedu_lm", "librispeech_conformer", "librispeech_deepspeech",
        "nanogpt", "nanogpt_track3", "wmt",
    }  # fmt: skip


@pytest.fixture(scope="module", params=["criteo1tb", "fastmri"])
def from_files(request, tmp_path_factory):
    """A workload's name, and the folder of its prepared files."""
    write = {"criteo1tb": criteo1tb.write_files, "fastmri": fastmri.write_files}[request.param]
    folder = write(tmp_path_factory.mktemp("files") / "data")
    workloads.get(request.param, folder).prepare_data()
    return request.param, folder


def test_reading_ahead_changes_no_bit_of_any_batch(from_files):
    workload = workloads.get(*from_files)

    def leaves(start):
        queue = workload.build_input_queue(5, "train", 4, start=start)
        return tree_leaves(list(itertools.islice(queue, 40 - start)))

    workload.read_ahead = 0
    whole, rest = leaves(0), leaves(17)
    for workload.read_ahead in (1, 10):
        for alone, ahead in ((whole, leaves(0)), (rest, leaves(17))):
            assert len(alone) == len(ahead)
            assert all(map(torch.equal, alone, ahead))


def test_files_are_read_outside_the_training_thread(from_files, monkeypatch):
    workload = workloads.get(*from_files)
    owner, name = {"criteo1tb": (ClickLog, "lines"), "fastmri": (Rows, "take")}[workload.name]
    read, threads = getattr(owner, name), set()

    def spied(self, *arguments):
        threads.add(threading.current_thread())
        return read(self, *arguments)

    monkeypatch.setattr(owner, name, spied)
    queue = workload.build_input_queue(5, "train", 4)
    next(queue)
    queue.close()
    assert threads
    assert threading.current_thread() not in threads


# --- trials ----------------------------------------------------------------------------------


@pytest.fixture
def reading_ahead(monkeypatch):
    """Makes the mini of criteo1tb read ahead, as the official one does."""
    monkeypatch.setattr(ClickThroughRates, "read_ahead", 10)


def test_a_trial_that_reads_ahead_resumes_exactly_and_ends_its_thread(tmp_path, monkeypatch):
    spec = spec_of("nadamw", "criteo1tb_mini", steps=8)
    alone = run_attempt(workloads.get, spec)
    monkeypatch.setattr(ClickThroughRates, "read_ahead", 10)
    whole = run_attempt(workloads.get, spec)
    assert reading_threads() == []
    pieces, attempts = run_in_pieces(spec, tmp_path, rows=2)
    assert attempts > 1
    assert alone.rows == whole.rows
    assert_same_rows(whole, pieces)


def test_the_thread_ends_with_a_trial_whose_submission_fails_and_keeps_the_queue(
    reading_ahead, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "kept", [], raising=False)
    text = (loading.find("nadamw") / "submission.py").read_text()
    text += """
import sys
select, update = data_selection, update_params
def data_selection(workload, input_queue, *others):
    sys.kept.append(input_queue)
    return select(workload, input_queue, *others)
def update_params(*, global_step, **arguments):
    if global_step == 3:
        raise RuntimeError("no more")
    return update(global_step=global_step, **arguments)
"""
    (tmp_path / "submission.py").write_text(text)
    spec = replace(spec_of("nadamw", "criteo1tb_mini", steps=8), submission_path=str(tmp_path))
    result = run_attempt(workloads.get, spec)
    line = 1 + text.splitlines().index('        raise RuntimeError("no more")')
    place = f"submission.py:{line} in update_params"
    assert result.message == f"RuntimeError: no more, at {place}", result.traceback
    assert len(sys.kept) == 4
    assert reading_threads() == []


def test_what_the_thread_cannot_read_fails_the_trial_as_its_data(reading_ahead, monkeypatch):
    read, batches = ClickLog.lines, itertools.count()

    def damaged(self, start, stop):
        if threading.current_thread() in reading_threads() and next(batches) == 5:
            raise OSError("Input/output error")
        return read(self, start, stop)

    monkeypatch.setattr(ClickLog, "lines", damaged)
    result = run_attempt(workloads.get, spec_of("nadamw", "criteo1tb_mini", steps=8))
    assert (result.status, result.failure) == (Status.FAILED, Failure.DATA_ERROR)
    assert "the input pipeline failed: OSError: Input/output error" in result.message
    assert result.global_step == 6
    assert reading_threads() == []
