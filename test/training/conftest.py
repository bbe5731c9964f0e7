# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A stage that takes seconds, on drawings and on photos that are smoothed noise."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint_ros.network.superpoint import NetworkConfig
from superpoint_ros.training.datasets import LabelledPhotos, PhotoConfig, label_path
from superpoint_ros.training.shapes import ShapeConfig
from superpoint_ros.training.stage import TrainConfig


@pytest.fixture
def stage() -> TrainConfig:
    """The detector, on drawings."""
    return TrainConfig(
        steps=12,
        batch_size=2,
        warmup_steps=2,
        log_every=3,
        checkpoint_every_s=0.0,
        precision="fp32",
        network=NetworkConfig(
            encoder_channels=(4, 4, 8, 8), head_channels=16, descriptor_dim=16, batch_norm=True
        ),
        shapes=ShapeConfig(height=48, width=80),
        photos=PhotoConfig(height=48, width=80, points=32),
    )


@pytest.fixture
def joint_stage(stage: TrainConfig) -> TrainConfig:
    """Detector and descriptors, on photos."""
    return dataclasses.replace(stage, source="photos", is_joint=True)


@pytest.fixture
def photos(tmp_path: Path, stage: TrainConfig) -> LabelledPhotos:
    """Four photos with labels, and one that cannot be read."""
    rng = np.random.default_rng(0)
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for index in range(4):
        photo = rng.integers(0, 255, (10, 16), np.uint8)
        path = images / f"p{index}.png"
        cv2.imwrite(str(path), cv2.resize(photo, (128, 80), interpolation=cv2.INTER_CUBIC))
        np.savez(
            label_path(labels, images, path),
            keypoints=rng.uniform(5, 75, (40, 2)).astype(np.float32),
            scores=np.linspace(1, 0.1, 40, dtype=np.float32),
        )
    (images / "broken.jpg").write_bytes(b"not a photo")
    np.savez(label_path(labels, images, images / "broken.jpg"), keypoints=[], scores=[])
    return LabelledPhotos(images, labels, stage.photos)
