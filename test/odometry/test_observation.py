# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from superpoint_ros.config import ConfigError
from superpoint_ros.data import Features
from superpoint_ros.geometry.camera import Camera
from superpoint_ros.odometry.observation import DepthConfig, make_observation, sample_depth

K = np.array([[50.0, 0, 40], [0, 50, 24], [0, 0, 1]])


def features(keypoints: list[list[float]]) -> Features:
    n = len(keypoints)
    return Features(
        np.array(keypoints, np.float32).reshape(n, 2),
        np.ones(n, np.float32),
        np.eye(max(n, 1), 8, dtype=np.float32)[:n],
        (48, 80),
    )


def test_a_slanted_plane_is_read_exactly_between_pixels() -> None:
    # On a plane inverse depth is linear in the pixel.
    y, x = np.mgrid[0:48, 0:80]
    depth = (1.0 / (0.5 + 0.0005 * x - 0.0003 * y)).astype(np.float64)
    keypoints = np.array([[10.25, 20.75], [78.9, 46.9], [0.0, 0.0], [79.0, 47.0]])
    expected = 1.0 / (0.5 + 0.0005 * keypoints[:, 0] - 0.0003 * keypoints[:, 1])
    np.testing.assert_allclose(sample_depth(depth, keypoints, DepthConfig()), expected, rtol=1e-9)


def test_edges_holes_and_the_untrusted_range_are_nan() -> None:
    depth = np.full((48, 80), 2.0, np.float32)
    depth[:, 40:] = 3.0  # an edge between columns 39 and 40
    depth[10, 10] = np.nan
    depth[30, 10] = 0.0
    depth[:, 70:] = 20.0
    keypoints = np.array(
        [[39.4, 20.0], [36.9, 20.0], [9.6, 10.2], [10.0, 30.0], [76.0, 20.0], [50.0, 20.0]]
    )
    sampled = sample_depth(depth, keypoints, DepthConfig())
    np.testing.assert_allclose(sampled, [np.nan, 2.0, np.nan, np.nan, np.nan, 3.0], atol=1e-6)


def test_depth_is_looked_up_at_the_raw_keypoint() -> None:
    # A bright step that undistortion would move past: the raw pixel decides.
    camera = Camera(K, np.array([-0.3, 0.0, 0.0, 0.0]))
    depth = np.full((48, 80), 1.0, np.float32)
    depth[:, 70:] = 5.0
    observation = make_observation(7, features([[74.0, 24.0], [64.0, 24.0]]), camera, depth)
    np.testing.assert_allclose(observation.depth, [5.0, 1.0])
    assert observation.pixels[0, 0] > 75.0
    assert observation.stamp_ns == 7


@pytest.mark.parametrize("limits", [{"minimum": 12.0}, {"minimum": 1.0, "maximum": 0.5}])
def test_limits_of_depth_that_nothing_meets(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"depth.minimum: .* is not below the maximum"):
        DepthConfig(**limits)


def test_mono_has_no_depth_and_no_keypoints_are_fine() -> None:
    camera = Camera(K)
    assert np.isnan(make_observation(0, features([[5.0, 6.0]]), camera).depth).all()
    empty = make_observation(0, features([]), camera, np.ones((48, 80), np.float32))
    assert empty.pixels.shape == (0, 2)
    assert empty.depth.shape == (0,)


def test_depth_of_another_size_is_named() -> None:
    with pytest.raises(ValueError, match="40x24 but the image is 80x48"):
        make_observation(0, features([[5.0, 6.0]]), Camera(K), np.ones((24, 40)))


def test_noise_grows_from_the_floor() -> None:
    depth = np.array([0.3, 0.4, 3.4])
    noise = np.array([0.0012, 0.0012, 0.0012 + 0.0019 * 9.0])
    np.testing.assert_allclose(DepthConfig(sigma_relative=0.0).sigma(depth), noise)
    np.testing.assert_allclose(DepthConfig().sigma(depth) ** 2, noise**2 + (0.02 * depth) ** 2)
