# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from superpoint_ros.config import ConfigError
from superpoint_ros.network.superpoint import NetworkConfig, SuperPoint
from superpoint_ros.network.weights import ModelCard, file_sha256, find_weights, save_weights
from superpoint_ros.training import warm_start
from superpoint_ros.training.checkpoint import CHECKPOINT_NAME, Checkpoint, save_checkpoint
from superpoint_ros.training.datasets import LabelledPhotos, PhotoConfig, label_path

VIEW_HW = (48, 80)


def test_shipped_weights_teach_by_their_short_name(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    teacher = warm_start.load_teacher("full", folder, default=str(tmp_path / "absent"))
    assert teacher is not None
    assert teacher.config == NetworkConfig(batch_norm=False)
    copy = folder / warm_start.TEACHER_NAME
    assert file_sha256(copy) == file_sha256(find_weights("full"))


@pytest.mark.parametrize("load", [warm_start.load_start, warm_start.load_teacher])
def test_until_a_stage_has_begun_other_weights_can_be_named(
    tmp_path: Path, load: Callable[[str, Path], SuperPoint | None]
) -> None:
    networks = {}
    for name in ("wrong", "right"):
        networks[name] = SuperPoint(NetworkConfig((4, 4, 8, 8), 8, 8))
        save_weights(tmp_path / name, networks[name], ModelCard())
        load(str(tmp_path / name), tmp_path / "stage")  # and killed before its first checkpoint
    save_checkpoint(tmp_path / "stage" / CHECKPOINT_NAME, Checkpoint())
    resumed = load("", tmp_path / "stage")
    assert torch.equal(resumed.conv1a.weight, networks["right"].conv1a.weight)
    with pytest.raises(ConfigError, match="other weights; choose another --out"):
        load(str(tmp_path / "wrong"), tmp_path / "stage")


def make_photos(folder: Path, sizes_hw: list[tuple[int, int]]) -> LabelledPhotos:
    """Photos whose grey level is their place in the list."""
    for grey, size_hw in enumerate(sizes_hw):
        path = folder / f"{grey:02d}.png"
        cv2.imwrite(str(path), np.full(size_hw, grey, np.uint8))
        np.savez(label_path(folder, folder, path), keypoints=np.ones((1, 2)), scores=np.ones(1))
    return LabelledPhotos(folder, folder, PhotoConfig(), split="all")


@pytest.mark.parametrize(
    ("sizes_hw", "greys", "size_hw"),
    [
        ([(70, 130), (60, 170), (90, 100)], [0, 1, 2], (56, 96)),
        ([(640, 640), (600, 620)], [0, 1], (512, 512)),  # 12 GB a megapixel else
        ([(20, 30), (70, 130), (40, 200), (90, 100)], [1, 3], (64, 96)),
        ([(20, 30), (40, 50)], [0, 1], (16, 24)),  # all are smaller than a view
    ],
)
def test_statistics_are_of_what_the_photos_have_in_common(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sizes_hw: list[tuple[int, int]],
    greys: list[int],
    size_hw: tuple[int, int],
) -> None:
    seen: list[Tensor] = []

    def unfold(network: SuperPoint, images: Tensor) -> SuperPoint:
        seen.append(images)
        return network

    monkeypatch.setattr(warm_start, "unfold_batch_norm", unfold)
    network = SuperPoint(NetworkConfig((4, 4, 8, 8), 8, 8))
    warm_start.unfold_by_photos(network, make_photos(tmp_path, sizes_hw), VIEW_HW)
    expected = torch.tensor(greys)[:, None, None, None].expand(-1, 1, *size_hw) / 255
    torch.testing.assert_close(seen[0], expected)
