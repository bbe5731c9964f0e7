# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from superpoint_ros.network import weights
from superpoint_ros.network.superpoint import NetworkConfig, SuperPoint
from superpoint_ros.network.weights import (
    ModelCard,
    WeightsError,
    file_sha256,
    find_weights,
    load_weights,
    save_weights,
)

TINY = NetworkConfig(
    encoder_channels=(4, 4, 8, 8), head_channels=16, descriptor_dim=12, batch_norm=True
)
CARD = ModelCard(
    name="tiny",
    licence="Apache-2.0",
    config={"steps": 10},
    data=("shapes",),
    seed=3,
    commit="abc",
    wall_time_s=1.5,
    hardware="a desk",
    metrics={"mma3": 0.5},
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "sub" / "tiny.safetensors"
    save_weights(path, SuperPoint(TINY), CARD)
    return path


def test_round_trip_with_card(tmp_path: Path) -> None:
    network = SuperPoint(TINY).eval()
    path = tmp_path / "a.safetensors"
    written = save_weights(path, network, CARD)
    loaded, card = load_weights(path)
    assert card == written
    assert (card.name, card.metrics["mma3"], card.data) == ("tiny", 0.5, ("shapes",))
    assert card.sha256 == file_sha256(path)
    images = torch.rand(1, 1, 16, 24)
    torch.testing.assert_close(loaded(images).logits, network(images).logits)
    assert not any(p.requires_grad for p in loaded.parameters())
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_half_is_half_the_size_and_loads_as_float32(saved: Path, tmp_path: Path) -> None:
    network, card = load_weights(saved)
    half = tmp_path / "half.safetensors"
    save_weights(half, network, card, half=True)
    assert half.stat().st_size < 0.7 * saved.stat().st_size
    loaded, _ = load_weights(half)
    assert all(p.dtype == torch.float32 for p in loaded.parameters())


def test_widths_are_read_from_a_file_without_card(saved: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(saved), bare)
    network, card = load_weights(bare)
    assert network.config.encoder_channels == (4, 4, 8, 8)
    assert card.network["descriptor_dim"] == 12
    assert card.name == "bare"


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors does not exist"):
        load_weights(tmp_path / "nowhere.safetensors")
    with pytest.raises(WeightsError, match="is a directory"):
        find_weights(tmp_path)


def test_an_exported_file_is_no_place_for_weights_to_train(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"anything")
    with pytest.raises(WeightsError, match=r"a\.onnx: only runs; name the \.safetensors file"):
        load_weights(path)


@pytest.mark.parametrize("keep", [0, 7, 100, -10])
def test_truncated_file(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        load_weights(saved)


def test_wrong_shape_and_strangers_are_named(saved: Path, tmp_path: Path) -> None:
    tensors = load_file(saved)
    path = tmp_path / "b.safetensors"
    save_file({**tensors, "conv2a.weight": torch.zeros(4, 5, 3, 3)}, path)
    with pytest.raises(WeightsError, match=r"conv2a.weight is \(4, 5, 3, 3\).*\(4, 4, 3, 3\)"):
        load_weights(path)
    save_file({key: value for key, value in tensors.items() if key != "conv3a.bias"}, path)
    with pytest.raises(WeightsError, match=r"missing: conv3a\.bias"):
        load_weights(path)
    save_file({**tensors, "backbone.0": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"unknown: backbone\.0"):
        load_weights(path)
    save_file({"model.x": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match="not SuperPoint weights"):
        load_weights(path)


def test_not_finite_is_refused_both_ways(saved: Path, tmp_path: Path) -> None:
    tensors = load_file(saved)
    tensors["conv1a.bias"][0] = float("nan")
    path = tmp_path / "nan.safetensors"
    save_file(tensors, path)
    with pytest.raises(WeightsError, match=r"conv1a\.bias"):
        load_weights(path)
    network, card = load_weights(saved)
    network.conv1a.weight[0, 0, 0, 0] = 1e6  # infinite in float16
    with pytest.raises(WeightsError, match=r"conv1a\.weight is not finite"):
        save_weights(path, network, card, half=True)


def test_damaged_card(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "card.safetensors"
    for text in ("{", "[]", '{"network": {"depth": 3}}'):
        save_file(load_file(saved), path, metadata={"model_card": text})
        with pytest.raises(WeightsError, match="model card"):
            load_weights(path)


def test_failed_write_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(weights.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_weights(saved, SuperPoint(TINY), CARD)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_order_of_the_search(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = tmp_path / "absent"
    monkeypatch.setattr(weights, "PACKAGE_WEIGHTS", absent)
    monkeypatch.setattr(weights, "_DEVELOPMENT_WEIGHTS", absent)
    monkeypatch.delenv("SUPERPOINT_WEIGHTS", raising=False)
    with pytest.raises(WeightsError, match="SUPERPOINT_WEIGHTS"):
        find_weights()
    monkeypatch.setattr(weights, "_DEVELOPMENT_WEIGHTS", saved)
    assert find_weights() == saved
    other = tmp_path / "other.safetensors"
    other.write_bytes(saved.read_bytes())
    monkeypatch.setenv("SUPERPOINT_WEIGHTS", str(other))
    assert find_weights() == other
    monkeypatch.setattr(weights, "PACKAGE_WEIGHTS", saved)
    assert find_weights() == saved
    assert find_weights(str(other)) == other


def test_a_short_name_stands_for_shipped_weights(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "NAMED_WEIGHTS", {"small": saved, "full": tmp_path / "absent"})
    assert find_weights("small") == saved
    with pytest.raises(WeightsError, match=r"weights full: .*absent does not exist"):
        find_weights("full")


@pytest.mark.dataset
def test_first_weights_load_with_their_card(shared_data: Path) -> None:
    network, card = load_weights(shared_data / "weights" / "first.safetensors")
    assert card.name == "first"
    assert network.config == NetworkConfig()


@pytest.mark.parametrize("name", ["full", "small"])
def test_shipped_weights_are_those_of_their_card(name: str) -> None:
    path = find_weights(name)
    network, card = load_weights(path)
    assert card.sha256 in (path.parent / "README.md").read_text(encoding="utf-8")
    assert card.network["descriptor_dim"] == {"full": 256, "small": 128}[name]
    logits, descriptors = network.float().eval()(torch.rand(1, 1, 64, 80))
    assert torch.isfinite(logits).all()
    assert torch.isfinite(descriptors).all()


def test_a_card_is_json_whatever_was_measured() -> None:
    metrics = {"mma3": 0.5, "localization_px": float("nan"), "pairs": 3}
    text = ModelCard(name="n", metrics=metrics).to_json()
    read = json.loads(text, parse_constant=pytest.fail)
    assert read["metrics"] == {"mma3": 0.5, "pairs": 3}
