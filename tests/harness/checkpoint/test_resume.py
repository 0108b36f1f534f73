"""Exact resume: an interrupted trial that resumes from its checkpoint gives identical rows.

On the step clock, in this process; `test_cluster.py` kills real ones.
"""

import itertools
import math
import shutil
from dataclasses import replace

import pytest
import torch

import workloads
from harness.checkpoint.authentication import Place
from harness.submission import loading
from harness.submission.files import runs_on
from harness.submission.search_space import load
from harness.trial.attempt import Attempt, run_attempt
from harness.trial.messages import Loaded, Measured, NotRestored, NotResumable
from scoring.records import Status
from scoring.tree import SEARCH_SPACE_FILE
from tests.fixtures.mnist import write_mnist
from tests.fixtures.small import SMALL
from tests.fixtures.toy import make_spec

SUBMISSIONS = sorted(
    str(folder.relative_to(loading.library()))
    for kind in ("external_tuning", "self_tuning")
    for folder in (loading.library() / kind).glob("*/")
    if (folder / "submission.py").is_file()
)
LONG = (
    "finewebedu_lm_mini", "imagenet_resnet_mini", "imagenet_vit_mini", "librispeech_conformer_mini",
    "librispeech_deepspeech_mini", "mnist", "nanogpt_mini", "nanogpt_track3_mini", "wmt_mini",
)  # fmt: skip


class CutOffError(BaseException):
    """Ends an attempt as the loss of its process would."""


def spec_of(name, workload_name, data_dir=None, steps=24, **changes):
    folder = loading.find(name)
    external = (folder / SEARCH_SPACE_FILE).is_file()
    point = load(folder / SEARCH_SPACE_FILE).points(0, 1, 1)[0][0] if external else None
    workload = workloads.get(workload_name, data_dir)
    return make_spec(
        submission=name, submission_path=str(folder), workload=workload_name,
        tuning="external" if external else "self", hyperparameters=point,
        goal=workload.goal, test_goal=workload.test_goal, data_dir=data_dir, until="budget",
        step_hint=steps, max_steps=steps, clock="steps", step_seconds=1.0,
        eval_period_seconds=steps / 4, budget_seconds=10.0 * steps, **changes,
    )  # fmt: skip


def cut_off_after(rows):
    """Returns a receiver of messages that raises CutOffError at the row after `rows`."""
    count = itertools.count(1)

    def take(message):
        if isinstance(message, Measured) and next(count) > rows:
            raise CutOffError

    return take


def place_of(folder, attempt=1):
    return Place(str(folder), "tree/trial", bytes(32), attempt)


def with_few_evaluated(*arguments):
    """Returns a workload that evaluates 16 examples, as evaluations dominate short trials."""
    workload = workloads.get(*arguments)
    count_of = workload.eval_count
    workload.eval_count = lambda split, count: min(16, count_of(split, count))
    return workload


def run_in_pieces(spec, folder, rows, load_workload=workloads.get):
    """Runs a trial, interrupted after every `rows` evaluations; each attempt resumes."""
    refused = []
    for attempt in range(1, 20):
        cut = cut_off_after(rows)

        def send(message, cut=cut):
            if isinstance(message, NotResumable | NotRestored):
                refused.append(message.reason)
            cut(message)

        try:
            control = Attempt(send, place_of(folder, attempt))
            return run_attempt(load_workload, spec, control), attempt
        except CutOffError:
            assert not refused
            torch.manual_seed(attempt)  # another process's generator would differ too
    raise AssertionError("the trial makes no progress")


def assert_same_rows(expected, pieces):
    assert expected.status is pieces.status is Status.STEP_LIMIT, pieces.traceback
    assert expected.rows == pieces.rows
    assert (expected.global_step, expected.submission_seconds) == (
        pieces.global_step, pieces.submission_seconds,
    )  # fmt: skip


@pytest.mark.parametrize("name", SUBMISSIONS)
def test_every_submission_resumes_exactly(name, tmp_path):
    suited = runs_on(loading.library() / name)
    if suited is None:
        spec = spec_of(name, "digits")
    else:  # it learns from all examples, so a step costs many seconds and precedes an evaluation
        spec = replace(spec_of(name, suited.workloads[0], steps=12), budget_seconds=math.inf)
    expected = run_attempt(with_few_evaluated, spec)
    pieces, attempts = run_in_pieces(spec, tmp_path, 3, with_few_evaluated)
    assert attempts > 1
    assert_same_rows(expected, pieces)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in SMALL]
)
def test_every_small_workload_resumes_exactly(name, tmp_path):
    data = str(write_mnist(tmp_path / "data")) if name == "mnist" else None
    spec = spec_of("nadamw", name, data, steps=8)
    expected = run_attempt(with_few_evaluated, spec)
    pieces, attempts = run_in_pieces(spec, tmp_path / "checkpoints", 2, with_few_evaluated)
    assert attempts > 1
    assert_same_rows(expected, pieces)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, scheme):
    place = place_of(f"{scheme}{tmp_path}")
    spec = spec_of("adamw", "diabetes")
    expected = run_attempt(workloads.get, spec)
    with pytest.raises(CutOffError):
        run_attempt(workloads.get, spec, Attempt(cut_off_after(3), place))
    older, newer = sorted(tmp_path.glob("*.state.*"))
    assert (older.name[:12], newer.name[:12]) == ("000000000007", "000000000013")
    content = newer.read_bytes()
    newer.write_bytes(content[: len(content) // 2])
    messages = []
    again = run_attempt(workloads.get, spec, Attempt(messages.append, place))
    loaded, refused, resumed, measured, *_ = messages
    assert loaded == Loaded()
    assert "step 13 does not verify" in refused.reason
    assert [row.global_step for row in resumed.rows] == [1, 7]
    assert measured.row.global_step == 13
    assert_same_rows(expected, again)
    shutil.rmtree(tmp_path)
    assert_same_rows(expected, run_attempt(workloads.get, spec, Attempt(checkpoints=place)))
