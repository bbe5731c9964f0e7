# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from superpoint_ros.config import ConfigError
from superpoint_ros.engines import torch_engine
from superpoint_ros.engines.engine import EngineConfig, make_engine, parse_device
from superpoint_ros.engines.torch_engine import (
    TorchEngine,
    cpu_gains_by_bf16,
    resolve_device,
    resolve_precision,
)
from superpoint_ros.network.cells import logits_to_heatmap
from superpoint_ros.network.superpoint import SuperPoint
from superpoint_ros.network.weights import load_weights

CPU = torch.device("cpu")


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 48, 80), dtype=torch.uint8, generator=generator)


def engine(network: SuperPoint, **settings: object) -> TorchEngine:
    return TorchEngine(network, EngineConfig(**{"device": "cpu", **settings}))  # type: ignore[arg-type]


@pytest.mark.parametrize("channels_last", [False, True])
def test_float32_equals_the_network(
    network: SuperPoint, images: torch.Tensor, channels_last: bool
) -> None:
    expected = network(images.unsqueeze(1) / 255.0)
    output = engine(network, precision="fp32", channels_last=channels_last)(images)
    torch.testing.assert_close(output.logits, expected.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        output.dense_descriptors, expected.dense_descriptors, rtol=1e-4, atol=1e-4
    )


def test_bfloat16_is_near_and_comes_back_as_float32(
    network: SuperPoint, images: torch.Tensor
) -> None:
    expected = engine(network, precision="fp32")(images)
    output = engine(network, precision="bf16")(images)
    assert output.logits.dtype == output.dense_descriptors.dtype == torch.float32
    cosine = (expected.dense_descriptors * output.dense_descriptors).sum(dim=1)
    assert cosine.min() > 0.999
    assert (output.logits - expected.logits).abs().max() < 0.1
    # The output layer is float32: neighbouring logits are not rounded to a coarse grid.
    assert len(output.logits.unique()) > 0.95 * output.logits.numel()


def test_batch_equals_single(network: SuperPoint, images: torch.Tensor) -> None:
    run = engine(network, precision="fp32")
    both = run(images)
    for i in range(2):
        alone = run(images[i : i + 1])
        torch.testing.assert_close(alone.logits[0], both.logits[i], rtol=1e-4, atol=1e-4)


def test_same_input_same_bits(network: SuperPoint, images: torch.Tensor) -> None:
    for precision in ("fp32", "bf16"):
        run = engine(network, precision=precision)
        first = run(images)
        for _ in range(3):
            assert torch.equal(run(images).logits, first.logits)


def test_the_network_given_is_left_alone(network: SuperPoint) -> None:
    engine(network, precision="bf16")
    assert all(p.dtype == torch.float32 for p in network.parameters())
    assert network.config.batch_norm


def test_make_engine_names_what_runs(network: SuperPoint) -> None:
    run = make_engine(network, EngineConfig(device="cpu", precision="fp32"))
    assert (run.name, run.device) == ("torch-fp32", CPU)


def test_auto_takes_bf16_only_where_the_cpu_gains_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_engine, "cpu_gains_by_bf16", lambda: True)
    assert resolve_precision("auto", CPU) == "bf16"
    monkeypatch.setattr(torch_engine, "cpu_gains_by_bf16", lambda: False)
    assert resolve_precision("auto", CPU) == "fp32"


@pytest.mark.parametrize(
    ("machine", "vendor", "flags", "expected"),
    [
        ("aarch64", "", {"asimd", "bf16"}, True),
        ("aarch64", "", {"asimd"}, False),
        ("x86_64", "AuthenticAMD", {"avx512f", "avx512_bf16"}, True),
        ("x86_64", "AuthenticAMD", {"avx512f"}, False),
        ("x86_64", "GenuineIntel", {"avx512_bf16", "amx_bf16"}, True),
        ("x86_64", "GenuineIntel", {"avx512_bf16"}, False),  # two float32 units do as much
    ],
)
def test_which_cpus_gain_by_bf16(
    monkeypatch: pytest.MonkeyPatch, machine: str, vendor: str, flags: set[str], expected: bool
) -> None:
    monkeypatch.setattr(torch_engine.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch_engine, "_cpu_vendor", lambda: vendor)
    monkeypatch.setattr(torch_engine, "_cpu_flags", lambda: flags)
    assert cpu_gains_by_bf16() == expected


def test_names_of_devices() -> None:
    assert parse_device("auto") == ("auto", None)
    assert parse_device("cpu") == ("cpu", None)
    assert parse_device("cuda") == ("cuda", None)
    assert parse_device("cuda:12") == ("cuda", 12)
    assert resolve_device("cpu") == torch.device("cpu")


def test_impossible_devices_are_named() -> None:
    names = (
        "tpu",
        "gpu",
        "meta",
        "cpu:1",
        "cuda:",
        "cuda:x",
        "cuda:-1",
        "cuda:01",
        " cpu",
        "auto:0",
    )
    for name in names:
        with pytest.raises(ConfigError, match=f"device: '{name}' is not auto, cpu"):
            resolve_device(name)
    with pytest.raises(ConfigError, match="cuda:99"):
        resolve_device("cuda:99")
    with pytest.raises(ConfigError, match="fp16 needs a CUDA device"):
        resolve_precision("fp16", CPU)


@pytest.mark.dataset
def test_bfloat16_on_a_photo(shared_data: Path) -> None:
    """Trained weights on a real image: what "auto" does on a bf16 CPU costs next to nothing."""
    trained, _ = load_weights(shared_data / "weights" / "first.safetensors")
    photo = cv2.imread(str(shared_data / "homography" / "oxford_graf" / "1.png"), 0)
    grey = torch.from_numpy(cv2.resize(photo, (320, 240), interpolation=cv2.INTER_AREA))[None]
    exact = engine(trained, precision="fp32")(grey)
    fast = engine(trained, precision="bf16")(grey)
    cosine = (exact.dense_descriptors * fast.dense_descriptors).sum(dim=1)
    assert cosine.mean() > 0.999
    heatmaps = [logits_to_heatmap(output.logits)[0].numpy() for output in (exact, fast)]
    assert np.abs(heatmaps[0] - heatmaps[1]).max() < 0.1
    assert np.corrcoef(heatmaps[0].ravel(), heatmaps[1].ravel())[0, 1] > 0.999


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 5e-3), ("fp16", 0.05), ("bf16", 0.1)]
)
def test_cuda_agrees_with_the_cpu(
    cuda: str, network: SuperPoint, images: torch.Tensor, precision: str, tolerance: float
) -> None:
    expected = engine(network, precision="fp32")(images)
    run = TorchEngine(network, EngineConfig(device=cuda, precision=precision))
    output = run(images)
    assert output.logits.device.type == "cuda"
    assert (output.logits.cpu() - expected.logits).abs().max() < tolerance
    cosine = (output.dense_descriptors.cpu() * expected.dense_descriptors).sum(dim=1)
    assert cosine.min() > 0.999
    assert torch.equal(run(images).logits, output.logits)
