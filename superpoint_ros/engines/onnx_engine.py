# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime as an engine: CPU, CUDA and TensorRT; runs a file of `superpoint export`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superpoint_ros.config import ConfigError
from superpoint_ros.engines.engine import EngineConfig, parse_device
from superpoint_ros.engines.onnx_file import INPUT, OUTPUTS, read_card
from superpoint_ros.network.superpoint import DenseOutput
from superpoint_ros.network.weights import WeightsError, file_sha256

_CPU, _CUDA, _TENSORRT = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt"))


class OnnxEngine:
    """ONNX Runtime, which takes TensorRT where it has it, else CUDA, else the CPU.

    The file computes in float32; TensorRT rounds to float16 unless the precision is fp32. What
    TensorRT builds for a GPU and an image size, which takes minutes, is kept in a folder of this
    file in $XDG_CACHE_HOME/superpoint_ros (~/.cache/superpoint_ros).

    Attributes:
        card: The model card in the file.
    """

    def __init__(self, path: Path, config: EngineConfig) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise ConfigError(
                f"{path}: needs ONNX Runtime: pip install onnxruntime (onnxruntime-gpu for CUDA)"
            ) from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        # Threads that wait in a loop take the processor from PyTorch, the tracker and everybody.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if config.num_threads:
            torch.set_num_threads(config.num_threads)
        options.intra_op_num_threads = torch.get_num_threads()
        providers = choose_providers(config, onnxruntime.get_available_providers(), path)
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers)
        except Exception as error:  # of its own, without a common base
            text = str(error).strip().partition("\n")[0]
            raise WeightsError(f"{path}: ONNX Runtime cannot load it ({text})") from None
        used = self._session.get_providers()[0]
        if used == _CPU and config.device.startswith("cuda"):
            raise ConfigError(
                f"device: {config.device!r} asked for, but ONNX Runtime could not start "
                f"{_name(providers[0])}: its message above says why"
            )
        self.card = read_card(path, self._session.get_modelmeta().custom_metadata_map)
        self._used = used

    @property
    def name(self) -> str:
        """What runs the network, such as "onnxruntime-cpu"."""
        return f"onnxruntime-{_name(self._used)}"

    @property
    def device(self) -> torch.device:
        """The CPU: wherever the network runs, ONNX Runtime hands its output to the host."""
        return torch.device("cpu")

    def __call__(self, images: Tensor) -> DenseOutput:
        """Run the network; see `Engine`."""
        scaled = images.cpu().unsqueeze(1).to(torch.float32).div_(255.0).numpy()
        outputs = self._session.run(OUTPUTS, {INPUT: np.ascontiguousarray(scaled)})
        return DenseOutput(*(torch.from_numpy(output) for output in outputs))


def choose_providers(config: EngineConfig, available: list[str], path: Path) -> list[Any]:
    """Return ONNX Runtime's execution providers, the first choice first.

    Args:
        config: Its device and precision count.
        available: What this ONNX Runtime was built with.
        path: Of the ONNX file; where TensorRT is to run it, its folder in the cache is made.

    Raises:
        ConfigError: The device or precision is not to be had.
        OSError: The file cannot be read, or the folder made.
    """
    kind, index = parse_device(config.device)
    if config.precision == "bf16":
        raise ConfigError("precision: an ONNX file has no bf16: take auto, fp32, or fp16 on CUDA")
    is_on_gpu = kind == "cuda" or (kind == "auto" and _CUDA in available)
    if is_on_gpu and _CUDA not in available:
        raise ConfigError(
            f"device: {config.device!r} asked for, but this ONNX Runtime has no CUDA: pip install "
            "onnxruntime-gpu"
        )
    has_tensorrt = is_on_gpu and _TENSORRT in available
    if config.precision == "fp16" and not has_tensorrt:
        raise ConfigError("precision: fp16 from an ONNX file needs TensorRT: take auto or fp32")
    if not is_on_gpu:
        return [_CPU]
    device = {"device_id": index or 0}
    providers: list[Any] = [(_CUDA, device), _CPU]
    if has_tensorrt:
        # What is kept there is told apart by graph and GPU, not by weights (onnxruntime #6455).
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache / "superpoint_ros" / file_sha256(path)[:16]
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "trt_fp16_enable": config.precision != "fp32",
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(folder),
        }
        providers.insert(0, (_TENSORRT, {**device, **settings}))
    return providers


def _name(provider: Any) -> str:
    name = provider if isinstance(provider, str) else provider[0]
    return str(name).removesuffix("ExecutionProvider").lower()
