"""Data-parallel training with several processes under torchrun: they share each batch, and gradients are summed.

    torchrun --nproc-per-node 4 -m batch_jobs.cli train

Each process encodes its share of a batch's products, and its share of the contexts. The product vectors are gathered,
so that every context has all candidates of the batch as its negatives, as in one process. So the number of processes
changes the time of a step and nothing else, but for the random numbers of dropout.

Without torchrun there is one process, and nothing here has an effect. Only the first process (rank 0) validates and
writes files. It broadcasts its metrics, so that all processes stop at the same epoch.

Legend: n rows in all, R rows of this process, D dimensions.
"""

import datetime as dt
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


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


def broadcast_from_first(value: T) -> T:
    """The value of rank 0, in every process."""
    if world_size() == 1:
        return value
    objects = [value]
    dist.broadcast_object_list(objects, src=0)
    return objects[0]


# ---- one batch, shared by the processes ------------------------------------------------------------------------------


class Share(NamedTuple):
    """The part of something that one process works on: contiguous, and all parts together are the whole."""

    rank: int = 0
    n_processes: int = 1

    def of(self, n: int) -> slice:
        """The part of `n` rows; it is empty where there are fewer rows than processes."""
        return slice(n * self.rank // self.n_processes, n * (self.rank + 1) // self.n_processes)


def share() -> Share:
    """The share of this process."""
    return Share(rank(), world_size())


def gather_rows(own_RD: Tensor, n: int) -> Tensor:
    """The rows of all processes, (n, D), from what each has for its share of n rows; differentiable.

    A row that another process uses gets its gradient from there, too: the backward pass sums the gradients of each row
    over the processes. (torch.distributed.nn.functional.all_gather is deprecated, and takes rows of equal number only.)
    """
    if world_size() == 1:
        return own_RD
    gathered: Tensor = _GatherRows.apply(own_RD, n)  # type: ignore[no-untyped-call]
    return gathered


class _GatherRows(torch.autograd.Function):
    """all_gather of parts that may differ by a row."""

    @staticmethod
    def forward(ctx: Any, own_RD: Tensor, n: int) -> Tensor:
        ctx.n = n
        shares = [Share(other, world_size()).of(n) for other in range(world_size())]
        lengths = [part.stop - part.start for part in shares]
        # all_gather needs parts of equal size.
        padded = own_RD.new_zeros(max(lengths), *own_RD.shape[1:])
        padded[: len(own_RD)] = own_RD
        parts = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient_ND,) = gradients
        # A copy, because autograd may use the gradient elsewhere, too.
        total_ND = gradient_ND.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total_ND)
        return total_ND[share().of(ctx.n)], None


def sum_over_processes(part: Tensor) -> Tensor:
    """The sum of a number that each process has a part of."""
    if world_size() == 1:
        return part
    total = part.clone()
    dist.all_reduce(total)
    return total


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces each gradient by its sum over the processes; a missing gradient counts as zeros."""
    if world_size() == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            # Every process must call all_reduce for every parameter. Otherwise the others wait, or add another
            # parameter's gradient.
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)
