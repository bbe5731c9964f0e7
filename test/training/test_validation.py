# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint_ros.features.peers import make_peer
from superpoint_ros.geometry.homography import warp_points
from superpoint_ros.training.changes import CHANGES, make_changed_pairs
from superpoint_ros.training.datasets import is_validation, list_photos
from superpoint_ros.training.validation import make_validation_pairs, measure


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    names = [name for name in (f"{i}.png" for i in range(200)) if is_validation(name)][:2]
    for name in [*names, "7.png"]:
        coarse = rng.integers(0, 255, (30, 44), np.uint8)
        cv2.imwrite(str(tmp_path / name), cv2.resize(coarse, (352, 240)))
    return tmp_path


def test_validation_photos_are_never_trained_on(photos: Path) -> None:
    train, held_back = list_photos(photos), list_photos(photos, "validation")
    assert len(held_back) == 2
    assert not set(train) & set(held_back)
    names = [pair.name.split("#")[0] for pair in make_validation_pairs(photos, 4)]
    assert set(names) == {path.name for path in held_back}


def test_a_photo_that_cannot_be_read_costs_no_pair(photos: Path) -> None:
    first, second = list_photos(photos, "validation")
    first.write_bytes(b"broken")
    names = [pair.name.split("#")[0] for pair in make_validation_pairs(photos, 3)]
    assert names == [second.name] * 3
    second.write_bytes(b"broken")
    assert make_validation_pairs(photos, 3) == []


def test_a_quarter_turn_is_what_it_says(photos: Path) -> None:
    pair = make_changed_pairs(photos, 1, "rotation", 90.0)[0]
    assert pair.image_a.shape == (240, 240)
    centre = np.array([[119.5, 119.5]])
    np.testing.assert_allclose(warp_points(pair.H_b_a, centre), centre, atol=1e-9)
    right_of_it = warp_points(pair.H_b_a, centre + np.array([10.0, 0.0])) - centre
    np.testing.assert_allclose(right_of_it, [[0.0, 10.0]], atol=1e-9)  # right becomes down


@pytest.mark.parametrize(("change", "amount", "area"), [("zoom", 2.0, 0.25), ("tilt", 60.0, 0.5)])
def test_the_middle_shrinks_as_the_change_says(
    photos: Path, change: str, amount: float, area: float
) -> None:
    for pair in make_changed_pairs(photos, 2, change, amount):
        square = np.array([[159, 119], [160, 119], [160, 120], [159, 120]], np.float64)
        warped = warp_points(pair.H_b_a, square)
        np.testing.assert_allclose(warped.mean(0), [159.5, 119.5], atol=0.01)
        assert cv2.contourArea(warped.astype(np.float32)) == pytest.approx(area, rel=0.01)


@pytest.mark.parametrize("change", CHANGES)
def test_images_and_homography_of_a_change_belong_together(photos: Path, change: str) -> None:
    """Pixels of the changed view, brought back, are those of the first but for the noise."""
    amount = {"rotation": 45.0, "zoom": 1.5, "tilt": 45.0, "blur": 0.0, "light": 1.0}[change]
    for pair in make_changed_pairs(photos, 2, change, amount):
        size = pair.image_a.shape[::-1]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        back = cv2.warpPerspective(pair.image_b, pair.H_b_a, size, flags=flags)
        inner = (slice(80, 160), slice(size[0] // 2 - 50, size[0] // 2 + 50))
        a, b = pair.image_a[inner].ravel(), back[inner].ravel()
        assert np.corrcoef(a, b)[0, 1] > 0.9


def test_blur_and_darkness_take_contrast_away(photos: Path) -> None:
    for change, less, more in (("blur", 1.0, 4.0), ("light", 1 / 4, 1 / 16)):
        mild, strong = (
            make_changed_pairs(photos, 2, change, amount)[1].image_b.std()
            for amount in (less, more)
        )
        assert strong < 0.8 * mild


def test_rootsift_solves_the_pairs(photos: Path) -> None:
    pairs = make_changed_pairs(photos, 2, "rotation", 45.0)
    summary = measure(make_peer("rootsift", 300), pairs)
    assert summary["he3"] == 1.0
    assert summary["mma3"] > 0.8
