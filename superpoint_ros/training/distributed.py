# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes train as one: `torchrun` starts them, each makes its share of every batch.

What a step needs of the others are sums over the processes: of the counts that losses are divided
by, of BatchNorm's statistics, of the gradients; and the descriptors of their photos. With a single
process each is a no-op.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn

# A process may wait for another's photos to be labelled; torchrun ends all when one dies.
_PATIENCE = datetime.timedelta(hours=6)


@contextmanager
def joined_processes(device: str) -> Iterator[None]:
    """Join the processes that torchrun started; nothing happens without it.

    Args:
        device: "cpu" (gloo) or "cuda" (nccl, one GPU per process).
    """
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        yield
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
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
        wide = x.float()
        counts = torch.full((1,), x.numel() / x.shape[1], device=x.device)
        total = sum_over_processes(torch.cat([wide.sum((0, 2, 3)), counts]))
        count = total[-1].detach()
        mean = (total[:-1] / count)[:, None, None]
        centred = wide - mean
        variance = sum_over_processes(centred.square().sum((0, 2, 3))) / count
        self._follow(mean.detach().flatten(), variance.detach() * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


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
