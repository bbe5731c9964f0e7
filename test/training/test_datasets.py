# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from superpoint_ros.config import ConfigError
from superpoint_ros.training.datasets import (
    LabelledPhotos,
    PhotoConfig,
    check_apart,
    list_photos,
    read_photo,
)
from superpoint_ros.training.homographies import warp_points_batch
from superpoint_ros.training.stage import TrainConfig
from superpoint_ros.training.trainer import make_source


def test_both_views_of_a_batch_agree_about_every_point(
    photos: LabelledPhotos, joint_stage: TrainConfig
) -> None:
    batch = make_source(joint_stage, photos)(3)
    assert batch.a.images.shape == (2, 1, 48, 80)
    for item in range(2):
        points = batch.points_a[item][batch.is_point[item]].double()
        H = batch.H_b_a[item].double()
        mapped = torch.cat([points, torch.ones_like(points[:, :1])], 1) @ H.T
        mapped = mapped[:, :2] / mapped[:, 2:]
        expected = batch.points_b[item][batch.is_point[item]].double()
        torch.testing.assert_close(mapped, expected, atol=1e-3, rtol=0)


def test_damaged_labels_are_named_and_their_photo_left_out(
    tmp_path: Path, photos: LabelledPhotos, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "labels" / "p1.png.npz"
    whole = path.read_bytes()
    entry = whole.index(b"PK\x01\x02")  # of the directory: flags at 8, method at 10
    damaged = [b"", whole[: len(whole) // 2], b"x" * 200, bytes(len(whole))]
    for place in (len(whole) // 4, entry + 8, entry + 10):  # another checksum, a password, unknown
        damaged.append(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    for data in damaged:
        path.write_bytes(data)
        caplog.clear()
        left = LabelledPhotos(tmp_path / "images", tmp_path / "labels", PhotoConfig(), "all")
        assert len(left) == len(photos) - 1
        assert "p1.png" in left.skipped
        assert "p1.png.npz: skipped, damaged labels" in caplog.text
    with path.open("wb") as stream:  # others may have packed theirs
        np.savez_compressed(stream, keypoints=np.ones((400, 2)), scores=np.ones(400))
    whole = path.read_bytes()
    path.write_bytes(whole[:70] + b"xxxx" + whole[74:])
    assert len(LabelledPhotos(tmp_path / "images", tmp_path / "labels", PhotoConfig(), "all")) == 3


def test_jitter_moves_correspondences_and_nothing_else(
    photos: LabelledPhotos, joint_stage: TrainConfig
) -> None:
    exact = make_source(joint_stage, photos)(0)
    jittered = dataclasses.replace(joint_stage.photos, jitter_px=0.5)
    off = make_source(dataclasses.replace(joint_stage, photos=jittered), photos)(0)
    assert torch.equal(exact.a.images, off.a.images)
    assert torch.equal(exact.b.mass, off.b.mass)
    for one, other in ((exact.points_a, off.points_a), (exact.points_b, off.points_b)):
        error = (other - one)[exact.is_point]
        assert float(error.std()) == pytest.approx(0.5, abs=0.1)
        assert float(error.mean()) == pytest.approx(0.0, abs=0.15)


def test_wandering_views_move_together(photos: LabelledPhotos, joint_stage: TrainConfig) -> None:
    still = make_source(joint_stage, photos)(0)
    wander = dataclasses.replace(joint_stage.photos, wander=0.3)
    moved = make_source(dataclasses.replace(joint_stage, photos=wander), photos)(0)
    torch.testing.assert_close(still.H_b_a, moved.H_b_a, atol=1e-3, rtol=1e-4)
    assert not torch.equal(still.a.mass, moved.a.mass)


def test_near_views_differ_little(photos: LabelledPhotos, joint_stage: TrainConfig) -> None:
    near = dataclasses.replace(joint_stage.photos, near_share=1.0)
    batch = make_source(dataclasses.replace(joint_stage, photos=near), photos)(0)
    assert batch.H_b_a is not None
    height, width = batch.a.images.shape[2:]
    corners = torch.tensor([[0.0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]])
    moved = warp_points_batch(batch.H_b_a, corners.expand(len(batch.H_b_a), -1, -1))
    config = near.view_near
    # At a corner, half a side away from the middle, the parts add up.
    turn = np.deg2rad(config.rotation_deg) + config.scale - 1.0 + config.perspective
    limit = (turn / 2.0 + config.translation) * np.hypot(width, height) * config.scale
    assert 1.0 < float((moved - corners).norm(dim=2).max()) < limit


def test_near_views_can_be_less_noisy(photos: LabelledPhotos, joint_stage: TrainConfig) -> None:

    def images(probability: float, near_noise: float) -> torch.Tensor:
        near = dataclasses.replace(joint_stage.photos, near_share=1.0, near_noise=near_noise)
        noise = dataclasses.replace(joint_stage.augmentation, probability=probability)
        config = dataclasses.replace(joint_stage, photos=near, augmentation=noise)
        return make_source(config, photos)(0).a.images

    assert torch.equal(images(0.8, 0.5), images(0.4, 1.0))
    assert not torch.equal(images(0.8, 1.0), images(0.4, 1.0))


def test_a_large_photo_is_shrunk_so_that_views_show_its_labels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "phone.png"
    cv2.imwrite(str(path), np.full((600, 800), 90, np.uint8))
    assert read_photo(path).shape == (480, 640)
    assert not caplog.text
    cv2.imwrite(str(path), np.full((48, 80), 4000, np.uint16))  # of 12 bits
    assert read_photo(path).shape == (48, 80)
    assert "phone.png: is nearly black" in caplog.text


def test_labels_of_a_larger_photo_are_refused(tmp_path: Path, photos: LabelledPhotos) -> None:
    cv2.imwrite(str(tmp_path / "images" / "p1.png"), np.full((20, 20), 90, np.uint8))
    with pytest.raises(ConfigError, match=r"p1\.png\.npz: has labels beyond p1\.png"):
        LabelledPhotos(tmp_path / "images", tmp_path / "labels", PhotoConfig(), "all")


def test_photos_behind_links_are_found_once(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("photos/a.png", "b.jpg", "c.txt"):
        (tmp_path / name).write_bytes(b"x")
    images = tmp_path / "images"
    images.mkdir()
    (images / "linked").symlink_to(tmp_path / "photos")
    (images / "b.jpg").symlink_to(tmp_path / "b.jpg")
    (images / "loop").symlink_to(images)
    assert list_photos(images, "all") == [images / "b.jpg", images / "linked" / "a.png"]


def test_a_strip_that_is_too_narrow_once_shrunk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "strip.png"
    cv2.imwrite(str(path), np.full((40, 4000), 90, np.uint8))
    assert read_photo(path) is None
    assert "strip.png: skipped, not a readable photo, or too narrow" in caplog.text


def test_results_among_the_photos_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for out in (tmp_path, tmp_path / "run", tmp_path / "link" / "run"):
        with pytest.raises(ConfigError, match="would be taken for photos"):
            check_apart(tmp_path, out)
    check_apart(tmp_path / "photos", tmp_path)
