# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from superpoint_ros.config import ConfigError
from superpoint_ros.evaluation.hpatches import HomographyPair
from superpoint_ros.features.peaks import find_peaks
from superpoint_ros.network.superpoint import DenseOutput, NetworkConfig, SuperPoint
from superpoint_ros.training.adaptation import (
    AdaptationConfig,
    Labelling,
    adapt,
    label_photos,
    measure_adaptation,
)
from superpoint_ros.training.augmentation import AugmentationConfig
from superpoint_ros.training.corner_votes import CornerConfig, vote
from superpoint_ros.training.datasets import LabelledPhotos, PhotoConfig
from superpoint_ros.training.homographies import (
    HomographyConfig,
    sample_homography,
    warp_image,
)


class BrightnessDetector(nn.Module):
    """Calls bright pixels keypoints, sharply."""

    def forward(self, images: torch.Tensor) -> DenseOutput:
        cells = nn.functional.pixel_unshuffle(images, 8)
        dustbin = torch.full_like(cells[:, :1], 0.5)
        logits = 30.0 * torch.cat([cells, dustbin], 1)
        return DenseOutput(logits, torch.zeros(len(images), 8, *logits.shape[2:]))


def blobs(points: np.ndarray, size_hw: tuple[int, int], sigma: float = 1.5) -> np.ndarray:
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    image = np.zeros(size_hw)
    for px, py in points:
        image += np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))
    return image


POINTS = np.array([[30.3, 20.6], [80.0, 33.4], [55.7, 51.2]])


@pytest.mark.parametrize("aggregation", ["mean", "max"])
@pytest.mark.parametrize("warps", [1, 20])
def test_views_are_mapped_back_to_where_they_came_from(aggregation: str, warps: int) -> None:
    config = AdaptationConfig(aggregation=aggregation, precision="fp32", batch_size=6)
    image = torch.from_numpy(blobs(POINTS, (72, 112))).float()
    rng = np.random.default_rng(0)
    ranges = HomographyConfig(perspective=0.15, scale=1.2, rotation_deg=30, translation=0.1)
    views = [np.eye(3)] + [
        sample_homography(rng, (72, 112), (72, 112), ranges) for _ in range(warps - 1)
    ]
    H = torch.from_numpy(np.stack(views)).float()
    heatmap = adapt(BrightnessDetector(), image, H, config)
    assert heatmap.shape == (72, 112)
    found, _ = find_peaks(heatmap.numpy(), 0.05, 4, 3)
    order = np.argsort(found[:, 0])
    np.testing.assert_allclose(found[order], POINTS[[0, 2, 1]], atol=0.8)


def test_the_frame_around_the_photo_makes_no_labels() -> None:
    config = AdaptationConfig(erosion_px=5, precision="fp32")
    image = torch.ones(72, 112)
    H = torch.eye(3)[None]
    heatmap = adapt(BrightnessDetector(), image, H, config)
    assert float(heatmap[:5].max()) == 0.0
    assert float(heatmap[:, -5:].max()) == 0.0
    assert float(heatmap[20:50, 20:90].min()) > 0.0


