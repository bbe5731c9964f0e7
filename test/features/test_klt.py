# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from superpoint_ros.data import Array
from superpoint_ros.features.klt import KltExtractor
from superpoint_ros.matching import MatchConfig, match

SIZE_HW = (120, 200)


def texture() -> Array:
    coarse = np.random.default_rng(0).integers(0, 255, (25, 35), np.uint8)
    return cv2.resize(coarse, (280, 200), interpolation=cv2.INTER_CUBIC)


def view(x: float, y: float) -> Array:
    """The texture from (x, y) on."""
    M = np.array([[1.0, 0, -x], [0, 1, -y]])
    return cv2.warpAffine(texture(), M, SIZE_HW[::-1], flags=cv2.INTER_LINEAR)


def test_tracks_follow_a_known_motion_over_many_frames_and_match_by_descriptor() -> None:
    extract = KltExtractor(max_keypoints=150)
    first = extract(view(10, 20))
    for step in range(1, 9):
        last = extract(view(10 + 2.5 * step, 20 + 1.5 * step))
    pairs = match(first, last, MatchConfig(min_similarity=0.6, max_ratio=0.95))
    moved = last.keypoints[pairs[:, 1]] - first.keypoints[pairs[:, 0]]
    assert len(pairs) > 60  # of about 120 that are still in view
    error = np.linalg.norm(moved - [-20.0, -12.0], axis=1)
    assert (np.median(error), np.mean(error < 1.0)) == pytest.approx((0.0, 1.0), abs=0.25)
    assert len(last) == 150  # filled up
    assert (np.diff(last.scores) <= 0.0).all()
    np.testing.assert_allclose(np.linalg.norm(last.descriptors, axis=1), 1.0, atol=1e-5)


def test_what_was_lost_is_not_recognised() -> None:
    extract = KltExtractor(max_keypoints=100)
    first = extract(view(10, 20))
    extract(np.zeros(SIZE_HW, np.uint8))  # the camera is covered
    again = extract(view(10, 20))
    matches = match(first, again, MatchConfig(min_similarity=0.6))
    assert len(matches) == 0


def test_the_right_image_shares_the_descriptors_of_the_left() -> None:
    extract = KltExtractor(max_keypoints=100)
    left, right = extract.extract_batch([view(10, 20), view(24.5, 20)])
    pairs = match(left, right, MatchConfig(min_similarity=0.99))
    disparity = left.keypoints[pairs[:, 0]] - right.keypoints[pairs[:, 1]]
    assert len(pairs) > 40
    np.testing.assert_allclose(np.median(disparity, axis=0), [14.5, 0.0], atol=0.05)


def test_an_empty_image_and_one_of_another_size_start_anew() -> None:
    extract = KltExtractor()
    assert len(extract(np.full((48, 80), 9, np.uint8))) == 0
    features = extract(view(0, 0))
    assert features.image_size_hw == SIZE_HW
    assert len(features) > 0
    assert len(extract(np.full(SIZE_HW, 9, np.uint8))) == 0


def test_without_a_limit_all_corners_are_tracked() -> None:
    unlimited, limited = KltExtractor(max_keypoints=0), KltExtractor(max_keypoints=150)
    for image in (view(0, 0), view(2, 1)):
        assert len(unlimited(image)) > len(limited(image)) == 150
