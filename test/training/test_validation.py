# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint_ros.features.classical import make_classical
from superpoint_ros.geometry.homography import warp_points
from superpoint_ros.training.datasets import is_validation, list_photos
from superpoint_ros.training.validation import (
    make_rotated_pairs,
    make_validation_pairs,
    measure,
)


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


def test_a_quarter_turn_is_what_it_says(photos: Path) -> None:
    pair = make_rotated_pairs(photos, 1, 90.0, size_hw=(120, 160))[0]
    assert pair.image_a.shape == (120, 160)
    centre = np.array([[79.5, 59.5]])
    np.testing.assert_allclose(warp_points(pair.H_b_a, centre), centre, atol=1e-9)
    right_of_it = warp_points(pair.H_b_a, centre + np.array([10.0, 0.0])) - centre
    np.testing.assert_allclose(right_of_it, [[0.0, 10.0]], atol=1e-9)  # right becomes down


def test_rootsift_solves_the_pairs(photos: Path) -> None:
    summary = measure(make_classical("rootsift", 300), make_rotated_pairs(photos, 2, 45.0))
    assert summary["he3"] == 1.0
    assert summary["mma3"] > 0.8
