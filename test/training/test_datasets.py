# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from superpoint_ros.config import ConfigError
from superpoint_ros.data import Array
from superpoint_ros.training import datasets
from superpoint_ros.training.augmentation import AugmentationConfig
from superpoint_ros.training.datasets import (
    LabelledPhotos,
    PhotoConfig,
    check_apart,
    label_path,
    list_photos,
    read_photo,
    splat,
)
from superpoint_ros.training.homographies import HomographyConfig, warp_points_batch
from superpoint_ros.training.shapes import Drawing
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


@pytest.fixture
def clean_stage(joint_stage: TrainConfig) -> TrainConfig:
    """The stage on photos without noise."""
    return dataclasses.replace(joint_stage, augmentation=AugmentationConfig(probability=0.0))


def labelled(
    folder: Path, image: Array, keypoints: list[list[float]], scores: list[float], **config: object
) -> LabelledPhotos:
    """Return the one photo of a folder with labels."""
    path = folder / "photo.png"
    cv2.imwrite(str(path), image)
    np.savez(label_path(folder, folder, path), keypoints=np.array(keypoints), scores=scores)
    return LabelledPhotos(folder, folder, PhotoConfig(**config), "all")


def centroid(weights: torch.Tensor) -> torch.Tensor:
    """Return the mean (x, y) of the pixels of (H, W), by weight."""
    y, x = torch.meshgrid(*(torch.arange(size) for size in weights.shape), indexing="ij")
    return torch.stack([(weights * x).sum(), (weights * y).sum()]) / weights.sum()


def test_both_views_show_a_corner_and_its_label_where_the_homography_puts_it(
    tmp_path: Path, clean_stage: TrainConfig
) -> None:
    label = [92.3, 51.6]
    x, y = np.meshgrid(np.arange(160), np.arange(120))
    spot = np.exp(-((x - label[0]) ** 2 + (y - label[1]) ** 2) / (2 * 2.5**2))
    photos = labelled(tmp_path, np.rint(255 * spot).astype(np.uint8), [label], [1.0])
    config = PhotoConfig(
        height=96,
        width=128,
        view_a=HomographyConfig(perspective=0.1, scale=1.2, rotation_deg=20.0, translation=0.05),
        view_b=HomographyConfig(perspective=0.2, scale=1.4, rotation_deg=40.0, translation=0.05),
    )
    source = make_source(dataclasses.replace(clean_stage, photos=config), photos)
    for batch in (source(0), source(1)):
        assert batch.is_keypoint.sum(1).tolist() == [1, 1]
        there = warp_points_batch(batch.H_b_a, batch.points_a[:, :1])[:, 0]
        for view, expected in ((batch.a, batch.points_a[:, 0]), (batch.b, there)):
            assert 0.5 < float(view.images.max()) <= 1.0
            for item in range(2):
                shown, mass = centroid(view.images[item, 0]), centroid(view.mass[item])
                torch.testing.assert_close(shown, expected[item], atol=0.3, rtol=0)
                torch.testing.assert_close(mass, expected[item], atol=1e-3, rtol=0)
                assert float(view.mass[item].sum()) == pytest.approx(1.0)


def test_cells_count_that_show_the_photo_only_and_not_its_edge(
    tmp_path: Path, clean_stage: TrainConfig
) -> None:
    # Views of 48x80 of the middle of the photo: 8 pixels beyond it at the top and the bottom.
    still = HomographyConfig(perspective=0.0, scale=1.0, rotation_deg=0.0, translation=0.0)
    config = dataclasses.replace(clean_stage.photos, view_a=still, view_b=still)
    photo = np.full((32, 96), 90, np.uint8)
    photos = labelled(tmp_path, photo, [[40.0, 12.0]], [0.4], full_score=0.5)
    batch = make_source(dataclasses.replace(clean_stage, photos=config), photos)(0)
    rows = torch.tensor([False, False, True, True, False, False])
    expected = torch.zeros(2, 48, 80)
    expected[:, 12 + 8, 40 - 8] = 0.8
    for view in (batch.a, batch.b):
        assert torch.equal(view.is_valid, rows[:, None].expand(2, 6, 10))
        torch.testing.assert_close(view.mass, expected, atol=1e-4, rtol=0)


def test_labels_below_the_least_score_are_left_out_and_faint_ones_count_less(
    tmp_path: Path,
) -> None:
    keypoints, scores = [[9.0 + n, 20.0] for n in range(5)], [0.9, 0.5, 0.4, 0.3, 0.2]
    photo = np.full((32, 96), 90, np.uint8)

    def read(**config: object) -> tuple[list[float], list[float]]:
        photo_read = labelled(tmp_path, photo, keypoints, scores, **config)[0]
        return photo_read.points[:, 0].tolist(), photo_read.weights.tolist()

    points, weights = read(min_score=0.3, full_score=0.5)
    assert points == [9.0, 10.0, 11.0, 12.0]
    assert weights == pytest.approx([1.0, 1.0, 0.8, 0.6])
    assert read(min_score=0.3, max_labels=3) == ([9.0, 10.0, 11.0], [1.0, 1.0, 1.0])


