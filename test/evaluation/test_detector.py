# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from superpoint_ros.evaluation.detector import (
    average_precision,
    join_detections,
    judge_detections,
    measure_repeatability,
    nearest_distances,
)

SHIFT = np.array([[1.0, 0, 20], [0, 1, 0], [0, 0, 1]])  # b sees a moved 20 pixels to the right


def test_repeatability_counts_shared_points_of_both_images() -> None:
    a = np.array([[10.0, 10], [30, 40], [75, 5]])  # the last leaves b (80 wide)
    b = np.array([[31.0, 10], [50, 44], [5, 5]])  # 1 px off, 4 px off, not in a
    result = measure_repeatability(a, b, SHIFT, (48, 80), (48, 80))
    assert result.num_shared == 4
    assert result.repeatability == pytest.approx(0.5)
    assert result.localization_px == pytest.approx(1.0)


def test_each_image_has_its_own_scale_and_size() -> None:
    H_b_a = np.array([[2.0, 0, -110], [0, 2, -30], [0, 0, 1]])
    a = np.array([[60.0, 20], [60, 45], [79, 20], [50, 20]])  # the last is left of b
    b = np.array([[12.0, 10], [10, 64], [48, 70], [58, 10]])  # the last two: below a, right of a
    # In b the first two of a are at (10, 10) and (10, 60): 2 px off, and 4, which are 2 of a.
    result = measure_repeatability(a, b, H_b_a, (48, 80), (90, 60))
    assert result.num_shared == 5
    assert result.repeatability == pytest.approx(2 / 5)
    assert result.localization_px == pytest.approx(2.0)


def test_distances_in_large_images_are_exact() -> None:
    # Squares of float32 pixels, 64e6 here, are told apart by 4.
    points = np.array([[7000.0, 4000.0]], np.float32)
    others = np.array([[7001.0, 4000.5], [300.0, 20.0]], np.float32)
    np.testing.assert_allclose(nearest_distances(points, others), [np.hypot(1.0, 0.5)])


def test_repeatability_of_nothing_is_zero() -> None:
    nothing = np.zeros((0, 2))
    result = measure_repeatability(nothing, nothing, np.eye(3), (48, 80), (48, 80))
    assert result.repeatability == 0.0
    assert np.isnan(result.localization_px)
    some = np.array([[4.0, 4.0]])
    assert measure_repeatability(some, nothing, np.eye(3), (48, 80), (48, 80)).repeatability == 0


def test_each_corner_is_found_once_by_the_best_detection() -> None:
    keypoints = np.array([[10.0, 10], [11, 10], [40, 30], [70, 40]])
    judged = judge_detections(
        keypoints, np.array([0.5, 0.9, 0.8, 0.7]), np.array([[10.0, 10], [41, 30], [5, 40]])
    )
    assert judged.is_correct.tolist() == [False, True, True, False]
    assert judged.distances_px[1:3] == pytest.approx([1.0, 1.0])
    doubtful = np.array([[71.0, 41], [41, 31]])  # the last harms no right detection
    lenient = judge_detections(
        keypoints, np.array([0.5, 0.9, 0.8, 0.7]), np.array([[10.0, 10], [41, 30]]), 3.0, doubtful
    )
    assert lenient.scores.tolist() == [0.5, 0.9, 0.8]
    assert lenient.is_correct.tolist() == [False, True, True]
    joined = join_detections([judged, judged])
    assert joined.num_true == 6
    assert len(joined.scores) == 8


def test_average_precision_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    correct = np.array([True, False, True, False])
    # Precision 1 up to recall 1/3, then 2/3 up to recall 2/3; the last third is never found.
    assert average_precision(scores, correct, 3) == pytest.approx((1 + 2 / 3) / 3)
    # A wrong one first: precision 0, 1/2, 2/3; at each recall the best of what follows.
    late = np.array([False, True, True])
    assert average_precision(scores[:3], late, 2) == pytest.approx(2 / 3)
    assert average_precision(scores, np.ones(4, bool), 4) == pytest.approx(1.0)
    assert average_precision(np.zeros(0), np.zeros(0, bool), 4) == 0.0
