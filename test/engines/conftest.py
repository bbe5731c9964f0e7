# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from superpoint_ros.network.superpoint import NetworkConfig, SuperPoint


@pytest.fixture(scope="module")
def network() -> SuperPoint:
    torch.manual_seed(0)
    config = NetworkConfig(
        encoder_channels=(8, 8, 16, 16), head_channels=32, descriptor_dim=24, batch_norm=True
    )
    return SuperPoint(config).eval()
