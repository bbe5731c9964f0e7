# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest

from superpoint_ros.config import ConfigError
from superpoint_ros.data import Array, Features
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.camera import CalibrationError, Camera
from superpoint_ros.geometry.triangulation import project
from superpoint_ros.odometry.observation import (
    StereoConfig,
    make_stereo_observation,
    make_stereo_pair,
)

SIZE_HW = (360, 640)
K = np.array([[400.0, 0.0, 330.0], [0.0, 405.0, 170.0], [0.0, 0.0, 1.0]])
LEFT = Camera(K, P=np.column_stack([K, np.zeros(3)]))
RIGHT = Camera(K, P=np.column_stack([K, [-48.0, 0.0, 0.0]]))  # 12 cm


def features(keypoints: Array, descriptors: Array) -> Features:
    return Features(
        np.asarray(keypoints, np.float32).reshape(-1, 2),
        np.ones(len(keypoints), np.float32),
        np.asarray(descriptors, np.float32),
        SIZE_HW,
    )


def depths(left: Array, right: Array, config: StereoConfig | None = None) -> Array:
    """Return the depth of left keypoints whose descriptors are those of the right, in order."""
    descriptors = np.eye(max(len(left), len(right)), 8)
    observation = make_stereo_observation(
        3,
        features(left, descriptors[: len(left)]),
        features(right, descriptors[: len(right)]),
        make_stereo_pair(LEFT, RIGHT, config or StereoConfig()),
        config,
    )
    assert observation.stamp_ns == 3
    np.testing.assert_array_equal(np.isnan(observation.depth), np.isnan(observation.depth_sigma))
    return observation.depth


def test_depth_is_focal_length_times_baseline_over_disparity():
    left = [[200.0, 50.0], [300.0, 100.0], [500.0, 300.0]]
    right = [[176.0, 50.0], [284.0, 101.5], [476.0, 303.0]]
    # 24 px are 2 m and 16 px are 3 m; the last lies 3 px off its row.
    np.testing.assert_allclose(depths(left, right), [2.0, 3.0, np.nan])
    config = StereoConfig(max_row_error_px=4.0)
    np.testing.assert_allclose(depths(left, right, config), [2.0, 3.0, 2.0])


def test_only_disparities_of_points_in_range_count():
    left = [[400.0, 50.0], [400.0, 100.0], [400.0, 150.0], [400.0, 200.0]]
    # Behind the cameras, too far, too near (48 / 0.25 is 192 px), and just right.
    right = [[420.0, 50.0], [396.0, 100.0], [200.0, 150.0], [300.0, 200.0]]
    np.testing.assert_allclose(depths(left, right), [np.nan, np.nan, np.nan, 0.48])


def test_descriptors_decide_within_the_band_and_both_ways():
    a, b = np.eye(8)[:2]
    near_a = np.array([0.9, np.sqrt(1 - 0.81), 0, 0, 0, 0, 0, 0])
    pair = make_stereo_pair(LEFT, RIGHT, StereoConfig())
    observation = make_stereo_observation(
        0,
        # Two left keypoints want the same right one; the more similar gets it.
        features([[300.0, 80.0], [310.0, 80.5], [300.0, 200.0]], [near_a, a, b]),
        features([[280.0, 80.0], [260.0, 80.0]], [a, np.eye(8)[5]]),
        pair,
    )
    np.testing.assert_allclose(observation.depth, [np.nan, 48.0 / 30.0, np.nan])
    np.testing.assert_allclose(observation.depth_sigma[1], 1.6**2 / 48.0)


def test_a_depth_comes_with_the_score_of_its_right_keypoint() -> None:
    descriptors = np.eye(3, 8)
    left = features([[100.0, 50.0], [200.0, 80.0], [300.0, 80.0]], descriptors)
    right = features([[270.0, 80.0], [70.0, 50.0]], descriptors[[2, 0]])
    right = dataclasses.replace(right, scores=np.array([0.75, 0.25], np.float32))
    pair = make_stereo_pair(LEFT, RIGHT, StereoConfig())
    observation = make_stereo_observation(0, left, right, pair)
    assert observation.right_scores is not None
    np.testing.assert_array_equal(observation.right_scores, [0.25, np.nan, 0.75])
    np.testing.assert_array_equal(np.isnan(observation.depth), [False, True, False])


