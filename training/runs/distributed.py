"""The processes of one training run, as torchrun starts them: each takes batches of its own, gradients are averaged.

    torchrun --nproc-per-node 4 -m batch_jobs.cli train

A run that torchrun did not start is one process, for which nothing here does anything. The first process alone
validates and writes; what it measures is what all go by, so that all stop at the same epoch.
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
    """Joins the other processes that torchrun started, until the block ends; each takes the GPU of its number."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # The others wait while the first one encodes texts, joins contexts or validates: longer than the usual 10 minutes.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=dt.timedelta(hours=12))
    try:
        yield
    finally:
        dist.destroy_process_group()


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is; 0 is the first."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def first_process_first() -> Iterator[None]:
    """The first process does the block before the others: they find the files that it wrote."""
    if world_size() > 1 and rank() > 0:
        dist.barrier()
    yield
    if world_size() > 1 and rank() == 0:
        dist.barrier()


def broadcast_from_first(metrics: dict[str, float]) -> dict[str, float]:
    """The first process's metrics, for all."""
    if world_size() == 1:
        return metrics
    told = [metrics]
    dist.broadcast_object_list(told, src=0)
    return told[0]


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces each gradient by its mean over the processes; one that a process has none of counts as zeros."""
    if world_size() == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)
        parameter.grad /= world_size()
