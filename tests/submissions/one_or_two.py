"""What submissions make of diabetes, trained by one process or as one of two.

python -m tests.submissions.one_or_two FOLDER PROCESSES RANK NAME...: writes FOLDER/NUMBER.RANK.pt,
where NUMBER is the place among the names.
"""

import sys
from collections import namedtuple
from pathlib import Path

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

import workloads
from harness.submission import loading
from harness.submission.search_space import load
from scoring.tree import SEARCH_SPACE_FILE

STEPS = 12


def hyperparameters(folder):
    """The first point of the search space, with roots from the third step on; None without one."""
    if not (folder / SEARCH_SPACE_FILE).is_file():
        return None
    point = load(folder / SEARCH_SPACE_FILE).points(0, 1, 1)[0][0]
    if "precondition_frequency" in point:
        point["precondition_frequency"] = 3
    return namedtuple("Hyperparameters", point)(**point)


def train(name, processes, rank):
    """The parameters after some steps, and the learning rate of the optimizer."""
    workload = workloads.get("diabetes")
    workload.step_hint = STEPS
    folder = loading.find(name)
    loaded, point = loading.load(folder), hyperparameters(folder)
    model, _ = workload.init_model_fn(0)
    model.double()  # a root of a matrix of low rank magnifies the last bit
    wrapped = DistributedDataParallel(model) if processes > 1 else model
    torch.manual_seed(rank)  # the processes' generators differ, as dropout wants them to
    state = loaded.init_optimizer_state(workload, wrapped, None, point, (0, 0))
    queue = workload.build_input_queue(3, "train", 2 * (workload.train_batch_size // 2))
    rest = {
        "workload": workload, "current_params_types": None, "hyperparameters": point,
        "loss_type": workload.loss_type, "eval_results": [], "rng": (0, 0),
    }  # fmt: skip
    for step in range(STEPS):
        state, wrapped, _ = loaded.update_params(
            batch={key: value.double() for key, value in next(queue).items()},
            optimizer_state=state, current_param_container=wrapped,
            model_state=None, global_step=step, **rest,
        )  # fmt: skip
    loaded.prepare_for_eval(
        optimizer_state=state, current_param_container=wrapped, model_state=None,
        global_step=STEPS, **rest,
    )  # fmt: skip
    return {
        "parameters": [p.detach() for p in model.parameters()],
        "learning_rate": state["optimizer"].param_groups[0]["lr"],
    }


def main(folder, processes, rank, *names):
    """Trains with every submission."""
    folder, processes, rank = Path(folder), int(processes), int(rank)
    torch.set_num_threads(1)
    if processes > 1:
        distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=processes
        )
    for number, name in enumerate(names):
        torch.save(train(name, processes, rank), folder / f"{number}.{rank}.pt")
    if processes > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
