# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes train as one: `torchrun` starts them, each makes its share of every batch.

What a step needs of the others are sums over the processes: of the counts that losses are divided
by, of BatchNorm's statistics, of the gradients; and the descriptors of their photos. With a single
process each is a no-op.
"""

from __future__ import annotations

import datetime
import importlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from superpoint_ros.engines.torch_engine import resolve_device

# A process may wait for another's photos to be labelled; torchrun ends all when one dies.
_PATIENCE = datetime.timedelta(hours=6)


@contextmanager
def joined_processes(device: str) -> Iterator[None]:
    """Join the processes that torchrun started; nothing happens without it.

    Args:
        device: "cpu" (gloo) or "cuda" (nccl, one GPU per process).

    Raises:
        ConfigError: There are fewer GPUs here than processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        yield
        return
    if device == "cuda":
        torch.cuda.set_device(resolve_device(f"cuda:{os.environ['LOCAL_RANK']}"))
    # Its functions take the group there is when it is imported as a default argument, for good:
    # imported later (by torch.optim), it would keep gloo's threads alive while the interpreter
    # ends, which now and then aborts a process that has done its work.
    importlib.import_module("torch.distributed.nn.functional")
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def process_count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if _is_joined() else 1


def process_rank() -> int:
    """Which of them this one is; 0 writes the files and the messages."""
    return distributed.get_rank() if _is_joined() else 0


def own_items(batch_size: int) -> range:
    """Return which items of every batch this process makes."""
    return range(process_rank(), batch_size, process_count())


def items_of_all(own: Tensor, batch_size: int) -> Tensor:
    """Return every process' items of a batch, in the batch's order; gradients flow back to each.

    Args:
        own: (B, ...) of this process, in the order of `own_items`; of one shape in all.
        batch_size: Items of all processes together.

    Returns:
        (batch_size, ...).
    """
    if not _is_joined():
        return own
    places = torch.tensor(own_items(batch_size), device=own.device)
    empty = own.new_zeros(batch_size, *own.shape[1:])
    return sum_over_processes(empty.index_copy(0, places, own))


def wait_for_all() -> None:
    """Return when every process has come here."""
    if _is_joined():
        distributed.barrier()


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Return the sum of all processes' tensors; gradients flow back to each."""
    if not _is_joined():
        return tensor
    total: Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]
    return total


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by the sum of all processes' gradients, in one message."""
    if not _is_joined():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(flat)
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def join_batch_norms(network: nn.Module) -> None:
    """Let every BatchNorm2d of a network use the statistics of all processes' items.

    torch's own SyncBatchNorm runs on GPUs alone, and what is tested should be what runs.
    """
    if _is_joined():
        for module in network.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = JoinedBatchNorm2d


class JoinedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d over the items of all processes; the same parameters and buffers."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W), in training by the mean and variance of all processes."""
        if not self.training:
            return super().forward(x)
        y, mean, variance, count = _Normalise.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.eps
        )
        self._follow(mean, variance * count / (count - 1))
        normalised: Tensor = y
        return normalised

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


class _Normalise(torch.autograd.Function):
    """BatchNorm by the statistics of all processes, in passes of torch's own kernels.

    Written as sums and products of whole tensors, it took half of a step on a CPU.
    """

    @staticmethod
    def forward(
        context: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # Given float32 to update (by nothing), it answers in float32 whatever x is.
        kept = torch.zeros_like(weight), torch.ones_like(weight)
        mean, variance = torch.batch_norm_update_stats(x, *kept, 0.0)
        own = torch.full((1,), x.numel() / len(mean), device=x.device)
        total = torch.cat([own * mean, own])
        distributed.all_reduce(total)
        count, mean_of_all = total[-1], total[:-1] / total[-1]
        squares = own * (variance + (mean - mean_of_all).square())
        distributed.all_reduce(squares)
        variance = squares / count
        context.save_for_backward(x, weight, mean_of_all, variance, count)
        context.eps = eps
        y = functional.batch_norm(x, mean_of_all, variance, weight, bias, eps=eps)
        context.mark_non_differentiable(mean_of_all, variance, count)
        return y, mean_of_all, variance, count

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, variance, count = context.saved_tensors
        of_y, eps = gradients[0], context.eps
        deviation = (variance + eps).rsqrt()
        # The sums over y's gradient and over its product with the normalised x.
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            of_y, x, weight, mean, variance, None, None, False, eps, [False, True, True]
        )
        sums = torch.stack([of_bias, of_weight])
        distributed.all_reduce(sums)
        mean_of_y, slope = sums / count
        scale = weight * deviation
        by_x = -scale * slope * deviation
        offset = -scale * mean_of_y - by_x * mean
        zeros, ones = torch.zeros_like(mean), torch.ones_like(mean)
        of_x = functional.batch_norm(of_y, zeros, ones, scale, offset, eps=0.0)
        of_x = of_x + functional.batch_norm(x, zeros, ones, by_x, zeros, eps=0.0)
        return of_x, of_weight, of_bias, None


class _Sum(torch.autograd.Function):
    """Sum over the processes; so is its derivative, since every process' loss depends on it."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total


def _is_joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()
