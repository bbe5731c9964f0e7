# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from superpoint_ros.config import ConfigError
from superpoint_ros.training.optimizer import Optimizer


def test_a_muon_step_moves_every_direction_of_a_kernel_alike() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
    before = conv.weight.detach().clone()
    optimizer = Optimizer(conv, learning_rate=0.1, weight_decay=0.0, is_muon=True)
    # A gradient with one direction a thousand times as strong as the others.
    u, _, v = torch.linalg.svd(torch.randn(8, 36), full_matrices=False)
    strength = torch.tensor([100.0] + [1.0] * 7)
    gradient = ((u * strength) @ v).reshape(8, 3, 3, 4).permute(0, 3, 1, 2)
    conv.weight.grad = gradient.contiguous(memory_format=torch.channels_last)
    conv.bias.grad = None
    optimizer.step()
    moved = (before - conv.weight).permute(0, 2, 3, 1).reshape(8, 36)
    sizes = torch.linalg.svdvals(moved.detach()) / (0.1 * 0.2 * 36**0.5)
    # Five rounds of Newton-Schulz in bfloat16 bring singular values near 1, not exactly there.
    assert sizes.min() > 0.4
    assert sizes.max() < 1.3


def test_biases_learn_by_adamw_and_frozen_kernels_stay() -> None:
    conv = nn.Conv2d(1, 2, 3).to(memory_format=torch.channels_last)
    kernel, bias = conv.weight.detach().clone(), conv.bias.detach().clone()
    optimizer = Optimizer(conv, learning_rate=0.01, weight_decay=0.0, is_muon=True)
    conv.bias.grad = torch.tensor([3.0, -5.0])
    optimizer.step()
    torch.testing.assert_close(conv.bias.detach() - bias, torch.tensor([-0.01, 0.01]))
    assert torch.equal(conv.weight, kernel)


def test_a_torch_without_muon_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ConfigError, match=r"torch 2\.9 or newer"):
        Optimizer(nn.Conv2d(1, 2, 3), learning_rate=0.01, weight_decay=0.0, is_muon=True)
