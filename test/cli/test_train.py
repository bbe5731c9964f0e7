# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import argparse
from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint_ros.cli import train
from superpoint_ros.config import ConfigError, load_yaml
from superpoint_ros.network.weights import load_weights
from superpoint_ros.training.adaptation import AdaptationConfig
from superpoint_ros.training.datasets import is_validation
from superpoint_ros.training.trainer import TrainConfig

NETWORK = """
precision: fp32
batch_size: 2
steps: 2
network: {encoder_channels: [4, 4, 8, 8], head_channels: 16, descriptor_dim: 16, batch_norm: true}
"""


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    configs, images = tmp_path / "configs", tmp_path / "images"
    configs.mkdir()
    images.mkdir()
    (configs / "magicpoint.yaml").write_text(NETWORK + "shapes: {height: 48, width: 64}\n")
    (configs / "pseudo_labels.yaml").write_text("teacher: corners\nwarps: 3\n")
    for name in ("superpoint", "refine"):
        (configs / f"{name}.yaml").write_text(
            NETWORK
            + "source: photos\nis_joint: true\nphotos: {height: 48, width: 64, points: 16}\n"
        )
    rng = np.random.default_rng(0)
    for index in range(30):
        if is_validation(f"{index}.png"):
            continue
        coarse = rng.integers(0, 255, (10, 14), np.uint8)
        cv2.imwrite(str(images / f"{index}.png"), cv2.resize(coarse, (112, 80)))
        if index > 4:
            break
    return tmp_path


def test_the_whole_chain_makes_weights_with_their_provenance_and_skips_what_is_done(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tiny / "run"
    words = ("--images", str(tiny / "images"), "--config", str(tiny / "configs"))
    assert train.run(parse("all", *words, "--out", str(out), "--device", "cpu")) == 0
    network, card = load_weights(out / "superpoint.safetensors")
    assert network.config.descriptor_dim == 16
    assert card.licence == "Apache-2.0"
    assert card.config["refine"]["steps"] == 2
    assert card.wall_time_s > 0
    for sheet in ("magicpoint/sheet.jpg", "refine/sheet.jpg", "refine/labels.jpg"):
        assert cv2.imread(str(out / sheet)) is not None
    before = (out / "magicpoint" / "last.pt").stat().st_mtime_ns
    assert train.run(parse("all", *words, "--out", str(out), "--device", "cpu")) == 0
    assert (out / "magicpoint" / "last.pt").stat().st_mtime_ns == before


def test_a_stage_that_lacks_what_it_needs_says_so(tiny: Path) -> None:
    words = ("--config", str(tiny / "configs"), "--out", str(tiny / "run"), "--device", "cpu")
    with pytest.raises(ConfigError, match="magicpoint"):
        train.run(parse("pseudo-labels", *words, "--images", str(tiny / "images")))
    with pytest.raises(ConfigError, match="--images"):
        train.run(parse("superpoint", *words))


def test_the_shipped_configs_are_legal() -> None:
    folder = train.find_configs()
    assert load_yaml(TrainConfig, folder / "magicpoint.yaml").source == "shapes"
    assert load_yaml(TrainConfig, folder / "superpoint.yaml").is_joint
    assert load_yaml(TrainConfig, folder / "refine.yaml").is_joint
    assert load_yaml(AdaptationConfig, folder / "pseudo_labels.yaml").warps > 1
