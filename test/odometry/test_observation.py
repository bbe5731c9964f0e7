# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import itertools

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


@pytest.mark.parametrize("axis", [0, 1])
def test_a_depth_edge_is_refused_up_to_two_pixels_from_it(axis: int) -> None:
    near, far = np.full((48, 80), 2.0), 3.0
    near[(slice(None), slice(20, None)) if axis == 0 else slice(20, None)] = far
    across = np.array([17.4, 17.6, 18.0, 19.0, 20.0, 21.4, 21.6])
    keypoints = np.full((7, 2), 30.0)
    keypoints[:, axis] = across
    sampled = sample_depth(near, keypoints, DepthConfig())
    np.testing.assert_allclose(sampled, [2.0, *[np.nan] * 5, 3.0], atol=1e-12)


def test_anything_at_another_depth_within_two_pixels_is_an_edge() -> None:
    keypoint = np.array([[30.0, 20.0]])
    for dx, dy in itertools.product(range(-3, 4), repeat=2):
        if (dx, dy) == (0, 0):
            continue
        depth = np.full((48, 80), 2.0)
        depth[20 + dy, 30 + dx] = 3.0
        expected = 2.0 if max(abs(dx), abs(dy)) > 2 else np.nan
        np.testing.assert_allclose(sample_depth(depth, keypoint, DepthConfig()), [expected])


@pytest.mark.parametrize("scale", [0.5, 4.0])
def test_a_step_is_an_edge_by_its_share_of_depth(scale: float) -> None:
    keypoints = np.array([[38.0, 20.0]])
    for step, expected in ((0.04, scale), (0.06, np.nan)):
        depth = np.full((48, 80), scale)
        depth[:, 40:] *= 1.0 + step
        np.testing.assert_allclose(sample_depth(depth, keypoints, DepthConfig()), [expected])


@pytest.mark.parametrize("hole", [0.0, np.nan, np.inf])
def test_a_hole_beside_the_four_pixels_around_a_keypoint_is_no_edge(hole: float) -> None:
    depth = np.full((48, 80), 2.0)
    depth[20, 12] = hole
    keypoints = np.array([[10.4, 20.0], [11.4, 20.0]])
    np.testing.assert_allclose(sample_depth(depth, keypoints, DepthConfig()), [2.0, np.nan])


def test_depth_nearer_than_the_sensor_measures_is_not_used() -> None:
    keypoints = np.array([[10.0, 20.0]])
    for depth, expected in ((0.49, np.nan), (0.51, 0.51)):
        sampled = sample_depth(np.full((48, 80), depth), keypoints, DepthConfig(minimum=0.5))
        np.testing.assert_allclose(sampled, [expected])


def test_depth_is_looked_up_at_the_raw_keypoint() -> None:
    # A plane whose depth tells the column: undistortion moves the keypoints by some pixels.
    camera = Camera(K, np.array([-0.3, 0.0, 0.0, 0.0]))
    depth = np.tile(1.0 / (0.5 + 0.001 * np.arange(80.0)), (48, 1))
    observation = make_observation(7, features([[74.0, 24.0], [64.0, 24.0]]), camera, depth)
    np.testing.assert_allclose(observation.depth, [1.0 / 0.574, 1.0 / 0.564])
    assert observation.pixels[0, 0] > 75.0
    assert observation.stamp_ns == 7


def test_an_observation_is_as_unsure_as_sensor_and_lens_say() -> None:
    camera = Camera(K, np.array([-0.3, 0.09, 0.0, 0.0]))
    config = DepthConfig(sigma_floor=0.05, sigma_relative=0.0)
    frame = features([[40.0, 24.0], [74.0, 40.0]])
    seen = make_observation(0, frame, camera, np.full((48, 80), 0.3), config)
    np.testing.assert_allclose(seen.depth_sigma, 0.05)  # nearer than where noise begins to grow
    h = 0.01
    raw = frame.keypoints.astype(np.float64)
    here, beside, below = (camera.undistort(raw + step) for step in ([0, 0], [h, 0], [0, h]))
    a, b = (beside - here) / h, (below - here) / h
    stretch = np.sqrt(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])  # root of a raw pixel's area
    assert stretch[1] > 1.3 * stretch[0]
    np.testing.assert_allclose(seen.stretch, stretch, rtol=1e-3)
    np.testing.assert_array_equal(seen.outline, camera.outline((48, 80)))


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