def test_a_keypoint_is_shared_among_four_pixels_or_goes_to_the_nearest() -> None:
    points = np.array([[3.2, 5.7], [-4.0, 2.0], [3.0, 90.0]])  # the others lie outside
    expected = np.zeros((8, 12))
    expected[5, 3], expected[5, 4] = 0.8 * 0.3, 0.2 * 0.3
    expected[6, 3], expected[6, 4] = 0.8 * 0.7, 0.2 * 0.7
    weights = np.array([2.0, 1.0, 1.0])
    np.testing.assert_allclose(splat(points, (8, 12), True), expected, atol=1e-6)
    np.testing.assert_allclose(splat(points, (8, 12), True, weights), 2 * expected, atol=1e-6)
    nearest = np.zeros((8, 12))
    nearest[6, 3] = 1.0
    np.testing.assert_array_equal(splat(points, (8, 12), False), nearest)


def test_the_mass_of_a_drawing_lies_at_its_corners(
    stage: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.zeros((48, 80), np.uint8)
    image[10, 30] = 255
    drawing = Drawing(image, np.array([[30.0, 10.0]]), np.zeros((0, 2)))
    monkeypatch.setattr(datasets, "draw_shape", lambda rng, config: drawing)
    clean = dataclasses.replace(stage, augmentation=AugmentationConfig(probability=0.0))
    view = make_source(clean, None)(0).a
    expected = torch.from_numpy(image).expand(2, -1, -1) / 255.0
    torch.testing.assert_close(view.images[:, 0], expected)
    torch.testing.assert_close(view.mass, expected)
    assert view.is_valid.all()


def test_every_photo_comes_once_per_epoch_in_another_order(
    photos: LabelledPhotos, joint_stage: TrainConfig
) -> None:
    source = make_source(joint_stage, photos)
    epochs = [source(2 * n).names + source(2 * n + 1).names for n in range(4)]
    for names in epochs:
        assert sorted(names) == ["p0.png", "p1.png", "p2.png", "p3.png"]
    assert len(set(epochs)) > 1


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


def test_views_wander_by_a_share_of_the_photo_in_either_direction(
    tmp_path: Path, clean_stage: TrainConfig
) -> None:
    still = HomographyConfig(perspective=0.0, scale=1.0, rotation_deg=0.0, translation=0.0)
    photos = labelled(tmp_path, np.full((120, 200), 90, np.uint8), [[99.5, 59.5]], [1.0])
    config = PhotoConfig(height=96, width=160, view_a=still, view_b=still, wander=0.2)
    source = make_source(dataclasses.replace(clean_stage, photos=config), photos)
    points = torch.cat([source(step).points_a[:, 0] for step in range(60)])
    moved = (points - torch.tensor([79.5, 47.5])).abs().amax(0)
    np.testing.assert_allclose(moved, [0.2 * 200, 0.2 * 120], rtol=0.06)


def test_points_to_compare_keep_off_the_border_of_both_views(
    photos: LabelledPhotos, joint_stage: TrainConfig
) -> None:
    source = make_source(joint_stage, photos)
    nearest = []
    for batch in map(source, range(8)):
        far = torch.tensor([79.0, 47.0])
        for points in (batch.points_a[batch.is_point], batch.points_b[batch.is_point]):
            nearest.append(float(torch.minimum(points, far - points).min()))
    assert 2.999 < min(nearest) < 3.1


def test_the_homography_of_a_pair_has_positive_depth_where_both_look(
    tmp_path: Path, clean_stage: TrainConfig
) -> None:
    photos = labelled(tmp_path, np.full((120, 160), 90, np.uint8), [[79.5, 59.5]], [1.0])
    steep = HomographyConfig(perspective=0.3, scale=2.6, rotation_deg=60.0, translation=0.12)
    config = PhotoConfig(height=96, width=128, view_a=steep, view_b=steep, wander=0.15)
    source = make_source(dataclasses.replace(clean_stage, photos=config), photos)
    is_behind = False
    for batch in map(source, range(400)):
        for H, points, is_point in zip(batch.H_b_a, batch.points_a, batch.is_point, strict=True):
            w = points[is_point] @ H[2, :2] + H[2, 2]
            assert bool((w > 0).all())
            is_behind |= bool(H[2, 2] < 0)
    assert is_behind  # where dividing by H[2, 2] would turn the sign


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
