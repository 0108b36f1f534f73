"""What an optimizer may do with the closure that the recipe hands it."""

from types import SimpleNamespace

import pytest
import torch

import workloads
from submissions import recipe, schedules


class Asking(torch.optim.SGD):
    """Calls the closure as its script says and keeps what comes."""

    script = ()

    def step(self, closure):
        self.losses, self.grads = [], []
        for backward in self.script:
            with torch.set_grad_enabled(backward):
                self.losses.append(closure() if backward else closure(backward=False))
            self.grads.append([p.grad.clone() for p in self.param_groups[0]["params"]])
        return super().step()


def one_step(make_optimizer, hyperparameters, workload_name="digits"):
    """One update; returns the optimizer, the model and the batch."""
    workload = workloads.get(workload_name)
    functions = recipe.submission(make_optimizer, schedules.none)
    model, _ = workload.init_model_fn([1, 2])
    batch = next(workload.build_input_queue([1, 2], "train", workload.train_batch_size))
    point = SimpleNamespace(**hyperparameters)
    state = functions.init_optimizer_state(workload, model, None, point, None)
    functions.update_params(
        workload, model, {}, None, point, batch, workload.loss_type, state, [], 0, None
    )
    return state["optimizer"], model, batch


@pytest.mark.parametrize("clip", [None, 1e-3])
def test_the_closure_may_be_called_again_and_gives_the_same(clip):
    Asking.script = (True, False, True)
    hyperparameters = {} if clip is None else {"grad_clip": clip}
    optimizer, _, _ = one_step(lambda p, h, n: Asking(p, lr=0.0), hyperparameters)
    first, only_loss, again = optimizer.losses
    assert first == pytest.approx(only_loss)
    assert first == pytest.approx(again)
    assert first.grad_fn is None
    for once, kept, twice in zip(*optimizer.grads, strict=True):
        assert torch.equal(once, kept)  # neither cleared nor added to
        torch.testing.assert_close(once, twice)
    norm = torch.cat([g.flatten() for g in optimizer.grads[0]]).norm()
    assert norm == pytest.approx(clip) if clip else norm > 0.1


def test_batch_norm_takes_a_batch_into_its_statistics_once():
    counts = []
    for script in ((True,), (True, False, True)):
        Asking.script = script
        _, model, _ = one_step(lambda p, h, n: Asking(p, lr=0.0), {})
        counts.append({name: buffer.clone() for name, buffer in model.named_buffers()})
    once, thrice = counts
    passes = {name for name in once if name.endswith("num_batches_tracked")}
    assert 0 < len(passes) < len(once) == len(thrice)
    for name, buffer in once.items():  # every pass is counted, as in AlgoPerf
        assert torch.equal(thrice[name], 3 * buffer if name in passes else buffer)


def test_an_optimizer_that_needs_its_closure_trains():
    """L-BFGS lowers the loss of its one batch within one step."""
    losses = []

    def make_optimizer(params, hyperparameters, horizon):
        optimizer = torch.optim.LBFGS(params, lr=0.5, max_iter=5)
        step = optimizer.step

        def watched(closure):
            losses.append(step(closure).item())
            losses.append(closure(backward=False).item())

        optimizer.step = watched
        return optimizer

    one_step(make_optimizer, {}, "diabetes")
    assert losses[1] < 0.9 * losses[0]


def test_groups_of_parameters_are_the_submissions_to_make():
    def make_groups(model, workload):
        assert workload.is_output_params("head.weight")
        return [{"params": [p], "lr": p.ndim} for p in model.parameters()]

    workload = workloads.get("digits")
    functions = recipe.submission(
        lambda groups, h, n: torch.optim.SGD(groups), schedules.none, make_groups=make_groups
    )
    model, _ = workload.init_model_fn([1, 2])
    state = functions.init_optimizer_state(workload, model, None, None, None)
    rates = [group["lr"] for group in state["optimizer"].param_groups]
    assert rates == [p.ndim for p in model.parameters()]
