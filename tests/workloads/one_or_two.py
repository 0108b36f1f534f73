"""What a process computes of every small workload, alone or as one of two.

python -m tests.workloads.one_or_two FOLDER PROCESSES RANK NAME...: rank 0 writes FOLDER/NAME.pt.
"""

import sys
from pathlib import Path

import torch
from torch import distributed

import workloads
from harness.spec import ForwardPassMode
from workloads.librispeech.frontend import SpecAugment
from workloads.librispeech.layers import MaskedBatchNorm

DATA = "data"  # below FOLDER
EVALUATED = 37  # examples at most: enough for two batches, and no multiple of two processes


def has_own_statistics(model):
    """Whether a process's batch norms go by its own share of a batch."""
    return any(
        isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
        or (isinstance(module, MaskedBatchNorm) and type(module).reduced is MaskedBatchNorm.reduced)
        for module in model.modules()
    )


def can_be_shared(workload):
    """Whether two processes can share a training batch: one example cannot be shared."""
    return workload.num_train_examples > 1


def compute(workload, processes):
    """Loss, valid examples, gradient and metrics, over all processes; see `can_be_shared`."""
    model, _ = workload.init_model_fn(0)
    for module in model.modules():
        if isinstance(module, SpecAugment):
            module.eval()  # its masks are random
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():  # what starts at 0 would hide the gradients below it
                parameter.normal_(std=0.02, generator=torch.Generator().manual_seed(0))
    count_of = workload.eval_count
    workload.eval_count = lambda split, count: min(EVALUATED, count_of(split, count))
    values = training_values(workload, model, processes) if can_be_shared(workload) else []
    metrics = {split: workload.eval_model(model, None, split) for split in workload.splits}
    return {"values": values, "metrics": metrics}


def training_values(workload, model, processes):
    """Loss, valid examples and gradient of a batch."""
    size = 2 * (workload.train_batch_size // 2)
    batch = next(workload.build_input_queue(3, "train", size))
    logits, _ = workload.model_fn(
        params=model,
        augmented_and_preprocessed_input_batch=batch,
        model_state=None,
        mode=ForwardPassMode.TRAIN,
        rng=(0, 0),
        update_batch_norm=not has_own_statistics(model),
        dropout_rate=0.0,
    )
    loss = workload.loss_fn(
        label_batch=batch["targets"], logits_batch=logits, mask_batch=batch.get("weights")
    )
    loss["summed"].backward()
    values = [loss["summed"].detach().double(), loss["n_valid_examples"].double()]
    values += [parameter.grad.double() for parameter in model.parameters()]
    if processes > 1:
        for value in values:
            distributed.all_reduce(value)
    return values


def main(folder, processes, rank, *names):
    """Runs every workload."""
    folder, processes, rank = Path(folder), int(processes), int(rank)
    torch.set_num_threads(1)
    if processes > 1:
        distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=processes
        )
    for name in names:
        result = compute(workloads.get(name, folder / DATA), processes)
        if rank == 0:
            torch.save(result, folder / f"{name}.pt")
    if processes > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
