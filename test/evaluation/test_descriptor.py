# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest

from superpoint_ros.data import Features
from superpoint_ros.evaluation.descriptor import (
    match_errors,
    matching_score,
    nearest_neighbour_ap,
)

SHIFT = np.array([[1.0, 0, 20], [0, 1, 0], [0, 0, 1]])


def features(points: list[list[float]], descriptors: np.ndarray) -> Features:
    keypoints = np.array(points, np.float32)
    scores = np.linspace(1, 0.5, len(points)).astype(np.float32)
    return Features(keypoints, scores, descriptors.astype(np.float32), (48, 80))


A = features([[10, 10], [30, 40], [75, 5]], np.eye(3))
B = features([[31, 10], [50, 44], [5, 5]], np.eye(3))


def test_errors_and_matching_score_by_hand() -> None:
    matches = np.array([[0, 0], [1, 1]])
    errors = match_errors(matches, A, B, SHIFT)
    assert errors == pytest.approx([1.0, 4.0])
    # One correct match; two points of a are seen by b, two of b by a.
    assert matching_score((1, 1), A, B, SHIFT) == pytest.approx(0.5)
    assert matching_score((1, 2), A, B, SHIFT) == pytest.approx(0.75)


def test_matching_score_of_images_of_other_sizes() -> None:
    H_b_a = np.array([[2.0, 0, -110], [0, 2, -30], [0, 0, 1]])
    a = features([[60, 20], [60, 45], [79, 20], [50, 20]], np.eye(4))  # b sees all but the last
    b = features([[12, 10], [10, 64], [48, 70], [58, 10]], np.eye(4))  # a sees the first two
    b = dataclasses.replace(b, image_size_hw=(90, 60))
    assert matching_score((1, 1), a, b, H_b_a) == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_beyond_the_horizon_no_match_is_right() -> None:
    H = np.array([[1.0, 0, 0], [0, 1, 0], [-0.05, 0, 1]])  # w < 0 right of x = 20
    assert match_errors(np.array([[2, 2]]), A, B, H)[0] == np.inf


def test_nearest_neighbour_ap_by_hand() -> None:
    # Only point 0 has a counterpart within 3 px; it is found, first among equals.
    assert nearest_neighbour_ap(A, B, SHIFT) == pytest.approx(1.0)
    swapped = features([[31, 10], [50, 44], [5, 5]], np.eye(3)[[1, 0, 2]])
    assert nearest_neighbour_ap(A, swapped, SHIFT) == 0.0
    # Point 2 of a outbids point 0: one of two neighbours is right from a to b, none from b to a.
    louder = features([[10, 10], [30, 40], [75, 5]], np.array([[1, 0, 0], [0, 0, 0], [2, 0, 0]]))
    assert nearest_neighbour_ap(louder, B, SHIFT) == pytest.approx(0.5)
    assert nearest_neighbour_ap(louder, B, SHIFT, is_symmetric=True) == pytest.approx(0.25)