def test_a_second_keypoint_as_alike_in_the_band_makes_a_match_ambiguous():
    a = np.eye(8)[0]
    alike = [[0.9, np.sqrt(0.19), *[0.0] * 6], [0.89, 0.0, np.sqrt(1 - 0.89**2), *[0.0] * 5]]
    for max_ratio, depth in ((0.95, np.nan), (0.97, 2.4)):
        config = StereoConfig(max_ratio=max_ratio)  # of the distances, .447 and .469: 0.953
        observation = make_stereo_observation(
            0,
            features([[300.0, 80.0]], [a]),
            features([[280.0, 80.0], [260.0, 80.0]], alike),
            make_stereo_pair(LEFT, RIGHT, config),
            config,
        )
        np.testing.assert_allclose(observation.depth, [depth])


@pytest.mark.parametrize(("num_left", "num_right"), [(0, 0), (0, 3), (3, 0)])
def test_no_keypoints_are_fine(num_left, num_right):
    points = np.array([[100.0, 50.0]] * 3)
    assert np.isnan(depths(points[:num_left], points[:num_right])).all()


def test_raw_images_with_distortion_and_extrinsics_give_depth_in_the_left_camera():
    rng = np.random.default_rng(8)
    points = rng.uniform([-0.5, -0.3, 1.0], [0.5, 0.3, 4.0], (60, 3))
    T_left_right = se3.exp(np.array([0.1, -0.004, 0.003, 0.03, -0.05, 0.02]))
    quaternion = se3.quaternion_from_rotation(T_left_right[:3, :3])
    config = StereoConfig(T_left_right=(*T_left_right[:3, 3], *quaternion))
    distortion = np.array([-0.25, 0.07, 0.0003, -0.0002])
    left, right = Camera(K, distortion), Camera(K * [[1.02], [1.01], [1.0]], distortion * 1.1)
    pixels_left = project(points, left.K)
    points_right = se3.transform_points(se3.inverse(T_left_right), points)
    descriptors = rng.normal(size=(60, 64))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    order = rng.permutation(60)
    observation = make_stereo_observation(
        0,
        features(left.distort(pixels_left), descriptors),
        features(right.distort(project(points_right, right.K))[order], descriptors[order]),
        make_stereo_pair(left, right, config),
        config,
    )
    np.testing.assert_allclose(observation.depth, points[:, 2], rtol=1e-4)
    np.testing.assert_allclose(observation.pixels, pixels_left, atol=1e-4)
    np.testing.assert_array_equal(observation.K, left.K)


def test_a_disparity_at_the_corner_of_a_wide_lens_is_as_unsure_as_its_raw_pixel() -> None:
    distortion = np.array([-0.3, 0.09, 0.0, 0.0])
    left, right = (dataclasses.replace(camera, distortion=distortion) for camera in (LEFT, RIGHT))
    pixels = np.array([[330.0, 170.0], [-95.0, -60.0]])  # the middle and, raw, the corner
    keypoints = left.distort(pixels)
    assert (np.abs(keypoints[1]) < 40.0).all()
    observation = make_stereo_observation(
        0,
        features(keypoints, np.eye(2, 8)),
        features(right.distort(pixels - [24.0, 0.0]), np.eye(2, 8)),
        make_stereo_pair(left, right, StereoConfig()),
    )
    # A raw pixel's area in the pinhole image.
    h = 0.01
    here, beside, below = (left.undistort(keypoints + step) for step in ([0, 0], [h, 0], [0, h]))
    a, b = (beside - here) / h, (below - here) / h
    stretch = np.sqrt(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
    assert stretch[1] > 1.4 * stretch[0]
    np.testing.assert_allclose(observation.depth, 2.0, rtol=1e-3)
    np.testing.assert_allclose(observation.depth_sigma, 2.0**2 / 48.0 * stretch, rtol=1e-2)
    np.testing.assert_array_equal(observation.stretch, left.pixel_scale(observation.pixels))
    np.testing.assert_array_equal(observation.outline, left.outline(SIZE_HW))


def test_extrinsics_are_checked():
    with pytest.raises(ConfigError, match=r"T_left_right: expected 7 numbers .* got 3"):
        StereoConfig(T_left_right=(0.1, 0.0, 0.0))
    with pytest.raises(ConfigError, match=r"T_left_right: the quaternion"):
        StereoConfig(T_left_right=(0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    with pytest.raises(CalibrationError, match=r"stereo\.T_left_right: the baseline"):
        make_stereo_pair(LEFT, RIGHT, StereoConfig(T_left_right=(0, 0, 0, 0, 0, 0, 1)))
