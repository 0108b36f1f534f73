"""ogbg: which of 128 assays a molecule is active in, from its graph."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np

from harness.spec import DataError
from workloads.ogbg import data, molecules
from workloads.ogbg.data import SPLITS
from workloads.ogbg.task import GraphWorkload
from workloads.parts import Part
from workloads.targets import read_targets


class Ogbg(GraphWorkload):
    """ogbg-molpcba (Hu et al. 2020) as AlgoPerf v0.6 defines the workload.

    As there: raw features without embedding tables, each bond as two directed edges, batches of a
    fixed size, SOFTMAX_CROSS_ENTROPY as loss type, label smoothing towards 1/128.

    Fixed: AlgoPerf's evaluation on several devices drops the last part of a split and repeats the
    first; here each graph is scored once, so that a score differs a little from AlgoPerf's there. A
    batch does not depend on the number of processes, while AlgoPerf fills one per device. An epoch
    is a full random permutation of the graphs, where AlgoPerf shuffles in a buffer of 32,768.
    """

    name = "ogbg"
    summary = "molecules as graphs, 128 assays (OGB's CSV files in --data-dir), graph network"
    suites: tuple[str, ...] = ("algoperf", "qualification")
    data_source = f"OGB's files: {data.WHERE}, unpacked"

    validation_target_value = 0.28098
    test_target_value = 0.268729
    max_allowed_runtime_sec = 12011.0
    eval_period_time_sec = 240.0
    step_hint = 52000
    compile_loss = True

    num_train_examples = 350343
    num_eval_train_examples = 43793
    num_validation_examples = 43793
    num_test_examples = 43793
    train_batch_size = 512
    eval_batch_size = 32768

    def arrays(self) -> Mapping[str, np.ndarray]:
        """What `data.parts` describes, memory-mapped."""
        arrays: dict[str, np.ndarray] = {}
        for part in self.parts():
            arrays |= self.read(part.name)
        return arrays

    def parts(self) -> list[Part]:
        """What is made of the CSV files, in ten seconds: 300 MB on disk."""
        return data.parts(data.find_files(self.files))

    def data_faults(self) -> list[str]:
        """What is missing, damaged or of another size than ogbg-molpcba's."""
        try:
            return self._uncommon_sizes() + super().data_faults()
        except DataError as error:
            return [str(error)]

    def _uncommon_sizes(self) -> list[str]:
        files = data.find_files(self.files)
        found = {split: data.count_graphs(files[split]) for split in SPLITS}
        return [
            f"{files[split]}: {found[split]:,} graphs, ogbg-molpcba has {count:,}"
            for split, count in self.sizes.items()
            if found[split] != count
        ]


class OgbgGelu(Ogbg):
    """ogbg with GELU (by tanh): v0.5 variant."""

    name = "ogbg_gelu"
    suites = ()
    validation_target_value = 0.27771
    test_target_value = 0.262926
    model_options: ClassVar[dict[str, Any]] = {"activation": "gelu"}


class OgbgSilu(Ogbg):
    """ogbg with SiLU: v0.5 variant."""

    name = "ogbg_silu"
    suites = ()
    validation_target_value = 0.282178
    test_target_value = 0.272144
    model_options: ClassVar[dict[str, Any]] = {"activation": "silu"}


class OgbgModelSize(Ogbg):
    """ogbg with narrower embeddings, deeper updates and fewer steps: held out in v0.5."""

    name = "ogbg_model_size"
    suites = ()
    validation_target_value = 0.269446
    test_target_value = 0.253051
    model_options: ClassVar[dict[str, Any]] = {"latent": 128, "hidden": (256, 256), "steps": 3}


class OgbgMini(GraphWorkload):
    """The same on random molecules whose labels are properties of the graph, with a small model."""

    name = "ogbg_mini"
    summary = "random molecules as graphs, 16 properties (made here), small graph network"
    suites = ("mini",)
    validation_target_value, test_target_value = read_targets(__file__, name)
    dropout_rate = 0.0  # the model is too small to overfit
    nodes_per_graph, edges_per_graph = 13, 28
    model_options: ClassVar[dict[str, Any]] = {
        "outputs": len(molecules.TASKS), "latent": 32, "hidden": (32,), "steps": 2,
    }  # fmt: skip

    budget_steps = 2400
    eval_period_steps = 100
    step_hint = 2400

    num_train_examples = 2048
    num_eval_train_examples = 256
    num_validation_examples = 512
    num_test_examples = 512
    train_batch_size = 32
    eval_batch_size = 512

    def arrays(self) -> Mapping[str, np.ndarray]:
        """The molecules, and the numbers of each split's."""
        *ends, count = np.cumsum(list(self.sizes.values()))
        splits = np.split(np.arange(count), ends)
        return self.read("molecules") | dict(zip(self.sizes, splits, strict=True))

    def parts(self) -> list[Part]:
        """The molecules, made in a second or two."""
        count = sum(self.sizes.values())
        make = partial(molecules.make, count, seed=0)
        return [Part("molecules", f"{molecules.RECIPE}, {count}", make)]
