# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from superpoint_ros.geometry import se3
from superpoint_ros.geometry.epipolar import (
    decompose_essential,
    essential_from_pose,
    estimate_essential,
    sampson_error_px,
)
from superpoint_ros.geometry.triangulation import project

K_A = np.array([[420.0, 0, 355], [0, 421, 250], [0, 0, 1]])
K_B = np.array([[510.0, 0, 310], [0, 505, 235], [0, 0, 1]])
T_B_A = se3.exp(np.array([0.5, -0.1, 0.2, 0.03, -0.1, 0.05]))


def views(rng: np.random.Generator, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    points = rng.uniform([-2, -1.5, 3], [2, 1.5, 8], (count, 3))
    return project(points, K_A), project(se3.transform_points(T_B_A, points), K_B)


def test_sampson_error_is_zero_on_the_line_and_the_distance_beside_it() -> None:
    # Pure motion along x: epipolar lines are rows, so one row off in one image is 1/sqrt(2).
    T = np.eye(4)
    T[0, 3] = 1.0
    E = essential_from_pose(T)
    a, b = np.array([[100.0, 50.0]] * 2), np.array([[300.0, 50.0], [300.0, 51.0]])
    error = sampson_error_px(E, a, b, K_A, K_A)
    np.testing.assert_allclose(error, [0.0, 1 / np.sqrt(2)], atol=1e-9)


def test_estimate_with_outliers_holds_the_true_motion() -> None:
    rng = np.random.default_rng(1)
    a, b = views(rng)
    a, b = a + rng.normal(0, 0.3, a.shape), b + rng.normal(0, 0.3, b.shape)
    b[120:] = rng.uniform([0, 0], [640, 480], (80, 2))
    result = estimate_essential(a, b, K_A, K_B)
    assert result is not None
    assert result.inliers[:120].mean() > 0.9
    direction = T_B_A[:3, 3] / np.linalg.norm(T_B_A[:3, 3])
    errors = [
        np.degrees(np.linalg.norm(se3.log_so3(T[:3, :3].T @ T_B_A[:3, :3])))
        + np.degrees(np.arccos(np.clip(T[:3, 3] @ direction, -1, 1)))
        for T in decompose_essential(result.E_b_a)
    ]
    # A minimal sample's motion, not yet adjusted: rotation and direction to a few degrees.
    assert min(errors) < 6.0


def test_too_few_or_no_agreement_gives_none() -> None:
    rng = np.random.default_rng(2)
    a, b = views(rng, 19)
    assert estimate_essential(a, b, K_A, K_B) is None
    noise = rng.uniform([0, 0], [640, 480], (2, 30, 2))
    assert estimate_essential(noise[0], noise[1], K_A, K_B) is None
    with pytest.raises(ValueError, match="do not pair"):
        estimate_essential(a, b[:5], K_A, K_B)
