# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The contract of every engine: grey images in, `DenseOutput` out, on the engine's device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from superpoint_ros.config import Config, option
from superpoint_ros.network.superpoint import DenseOutput, SuperPoint


@dataclass(frozen=True)
class EngineConfig(Config):
    """What runs the network, where, and how exactly."""

    name: str = option("auto", "engine; auto takes the fastest here", choices=("auto", "torch"))
    device: str = option("auto", "auto (CUDA if present), cpu, cuda or cuda:N")
    precision: str = option(
        "auto",
        "arithmetic of the hidden layers; auto: fp16 on CUDA, bf16 on CPUs that it makes "
        "faster, else fp32",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    channels_last: bool = option(True, "memory layout with channels innermost (faster)")
    num_threads: int = option(
        0, "CPU threads of torch in this process; 0: leave", minimum=0, maximum=1024
    )


class Engine(Protocol):
    """Runs one network."""

    @property
    def name(self) -> str:
        """Name and precision, such as "torch-bf16"."""

    @property
    def device(self) -> torch.device:
        """Where the output lies."""

    def __call__(self, images: Tensor) -> DenseOutput:
        """Run the network.

        Args:
            images: (B, H, W) uint8 grey on any device; H and W multiples of 8.

        Returns:
            Float32 logits and descriptors on `device`; later calls leave them alone.
        """


def make_engine(network: SuperPoint, config: EngineConfig) -> Engine:
    """Build the engine that the config names.

    Raises:
        ConfigError: The device does not exist here, or cannot compute in that precision.
    """
    from superpoint_ros.engines.torch_engine import TorchEngine

    return TorchEngine(network, config)
