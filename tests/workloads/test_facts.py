"""AlgoPerf's workloads, held against what was measured on AlgoPerf itself.

The table lies beside the repository and is no part of it; where it is absent these tests skip.
"""

import json
from pathlib import Path

import pytest
import torch

import workloads
from workloads.criteo1tb.data import BUCKETS

FILE = Path(__file__).parents[3] / "shared" / "facts" / "workloads.json"
FACTS = json.loads(FILE.read_text()) if FILE.is_file() else {"workloads": {}, "variants": {}}
OFFICIAL = [name for name in FACTS["workloads"] if name in workloads.names()]
VARIANTS = [name for name in FACTS["variants"] if name in workloads.names()]
NUMBERS = [
    *(f"num_{split}_examples" for split in ("train", "eval_train", "validation", "test")),
    "eval_batch_size", "step_hint", "max_allowed_runtime_sec", "eval_period_time_sec",
    "validation_target_value", "test_target_value", "target_metric_name",
]  # fmt: skip
OTHERWISE = {  # what is done differently here, and named in the workload's docstring
    ("wmt_attention_temp", "test_target_value"),  # a typo there
}

pytestmark = pytest.mark.skipif(not FILE.is_file(), reason=f"no {FILE}")


def on_meta(workload):
    with torch.device("meta"):
        return workload.build_model()


def types_of(workload):
    return {name: kind.name for name, kind in workload.model_params_types.items()}


def test_nothing_official_is_left_out():
    assert set(FACTS["workloads"]) == set(OFFICIAL)
    assert set(FACTS["variants"]) - set(VARIANTS) == {"criteo1tb_test"}  # for its development


@pytest.mark.parametrize("name", OFFICIAL)
def test_parameters_and_buffers_have_the_official_names_shapes_and_types(name):
    facts, workload = FACTS["workloads"][name], workloads.get(name)
    model = on_meta(workload)
    shapes = {name: list(p.shape) for name, p in model.named_parameters()}
    assert list(shapes.items()) == list(facts["param_shapes"].items())
    assert types_of(workload) == facts["param_types"]
    state = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert {n: shape for n, shape in state.items() if n not in shapes} == facts["buffers"]
    heads = [name for name in shapes if workload.is_output_params(name)]
    assert heads == facts["output_params_per_api"]


def test_hash_buckets_of_criteo1tb_are_the_official_ones():
    assert list(BUCKETS) == FACTS["workloads"]["criteo1tb"]["hash_vocab"]


@pytest.mark.parametrize("name", [*OFFICIAL, *VARIANTS])
def test_sizes_and_rules_are_the_official_ones(name):
    facts = FACTS["workloads"].get(name) or FACTS["variants"][name]
    workload = workloads.get(name)
    assert sum(p.numel() for p in on_meta(workload).parameters()) == facts["total_params"]
    types = list(types_of(workload).values())
    assert {kind: types.count(kind) for kind in types} == facts["param_type_counts"]
    if "loss_type" in facts:
        assert workload.loss_type.name == facts["loss_type"]
        assert workload.dropout_rate == facts["default_dropout"]
    for fact in NUMBERS:
        if fact in facts and (name, fact) not in OTHERWISE:
            assert getattr(workload, fact) == pytest.approx(facts[fact]), fact
