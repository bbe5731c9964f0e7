# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from superpoint_ros.config import ConfigError
from superpoint_ros.network.superpoint import (
    HIDDEN_LAYERS,
    NetworkConfig,
    SuperPoint,
    fold_batch_norm,
    unfold_batch_norm,
)

TINY = NetworkConfig(encoder_channels=(4, 4, 8, 8), head_channels=16, descriptor_dim=12)
TINY_BN = NetworkConfig(
    encoder_channels=(4, 4, 8, 8), head_channels=16, descriptor_dim=12, batch_norm=True
)


def test_shapes_and_unit_length() -> None:
    torch.manual_seed(0)  # one tiny network in 300 is silent in some cell: no length to scale
    output = SuperPoint(TINY).eval()(torch.rand(3, 1, 48, 80))
    assert output.logits.shape == (3, 65, 6, 10)
    assert output.dense_descriptors.shape == (3, 12, 6, 10)
    norms = output.dense_descriptors.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


def test_parameters_of_the_paper() -> None:
    # Counted by hand from the paper's widths: 3x3 kernels, 64-64-64-64-128-128-128-128, two heads
    # of 256 with 1x1 outputs of 65 and 256.
    def conv(channels_in: int, channels_out: int, kernel: int) -> int:
        return channels_in * channels_out * kernel * kernel + channels_out

    encoder = conv(1, 64, 3) + 3 * conv(64, 64, 3) + conv(64, 128, 3) + 3 * conv(128, 128, 3)
    heads = 2 * conv(128, 256, 3) + conv(256, 65, 1) + conv(256, 256, 1)
    assert sum(p.numel() for p in SuperPoint().parameters()) == encoder + heads == 1_300_865


@pytest.mark.parametrize("shape", [(1, 1, 47, 80), (1, 1, 48, 81), (1, 3, 48, 80), (48, 80)])
def test_wrong_shape_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"multiple of 8|\(B, 1, H, W\)"):
        SuperPoint(TINY)(torch.rand(shape))


def test_folding_changes_nothing() -> None:
    torch.manual_seed(0)
    network = SuperPoint(TINY_BN)
    network.train()
    for _ in range(3):  # running statistics and scales away from their start
        network(torch.rand(2, 1, 48, 80))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, -1.0, 1.0)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    network.eval()
    folded = fold_batch_norm(network)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    assert network.config.batch_norm
    assert not folded.config.batch_norm
    images = torch.rand(2, 1, 48, 80)
    for before, after in zip(network(images), folded(images), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)  # borders included


def test_unfolding_changes_nothing_until_it_is_trained() -> None:
    torch.manual_seed(0)
    folded = SuperPoint(TINY).eval()
    images = torch.rand(4, 1, 48, 80)
    unfolded = unfold_batch_norm(folded, images)
    assert unfolded.config == TINY_BN
    other = torch.rand(2, 1, 32, 24)
    for before, after in zip(folded(other), unfolded(other), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    # The images that it was calibrated on have the statistics that it expects.
    for before, after in zip(folded(images), unfolded.train()(images), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)
    assert not any("bn" in name for name, _ in folded.named_buffers())


def test_gradient_reaches_every_parameter() -> None:
    network = SuperPoint(TINY_BN)
    output = network(torch.rand(2, 1, 16, 24))
    (output.logits.square().mean() + output.dense_descriptors[:, :3].mean()).backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None]
    assert not missing


def test_encoder_needs_four_widths() -> None:
    with pytest.raises(ConfigError, match="encoder_channels"):
        NetworkConfig(encoder_channels=(8, 8, 8))


def test_frozen_layers_compute_what_they_did() -> None:
    torch.manual_seed(0)
    network = SuperPoint(NetworkConfig((4, 4, 8, 8), 16, 16, batch_norm=True))
    for name in HIDDEN_LAYERS:
        norm = getattr(network, "bn" + name)
        norm.running_mean.uniform_(-0.5, 0.5)
        norm.running_var.uniform_(0.5, 2.0)
    network.eval()
    images = torch.rand(2, 1, 24, 32)
    before = network(images)
    network.conv1b.requires_grad_(False)
    after = network(images)
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old, atol=1e-5, rtol=1e-5)
    after.logits.sum().backward()
    assert network.conv1a.weight.grad is not None  # gradients pass through what is frozen
    assert network.conv1b.weight.grad is None
