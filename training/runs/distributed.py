"""Data-parallel training with several processes under torchrun: each has its own batches, gradients are averaged.

    torchrun --nproc-per-node 4 -m batch_jobs.cli train

Without torchrun there is one process, and nothing here has an effect. Only the first process (rank 0) validates and
writes files. It broadcasts its metrics, so that all processes stop at the same epoch.
"""

import datetime as dt
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn


@contextmanager
def process_group() -> Iterator[None]:
    """Joins the process group of torchrun for the duration of the block, with one GPU per process."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # Other processes wait while rank 0 encodes texts, reads contexts or validates: longer than the default 10 minutes.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    # gloo besides nccl, because metrics are broadcast on the CPU.
    dist.init_process_group(backend, timeout=dt.timedelta(hours=12))
    try:
        yield
    finally:
        dist.destroy_process_group()


def world_size() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The rank of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def first_process_first() -> Iterator[None]:
    """Rank 0 executes the block before the others, so that they find the files that it wrote."""
    if world_size() > 1 and rank() > 0:
        dist.barrier()
    yield
    if world_size() > 1 and rank() == 0:
        dist.barrier()


def broadcast_from_first(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics of rank 0, in every process."""
    if world_size() == 1:
        return metrics
    objects = [metrics]
    dist.broadcast_object_list(objects, src=0)
    return objects[0]


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces each gradient by its mean over the processes; a missing gradient counts as zeros."""
    if world_size() == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            # Every process must call all_reduce for every parameter. Otherwise the others wait, or add another
            # parameter's gradient.
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)
        parameter.grad /= world_size()
