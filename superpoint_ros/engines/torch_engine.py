# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""PyTorch as an engine: CPU and CUDA; float32, bfloat16 and float16."""

from __future__ import annotations

import functools
import platform
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from superpoint_ros.config import ConfigError
from superpoint_ros.engines.engine import EngineConfig, parse_device
from superpoint_ros.network.superpoint import DenseOutput, SuperPoint, fold_batch_norm

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_OUTPUT_LAYERS = ("convPb", "convDb")


class TorchEngine:
    """Eager PyTorch.

    The hidden layers run in the chosen precision. The two 1x1 output layers, whose work is small,
    stay float32: a logit of 6 in bfloat16 moves in steps of 1/32, which ties scores that differ.
    """

    def __init__(self, network: SuperPoint, config: EngineConfig | None = None) -> None:
        config = config or EngineConfig()
        if config.num_threads:
            torch.set_num_threads(config.num_threads)
        self._device = resolve_device(config.device)
        self._precision = resolve_precision(config.precision, self._device)
        self._dtype = _DTYPES[self._precision]
        self._layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self._network = fold_batch_norm(network).requires_grad_(False)
        for name, layer in self._network.named_children():
            dtype = torch.float32 if name in _OUTPUT_LAYERS else self._dtype
            layer.to(self._device, dtype)
            layer.to(memory_format=self._layout)  # type: ignore[call-overload]

    @property
    def name(self) -> str:
        """Name and precision, such as "torch-bf16"."""
        return f"torch-{self._precision}"

    @property
    def device(self) -> torch.device:
        """Where the network lies and the output appears."""
        return self._device

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> DenseOutput:
        """Run the network; see `Engine`."""
        # Uploaded as bytes: a quarter of the copy.
        images = images.to(self._device, non_blocking=True).unsqueeze(1)
        scaled = images.to(torch.float32).div_(255.0).to(self._dtype)
        with self._exact_convolutions():
            output = self._network(scaled.contiguous(memory_format=self._layout))
        return DenseOutput(*output)

    def _exact_convolutions(self) -> AbstractContextManager[None]:
        """On CUDA: float32 means float32 (not TF32), and the same image gives the same bits."""
        if self._device.type != "cuda":
            return nullcontext()
        flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        return flags


def resolve_device(name: str) -> torch.device:
    """Return the torch device of "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        ConfigError: No such device here.
    """
    kind, index = parse_device(name)
    if kind == "cpu" or (kind == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(f"device: {name!r} asked for, but this PyTorch sees no CUDA device")
    if (index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device: {name!r}, but there are {torch.cuda.device_count()} devices")
    return torch.device("cuda" if kind == "auto" else name)


def resolve_precision(name: str, device: torch.device) -> str:
    """Return "fp32", "bf16" or "fp16" for a device; "auto" takes the fastest that is accurate.

    Raises:
        ConfigError: The device has no such arithmetic.
    """
    if device.type == "cuda":
        if name == "auto":
            # float16 keeps three more bits than bfloat16 and the activations stay far below 65504.
            return "fp16" if torch.cuda.get_device_capability(device) >= (7, 0) else "fp32"
        if name == "bf16" and torch.cuda.get_device_capability(device) < (8, 0):
            raise ConfigError("precision: bf16 needs a CUDA device of compute capability 8.0")
        return name
    if name == "fp16":
        raise ConfigError("precision: fp16 needs a CUDA device; on a CPU take bf16, fp32 or auto")
    if name == "auto":
        return "bf16" if cpu_gains_by_bf16() else "fp32"
    return name


def uses_bf16(precision: str, device: torch.device | str) -> bool:
    """Whether training in "bf16", "fp32" or "auto" (where it is faster) uses bfloat16.

    Unlike float16 it needs no scaled losses, so it is what training takes on CUDA too.
    """
    device = torch.device(device)
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return cpu_gains_by_bf16()


def cpu_gains_by_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware, and faster than float32.

    That is AMX or AMD's AVX512_BF16 on x86, and BF16 on ARM. Intel's AVX512_BF16 without AMX does
    no more a cycle than its two float32 units: the network then takes 1.4 times as long (Sapphire
    Rapids in a virtual machine that hides AMX). Emulated bfloat16 is several times
    slower, so a wrong "yes" costs much more than a wrong "no".
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    flags, vendor = _cpu_flags(), _cpu_vendor()
    if platform.machine().lower() in ("x86_64", "amd64"):
        return "amx_bf16" in flags or ("avx512_bf16" in flags and vendor != "GenuineIntel")
    return "bf16" in flags


def _cpu_flags() -> set[str]:
    """Return the feature flags in /proc/cpuinfo; empty where there is no such file."""
    return set(_cpu_entry("flags", "Features").split())


def _cpu_vendor() -> str:
    """Return the vendor in /proc/cpuinfo, such as "AuthenticAMD"; empty where it names none."""
    return _cpu_entry("vendor_id")


@functools.cache
def _cpu_entry(*keys: str) -> str:
    """Return what /proc/cpuinfo says of the first core under one of the keys; empty if nothing."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    entries = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for key, _, value in entries if key.strip() in keys), "")