def test_a_point_counts_alike_however_many_views_saw_it() -> None:
    class Even(nn.Module):
        """Calls every pixel a keypoint, equally."""

        def forward(self, images: torch.Tensor) -> DenseOutput:
            batch, _, height, width = images.shape
            logits = torch.zeros(batch, 65, height // 8, width // 8)
            return DenseOutput(logits, torch.zeros(batch, 8, height // 8, width // 8))

    H = torch.eye(3).repeat(3, 1, 1)
    H[1, :2, 2] = torch.tensor([40.5, -20.25])  # half a pixel: its edge is seen in part
    H[2, :2, 2] = torch.tensor([-60.25, 0.5])
    config = AdaptationConfig(erosion_px=5, precision="fp32", batch_size=2)
    heatmap = adapt(Even(), torch.rand(72, 112), H, config)
    expected = torch.zeros(72, 112)
    expected[5:-5, 5:-5] = 1 / 65  # all of which the photo itself saw
    torch.testing.assert_close(heatmap, expected)


def test_the_first_view_is_the_photo_itself() -> None:
    class Recorder(BrightnessDetector):
        def forward(self, images: torch.Tensor) -> DenseOutput:
            seen.append(images.clone())
            return super().forward(images)

    seen: list[torch.Tensor] = []
    photo = np.random.default_rng(0).integers(0, 255, (48, 64), np.uint8)
    pair = HomographyPair("pair", photo, photo, np.eye(3))
    measure_adaptation(Recorder(), [pair], 3, AdaptationConfig(precision="fp32"))
    views = seen[0][:, 0]
    assert len(views) == 3
    torch.testing.assert_close(views[0], torch.from_numpy(photo) / 255.0, atol=1e-4, rtol=0)
    assert all(float((view - views[0]).abs().mean()) > 0.1 for view in views[1:])


def test_a_view_that_shrinks_the_photo_makes_up_no_pattern() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (100, 80))
    view = warp_image(stripes, np.diag([0.4, 0.4, 1.0]), (40, 64))
    assert np.ptp(view[4:-4, 4:-4]) < 10  # of 255


def test_votes_are_per_view_that_saw_the_point() -> None:
    image = (40 + 200 * blobs(np.array([[60.0, 45.0], [12.0, 45.0]]), (90, 120))).astype(np.uint8)
    votes = vote(
        image,
        np.random.default_rng(0),
        40,
        HomographyConfig(perspective=0.0, scale=1.0, rotation_deg=0.0, translation=0.3),
        5,
        CornerConfig(noise=AugmentationConfig(probability=0.0)),
    )
    # All views see the middle, half of them the point near the edge.
    middle, edge = votes[40:50, 55:65].max(), votes[40:50, 7:17].max()
    assert edge == pytest.approx(middle, rel=0.2)


def test_peaks_are_found_between_pixels() -> None:
    peaks, values = find_peaks(blobs(POINTS, (72, 112)).astype(np.float32), 0.1, 3, 10)
    assert len(peaks) == 3
    order = np.argsort(peaks[:, 0])
    np.testing.assert_allclose(peaks[order], POINTS[[0, 2, 1]], atol=0.02)
    assert values.max() <= 1.0


def test_votes_of_many_noisy_views_meet_at_the_corner() -> None:
    image = np.full((360, 480), 60, np.uint8)
    cv2.fillPoly(image, [np.array([[200, 121], [361, 141], [301, 241], [180, 201]])], 200)
    image = cv2.resize(image, (120, 90), interpolation=cv2.INTER_AREA)
    corners = (np.array([[200, 121], [361, 141], [301, 241], [180, 201]]) + 0.5) / 4 - 0.5
    votes = vote(
        image,
        np.random.default_rng(0),
        24,
        HomographyConfig(perspective=0.15, scale=1.2, rotation_deg=40, translation=0.05),
        5,
        CornerConfig(pixels_per_corner=1000.0),
    )
    peaks, _ = find_peaks(votes, 0.02, 3, 4)
    distance = np.linalg.norm(peaks[:, None] - corners[None], axis=2)
    # Shi-Tomasi sits a little inside a corner, the more so the sharper it is.
    assert (distance.min(0) < 2.5).all()


def test_what_adaptation_adds_is_measured_between_two_views_of_a_plane() -> None:
    H = np.array([[1.0, 0.0, 8.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    a, b = (255 * blobs(points, (72, 112)) for points in (POINTS, POINTS + np.array([8.0, 0.0])))
    pair = HomographyPair("pair", a.astype(np.uint8), b.astype(np.uint8), H)
    config = AdaptationConfig(precision="fp32", threshold=0.05, nms_radius=4)
    for views in (1, 8):
        assert measure_adaptation(BrightnessDetector(), [pair], views, config, 3) == 1.0
    wrong = pair._replace(H_b_a=np.eye(3))
    assert measure_adaptation(BrightnessDetector(), [wrong], 1, config, 3) < 0.5


def test_labels_are_written_once_and_broken_photos_are_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = tmp_path / "images" / "deep"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(images / name), rng.integers(0, 255, (50, 70), np.uint8))
    (images / "c.png").write_bytes(b"junk")
    config = AdaptationConfig(warps=3, threshold=0.0, precision="fp32")
    network = SuperPoint(
        NetworkConfig(encoder_channels=(4, 4, 8, 8), head_channels=8, descriptor_dim=8)
    )
    folder = tmp_path / "labels"
    assert label_photos(network, tmp_path / "images", folder, config).total == 2
    assert "c.png" in caplog.text
    files = sorted(folder.rglob("*"))
    assert [path.name for path in files if path.is_file()] == [
        *("a.png.npz", "b.png.npz", "labels.json")
    ]
    before = [path.stat().st_mtime_ns for path in files]
    again = label_photos(network, tmp_path / "images", folder, config)
    assert (again.total, again.new) == (2, 0)
    assert [path.stat().st_mtime_ns for path in files] == before


def test_another_photo_of_the_same_name_is_labelled_anew(tmp_path: Path) -> None:
    images, folder = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    config = AdaptationConfig(teacher="corners", warps=2)

    def label(seed: int) -> int:
        for name in ("a.png", "caf\udce9.png"):  # the second is not UTF-8
            image = np.random.default_rng(seed).integers(0, 255, (50, 70), np.uint8)
            (images / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
        return label_photos(None, images, folder, config, split="all").new

    assert label(0) == 2
    assert label(0) == 0
    first = np.load(folder / "a.png.npz")["keypoints"]
    (images / "a.png").write_bytes((images / "a.png").read_bytes() + b"another")
    with pytest.raises(ConfigError, match=r"labels of another photo of the name a\.png"):
        LabelledPhotos(images, folder, PhotoConfig(), "all")
    assert label(1) == 2
    assert not np.array_equal(np.load(folder / "a.png.npz")["keypoints"], first)
    LabelledPhotos(images, folder, PhotoConfig(), "all")


def test_a_folder_holds_labels_of_one_kind(tmp_path: Path) -> None:
    images, folder = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    rng = np.random.default_rng(0)

    def add(name: str) -> None:
        cv2.imwrite(str(images / name), rng.integers(0, 255, (50, 70), np.uint8))

    def label(sha256: str = "a", **changes: Any) -> int:
        changed = dataclasses.replace(config, **changes)
        return label_photos(network, images, folder, changed, network_sha256=sha256).new

    config = AdaptationConfig(warps=2, threshold=0.0, precision="fp32")
    network = SuperPoint(NetworkConfig((4, 4, 8, 8), head_channels=8, descriptor_dim=8))
    (images / "junk.png").write_bytes(b"no photo")
    assert label(warps=3) == 0  # no label, so nothing to mix with
    add("a.png")
    assert label() == 1
    record = json.loads((folder / "labels.json").read_text())
    assert (record["network_sha256"], record["config"]["warps"]) == ("a", 2)
    with pytest.raises(ConfigError, match=r"another config \(warps, nms_radius\); remove it"):
        label(warps=3, nms_radius=2)
    assert label("b") == 0  # a stage that was trained on: what is done stays
    add("b.png")
    with pytest.raises(ConfigError, match=r"another config \(the network\)"):
        label("b")
    assert label(batch_size=3, precision="auto", max_photos=7) == 1
    # An older version's folder has no record; a younger version's settings are defaults in it.
    del record["config"]["nms_radius"]
    (folder / "labels.json").write_text(json.dumps(record))
    assert label() == 0
    (folder / "labels.json").unlink()
    add("c.png")
    assert label("b", warps=3) == 1
    assert not (folder / "labels.json").is_file()


def test_the_time_of_1000_photos_is_told() -> None:
    assert str(Labelling(7, 4, 24.0)) == "7 photos have labels, 4 new ones in 24 s: " + (
        "100.0 min per 1,000"
    )
