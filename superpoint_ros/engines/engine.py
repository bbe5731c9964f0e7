# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The contract of every engine: grey images in, `DenseOutput` out, on the engine's device."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from superpoint_ros.config import Config, ConfigError, option
from superpoint_ros.network.superpoint import DenseOutput, SuperPoint
from superpoint_ros.network.weights import EXPORTED_SUFFIX, ModelCard, load_weights


@dataclass(frozen=True)
class EngineConfig(Config):
    """What runs the network, where, and how exactly."""

    name: str = option(
        "auto",
        "engine; auto: onnxruntime for weights that end in .onnx, else torch",
        choices=("auto", "torch", "onnxruntime"),
    )
    device: str = option("auto", "auto (CUDA if present), cpu, cuda or cuda:N")
    precision: str = option(
        "auto",
        "arithmetic of the hidden layers; auto: fp16 on CUDA, bf16 on CPUs that it makes "
        "faster, else fp32; onnxruntime: fp32, auto and fp16 are fp16 with TensorRT",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    channels_last: bool = option(True, "memory layout with channels innermost (faster)")
    num_threads: int = option(
        0, "CPU threads of the network in this process; 0: leave", minimum=0, maximum=1024
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


def parse_device(name: str) -> tuple[str, int | None]:
    """Split the name of a device: "cuda:1" is ("cuda", 1), "auto" is ("auto", None).

    Raises:
        ConfigError: No such name.
    """
    found = re.fullmatch("(auto|cpu|cuda)|cuda:(0|[1-9][0-9]*)", name)
    if not found:
        raise ConfigError(f"device: {name!r} is not auto, cpu, cuda or cuda:N")
    kind, index = found.groups()
    return kind or "cuda", None if kind else int(index)


def load_engine(path: Path, config: EngineConfig) -> tuple[Engine, ModelCard]:
    """Load weights and build the engine that runs them; the card tells of the weights.

    Args:
        path: A .safetensors file, or a .onnx file of `superpoint export`.
        config: What the engine is asked to be.

    Raises:
        WeightsError: The file is missing or damaged.
        ConfigError: The device does not exist here, or cannot compute in that precision; or the
            engine asked for cannot run this file.
    """
    name = "onnxruntime" if path.suffix == EXPORTED_SUFFIX else "torch"
    if config.name not in ("auto", name):
        takes = {"torch": "a .safetensors file", "onnxruntime": "what `superpoint export` writes"}
        raise ConfigError(f"engine.name: {config.name} takes {takes[config.name]}, not {path}")
    if name == "torch":
        network, card = load_weights(path)
        return make_engine(network, config), card
    from superpoint_ros.engines.onnx_engine import OnnxEngine

    engine = OnnxEngine(path, config)
    return engine, engine.card


def make_engine(network: SuperPoint, config: EngineConfig) -> Engine:
    """Build an engine of PyTorch for a network.

    Raises:
        ConfigError: The device does not exist here, or cannot compute in that precision.
    """
    from superpoint_ros.engines.torch_engine import TorchEngine

    return TorchEngine(network, config)
