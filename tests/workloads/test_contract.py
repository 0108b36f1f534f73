"""What every workload must keep, whoever wrote it."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

import workloads
from harness.spec import ForwardPassMode, ParameterType
from harness.testing import WorkloadContract
from harness.testing.workload import batch_of, loss_of
from tests.fixtures import small
from workloads.arrays import ArrayWorkload

# the others need their data and a large machine
SMALL = [*small.SMALL, *workloads.suite("classic")]
IN_STEPS = {*SMALL, "nanogpt_track3"} - {"mnist"}
BY_TOKEN = ("finewebedu_lm_mini", "nanogpt_track3_mini")  # whose examples are tokens
ARRAYS = [name for name in SMALL if isinstance(workloads.get(name), ArrayWorkload)]


@pytest.fixture(params=SMALL)
def workload(request, mnist_dir):
    return workloads.get(request.param, data_dir=mnist_dir)


@pytest.fixture(params=ARRAYS)
def of_arrays(request, mnist_dir):
    return workloads.get(request.param, data_dir=mnist_dir)


class TestWorkloads(WorkloadContract):
    """What is published for authors of plugins, on each of ours."""


def leaves(batch):
    """Every tensor of a batch, or of logits."""
    return tree_leaves(batch)


@pytest.mark.parametrize("name", workloads.names())
def test_facts_are_stated_and_sane(name):
    workload = workloads.get(name)
    WorkloadContract().test_facts_are_stated_and_sane(workload)
    in_seconds = workload.max_allowed_runtime_sec is not None
    assert in_seconds == (name not in IN_STEPS)


def test_variants_know_what_they_vary():
    bases = {name: workloads.get(name).base_name for name in workloads.names()}
    assert bases["ogbg_model_size"] == bases["ogbg"] == "ogbg"
    assert bases["imagenet_vit_glu"] == "imagenet_vit"
    assert bases["librispeech_deepspeech_norm_and_spec_aug"] == "librispeech_deepspeech"
    assert all(bases[name] == name for name in SMALL)
    assert all(name.startswith(base) for name, base in bases.items())


def test_cudnn_chooses_algorithms_by_trying_them_except_where_algoperf_does_not():
    without = ("criteo1tb", "librispeech_conformer")  # variants and minis too
    for name in workloads.names():
        assert workloads.get(name).cudnn_benchmark is not name.startswith(without), name


@pytest.mark.parametrize("name", workloads.names())
def test_every_parameter_has_a_type_and_the_head_is_known(name):
    workload = workloads.get(name)
    with torch.device("meta"):
        names = [name for name, _ in workload.build_model().named_parameters()]
    assert list(workload.model_params_types) == names
    assert all(isinstance(t, ParameterType) for t in workload.model_params_types.values())
    heads = [name for name in names if workload.is_output_params(name)]
    assert bool(heads) != name.startswith("finewebedu_lm")  # whose head is tied, as in AlgoPerf


def test_suites_hold_what_they_should():
    official = [
        "criteo1tb", "fastmri", "finewebedu_lm", "imagenet_resnet", "imagenet_vit",
        "librispeech_conformer", "librispeech_deepspeech", "ogbg", "wmt",
    ]  # fmt: skip
    assert workloads.suite("algoperf") == official
    assert workloads.suite("qualification") == ["criteo1tb", "ogbg", "wmt"]
    noisy = {"criteo1tb", "imagenet_resnet", "librispeech_conformer"}
    minis = {f"{name}_mini" for name in {*official, "cifar", "nanogpt"} - noisy}
    assert set(workloads.suite("mini")) == minis | set(workloads.suite("demo"))


def test_sizes_are_those_of_the_data(of_arrays):
    of_arrays.check_data()
    for split, count in of_arrays.sizes.items():
        examples = of_arrays.examples[split]
        assert len(examples) == len(examples["inputs"]) == len(examples["targets"]) == count


def test_an_epoch_holds_every_example_at_most_once(of_arrays):
    size = of_arrays.train_batch_size
    per_epoch = of_arrays.num_train_examples // size
    queue = of_arrays.build_input_queue(0, "train", size)
    seen = torch.cat([batch["inputs"] for batch in itertools.islice(queue, min(per_epoch, 200))])
    distinct = {row.tobytes() for row in seen.flatten(1).numpy()}
    everything = of_arrays.examples["train"]["inputs"]
    twins = len(everything) - len({row.tobytes() for row in everything.flatten(1).numpy()})
    assert len(seen) - twins <= len(distinct) <= len(seen)


def test_loss_is_the_mean_of_its_examples_and_masks_leave_examples_out(of_arrays):
    model, _ = of_arrays.init_model_fn(0)
    batch = batch_of(of_arrays)
    loss = loss_of(of_arrays, model, batch)
    by_token = of_arrays.name in BY_TOKEN
    shape = batch["targets"].shape if by_token else (of_arrays.train_batch_size,)
    assert loss["per_example"].shape == shape
    assert loss["n_valid_examples"].item() == math.prod(shape)
    torch.testing.assert_close(loss["summed"], loss["per_example"].sum())
    mask = torch.zeros(shape)
    mask[:3] = 1
    masked = loss_of(of_arrays, model, {**batch, "weights": mask})
    assert masked["n_valid_examples"].item() == mask.sum()
    torch.testing.assert_close(masked["summed"], loss["per_example"][:3].sum())
    none = loss_of(of_arrays, model, {**batch, "weights": torch.zeros_like(mask)})
    assert (none["n_valid_examples"].item(), none["summed"].item()) == (0, 0)


def training_logits(workload, model, batch, **options):
    with torch.no_grad():  # heads start at zero
        for parameter in model.parameters():
            parameter.add_(0.05)
    torch.manual_seed(0)
    logits, _ = workload.model_fn(
        params=model, augmented_and_preprocessed_input_batch=batch, model_state=None,
        mode=ForwardPassMode.TRAIN, rng=(0, 0), update_batch_norm=True, **options,
    )  # fmt: skip
    return leaves(logits)


def test_dropout_may_be_given_when_the_model_is_made(workload):
    batch = batch_of(workload)
    if workload.dropout_rate is None:
        pytest.skip("no dropout")
    plain = training_logits(workload, workload.init_model_fn(0)[0], batch)
    given = training_logits(workload, workload.init_model_fn(0)[0], batch, dropout_rate=0.5)
    assert not all(map(torch.equal, plain, given))
    workload.init_model_fn(0, 0.5, 0.5)
    at_init = training_logits(workload, workload.init_model_fn(0)[0], batch)
    assert all(map(torch.equal, given, at_init))


def test_auxiliary_dropout_is_of_speech_input_and_of_attention_in_translation(workload):
    batch = batch_of(workload)
    plain = training_logits(workload, workload.init_model_fn(0)[0], batch)
    at_init = training_logits(workload, workload.init_model_fn(0, None, 0.5)[0], batch)
    kinds = ("librispeech", "wmt")
    assert all(map(torch.equal, plain, at_init)) == (not workload.name.startswith(kinds))


def test_metrics_equal_a_plain_loop_over_the_split(of_arrays):
    model, _ = of_arrays.init_model_fn(0)
    model.eval()
    split = of_arrays.splits[-1]
    examples = of_arrays.examples[split]
    inputs, targets = examples["inputs"], examples["targets"]
    with torch.no_grad():
        logits = torch.cat([model(x[None]) for x in inputs[:500]])
    losses = of_arrays.loss_fn(label_batch=targets[:500], logits_batch=logits)["per_example"]
    if len(inputs) <= 500:
        expected = np.mean(losses.double().numpy())
        assert of_arrays.eval_model(model, None, split)["loss"] == pytest.approx(expected, rel=1e-5)


def test_unknown_names_are_refused_with_a_hint():
    with pytest.raises(workloads.WorkloadNotFoundError, match="Did you mean 'digits'"):
        workloads.get("digit")
    with pytest.raises(workloads.WorkloadNotFoundError, match="There are: algoperf, classic, demo"):
        workloads.suite("huge")


def test_the_demo_suite_has_three_loss_types():
    members = [workloads.get(name) for name in workloads.suite("demo")]
    assert len({workload.loss_type for workload in members}) == 3
