"""What every workload must keep, whoever wrote it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from harness.spec import ForwardPassMode, LossType, ParameterType, Workload

STEPS = 20


class WorkloadContract:
    """Tests that a workload keeps the contract of `harness.spec.Workload`.

    Give a fixture `workload`: a new one for each test, whose data is there. Each test makes a few
    batches of up to half of the training examples, so hand over a workload of a small size.
    """

    def test_facts_are_stated_and_sane(self, workload: Workload) -> None:
        """Loss, goals, and a budget either in seconds or in steps."""
        assert isinstance(workload.loss_type, LossType)
        assert workload.summary
        assert "\n" not in workload.summary
        assert workload.goal.direction in ("min", "max")
        assert math.isfinite(workload.goal.target)
        assert ("test" in workload.splits) == (workload.test_goal is not None)
        assert workload.test_goal is None or math.isfinite(workload.test_goal.target)
        in_seconds = workload.max_allowed_runtime_sec is not None
        assert in_seconds == (workload.eval_period_time_sec is not None)
        assert in_seconds != (workload.budget_steps is not None)
        assert 0 < workload.train_batch_size <= workload.num_train_examples

    def test_every_parameter_has_a_type(self, workload: Workload) -> None:
        """By the names and in the order of the model's parameters."""
        model, _ = workload.init_model_fn(0)
        names = [name for name, _ in model.named_parameters()]
        assert list(workload.model_params_types) == names
        assert all(isinstance(kind, ParameterType) for kind in workload.model_params_types.values())

    def test_one_seed_repeats_and_two_differ(self, workload: Workload) -> None:
        """The model's initial weights follow from the seed."""
        first, again, other = (
            list(workload.init_model_fn(seed)[0].parameters()) for seed in ((1, 2), (1, 2), (1, 3))
        )
        assert all(map(torch.equal, first, again))
        assert not torch.equal(first[0], other[0])

    def test_initialisation_leaves_the_global_generators_alone(
        self, workload: Workload, monkeypatch: Any
    ) -> None:
        """Those of GPUs too: they are seeded by rank, so that ranks drop out other units."""
        on_gpus: list[int] = []
        monkeypatch.setattr(torch.cuda, "manual_seed_all", on_gpus.append)
        before = torch.random.get_rng_state()
        workload.init_model_fn(0)
        assert torch.equal(torch.random.get_rng_state(), before)
        assert on_gpus == []

    def test_a_batch_is_a_pure_function_of_seed_and_index(self, workload: Workload) -> None:
        """Batches repeat by seed; another seed and another epoch give others if it shuffles.

        A workload with a single example, such as a function to be minimised, has one batch.
        """
        if workload.num_train_examples == 1:
            return
        size = workload.num_train_examples // 2
        first, again, other = (
            workload.build_input_queue(seed, "train", size) for seed in (5, 5, 6)
        )
        batches = list(itertools.islice(first, 3))
        for batch, same in zip(batches, again, strict=False):
            assert all(map(torch.equal, tree_leaves(batch), tree_leaves(same)))
        assert _same(batches[0], next(other)) is not workload.is_shuffled
        next_epoch = batches[2]
        assert _same(batches[0], next_epoch) is not workload.is_shuffled

    def test_a_queue_can_start_at_any_batch(self, workload: Workload) -> None:
        """Within the first epoch, at its end, and in the next one."""
        if workload.num_train_examples == 1:
            return
        size = workload.num_train_examples // 3
        whole = list(itertools.islice(workload.build_input_queue(5, "train", size), 5))
        for start in (1, 3, 4):
            queue = workload.build_input_queue(5, "train", size, start=start)
            for batch, same in zip(whole[start : start + 2], queue, strict=False):
                assert all(map(torch.equal, tree_leaves(batch), tree_leaves(same)))

    def test_steps_on_one_batch_lower_its_loss(self, workload: Workload) -> None:
        """Adam learns it."""
        model, _ = workload.init_model_fn(0)
        batch = batch_of(workload)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        losses = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = loss_of(workload, model, batch)["summed"] / workload.train_batch_size
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]

    def test_evaluation_does_not_depend_on_its_batch_size_and_changes_nothing(
        self, workload: Workload
    ) -> None:
        """Neither weights, nor running statistics, nor the mode of the model."""
        model, _ = workload.init_model_fn(0)
        loss_of(workload, model, batch_of(workload))  # moves running statistics, if there are any
        before = {name: value.clone() for name, value in model.state_dict().items()}
        model.train()
        whole = workload.eval_model(model, None, "validation")
        workload.eval_batch_size = 37
        pieces = workload.eval_model(model, None, "validation")
        assert pieces.keys() == whole.keys()
        for name, value in whole.items():
            assert math.isclose(pieces[name], value, rel_tol=1e-5, abs_tol=1e-12), name
        assert workload.target_metric_name in whole
        assert model.training
        after = model.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())

    def test_evaluation_mode_gives_no_gradient_and_is_deterministic(
        self, workload: Workload
    ) -> None:
        """A rate of dropout changes nothing there."""
        model, _ = workload.init_model_fn(0)
        arguments = {
            "params": model, "augmented_and_preprocessed_input_batch": batch_of(workload),
            "model_state": None, "mode": ForwardPassMode.EVAL, "rng": (0, 0),
            "update_batch_norm": False,
        }  # fmt: skip
        first, _ = workload.model_fn(**arguments, dropout_rate=0.1)
        second, _ = workload.model_fn(**arguments)
        assert not any(logits.requires_grad for logits in tree_leaves(first))
        assert all(map(torch.equal, tree_leaves(first), tree_leaves(second)))
        assert not model.training


def batch_of(workload: Workload, seed: int = 0) -> Any:
    """A training batch of the workload's size."""
    return next(workload.build_input_queue(seed, "train", workload.train_batch_size))


def loss_of(workload: Workload, model: Any, batch: Any, **options: Any) -> dict[str, Tensor]:
    """What `loss_fn` says of a batch while training."""
    logits, _ = workload.model_fn(
        params=model, augmented_and_preprocessed_input_batch=batch, model_state=None,
        mode=ForwardPassMode.TRAIN, rng=(0, 0), update_batch_norm=True,
    )  # fmt: skip
    return workload.loss_fn(
        label_batch=batch["targets"],
        logits_batch=logits,
        mask_batch=batch.get("weights"),
        **options,
    )


def _same(batch: Any, other: Any) -> bool:
    return all(
        ours.shape == theirs.shape and torch.equal(ours, theirs)
        for ours, theirs in zip(tree_leaves(batch), tree_leaves(other), strict=True)
    )
