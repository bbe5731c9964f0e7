# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest

from superpoint_ros.data import Array
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.camera import CalibrationError, Camera
from superpoint_ros.geometry.stereo import StereoPair
from superpoint_ros.geometry.triangulation import project

K = np.array([[400.0, 0.0, 330.0], [0.0, 405.0, 170.0], [0.0, 0.0, 1.0]])
K_RIGHT = np.array([[410.0, 0.0, 310.0], [0.0, 412.0, 190.0], [0.0, 0.0, 1.0]])
SIZE_HW = (360, 640)
DISTORTION = np.array([-0.25, 0.07, 0.0003, -0.0002])
# 10 cm to the right, 4 mm up, 3 mm ahead, and turned by some degrees about every axis.
T_LEFT_RIGHT = se3.exp(np.array([0.1, -0.004, 0.003, 0.03, -0.05, 0.02]))


def make_camera(K: Array, Tx: float = 0.0, **fields: Array) -> Camera:
    P = np.column_stack([K, [Tx, 0.0, 0.0]])
    return dataclasses.replace(Camera(K, image_size_hw=SIZE_HW, P=P, frame_id="cam"), **fields)


@pytest.fixture
def points() -> Array:
    """Points (50, 3) in the left optical frame, 1 to 6 m ahead."""
    rng = np.random.default_rng(5)
    return rng.uniform([-0.5, -0.3, 1.0], [0.5, 0.3, 6.0], (50, 3))


def see(pair: StereoPair, points: Array, T_left_right: Array) -> tuple[Array, Array]:
    """Return the raw, distorted pixels of the points in both images."""
    left = pair.left.distort(project(points, pair.left.K))
    points_right = se3.transform_points(se3.inverse(T_left_right), points)
    return left, pair.right.distort(project(points_right, pair.right.K))


def check(pair: StereoPair, points: Array, T_left_right: Array) -> None:
    """A point lies on one row, and its disparity tells its depth in the left camera."""
    raw_left, raw_right = see(pair, points, T_left_right)
    left = pair.rectify_left(pair.left.undistort(raw_left))
    right = pair.rectify_right(pair.right.undistort(raw_right))
    np.testing.assert_allclose(left[:, 1], right[:, 1], atol=1e-5)
    depth, _ = pair.depth(left, left[:, 0] - right[:, 0], 1.0)
    np.testing.assert_allclose(depth, points[:, 2], rtol=1e-5)


def test_rectified_images_need_only_the_projection(points):
    pair = StereoPair.from_cameras(make_camera(K), make_camera(K, Tx=-400.0 * 0.12))
    assert pair.baseline == pytest.approx(0.12)
    assert pair.focal_baseline == pytest.approx(48.0)
    T_left_right = np.eye(4)
    T_left_right[0, 3] = 0.12
    check(pair, points, T_left_right)


def test_offsets_of_both_cameras_count():
    # KITTI's colour cameras: both are measured from the left grey one.
    pair = StereoPair.from_cameras(make_camera(K, Tx=400 * 0.06), make_camera(K, Tx=-400 * 0.48))
    assert pair.baseline == pytest.approx(0.54)
    # An image of twice the size: the offset of a camera is over its own focal length.
    large = np.diag([2.0, 2.0, 1.0]) @ K
    pair = StereoPair.from_cameras(make_camera(K, Tx=400 * 0.06), make_camera(large, Tx=-96.0))
    assert pair.baseline == pytest.approx(0.06 + 96.0 / 800.0)


@pytest.mark.parametrize("distortion", [np.zeros(0), DISTORTION])
def test_known_extrinsics_rectify_turned_cameras(points, distortion):
    left = make_camera(K, distortion=distortion)
    right = make_camera(K_RIGHT, distortion=distortion * 1.1)
    pair = StereoPair.from_extrinsics(left, right, T_LEFT_RIGHT)
    assert pair.baseline == pytest.approx(np.linalg.norm(T_LEFT_RIGHT[:3, 3]))
    np.testing.assert_allclose(pair.R_rect_left @ pair.R_rect_left.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(pair.R_rect_left) == pytest.approx(1.0)
    check(pair, points, T_LEFT_RIGHT)


def test_the_rectified_image_looks_between_the_two_cameras():
    pair = StereoPair.from_extrinsics(make_camera(K), make_camera(K_RIGHT), T_LEFT_RIGHT)
    up_or_down = [R[1, 2] for R in (pair.R_rect_left, pair.R_rect_right)]  # of the optical axes
    assert abs(up_or_down[0]) > 0.01
    assert sum(up_or_down) == pytest.approx(0.0, abs=1e-12)


def test_a_ray_behind_the_rectified_image_is_nowhere_in_it():
    turned = se3.exp(np.array([0.1, 0.0, 0.0, 0.0, 0.7, 0.0]))  # so the left turns by 0.35
    pair = StereoPair.from_extrinsics(make_camera(K), make_camera(K_RIGHT), turned)
    angles = np.array([-1.1, -1.3, 1.3])
    pixels = np.column_stack([K[0, 2] + K[0, 0] * np.tan(angles), np.full(3, K[1, 2])])
    assert np.isnan(pair.rectify_left(pixels)).all(axis=1).tolist() == [False, True, False]


def test_noise_of_depth_is_along_the_left_camera_s_own_axis_too():
    pair = StereoPair.from_extrinsics(make_camera(K), make_camera(K_RIGHT), T_LEFT_RIGHT)
    pixels, disparity = np.array([[600.0, 40.0], [30.0, 330.0]]), np.array([20.0, 5.0])
    depth, sigma = pair.depth(pixels, disparity, np.array([0.5, 2.0]))
    less, _ = pair.depth(pixels, disparity - 1e-5, 1.0)
    np.testing.assert_allclose(sigma, (less - depth) / 1e-5 * [0.5, 2.0], rtol=1e-4)
    assert np.abs(depth / (pair.focal_baseline / disparity) - 1.0).min() > 0.01  # turned back


def test_rotation_and_projection_of_camera_info_do_the_same(points):
    # What a stereo calibration writes: its own rotations, and P of another focal length.
    known = StereoPair.from_extrinsics(make_camera(K), make_camera(K_RIGHT), T_LEFT_RIGHT)
    K_rect = np.diag([380.0, 380.0, 1.0])
    pair = StereoPair.from_cameras(
        make_camera(
            K,
            distortion=DISTORTION,
            R_rect_cam=known.R_rect_left,
            P=np.column_stack([K_rect, np.zeros(3)]),
        ),
        make_camera(
            K_RIGHT,
            distortion=DISTORTION,
            R_rect_cam=known.R_rect_right,
            P=np.column_stack([K_rect, [-380.0 * known.baseline, 0.0, 0.0]]),
        ),
    )
    assert pair.baseline == pytest.approx(known.baseline)
    check(pair, points, T_LEFT_RIGHT)


def test_noise_of_depth_is_that_of_a_disparity_propagated():
    pair = StereoPair.from_cameras(make_camera(K), make_camera(K, Tx=-40.0))  # f b = 40
    centre = np.array([[330.0, 170.0]] * 2)
    depth, sigma = pair.depth(centre, np.array([20.0, 5.0]), 0.5)
    np.testing.assert_allclose(depth, [2.0, 8.0])
    np.testing.assert_allclose(sigma, [2.0**2 * 0.5 / 40.0, 8.0**2 * 0.5 / 40.0])
    step = 1e-4
    changed, _ = pair.depth(centre, np.array([20.0, 5.0]) - step, 0.5)
    np.testing.assert_allclose(sigma, (changed - depth) / step * 0.5, rtol=1e-3)


@pytest.mark.parametrize(
    ("right", "says"),
    [
        (make_camera(K), "frame 'cam'.*baseline is unknown.*stereo.T_left_right"),
        (Camera(K), "baseline is unknown"),
        (make_camera(K, Tx=48.0), "0.12 m to the left of the left one: exchange"),
        (make_camera(K, Tx=-48000.0), "120 m: it is to be in metres"),
        (make_camera(K, Tx=-48.0, R_rect_cam=np.eye(3) * 2), "R is not a rotation"),
        (make_camera(K, P=np.column_stack([K, [0.0, -48.0, 0.0]])), "not that of cameras side by"),
    ],
)
def test_projections_without_a_baseline_that_can_be_are_refused(right, says):
    with pytest.raises(CalibrationError, match=says):
        StereoPair.from_cameras(make_camera(K), right)


@pytest.mark.parametrize(
    ("twist", "says"),
    [
        ([0.0, 0, 0, 0, 0, 0], "baseline .* is zero"),
        ([-0.11, 0, 0, 0, 0, 0], "exchange the topics"),
        ([110.0, 0, 0, 0, 0, 0], "not millimetres"),
        ([0.01, 0.11, 0, 0, 0, 0], "not beside the left"),
        ([0.11, 0, 0, 0, 1.2, 0], "not beside the left"),
    ],
)
def test_extrinsics_that_cannot_be_are_refused(twist, says):
    with pytest.raises(CalibrationError, match=f"stereo.T_left_right.*{says}"):
        StereoPair.from_extrinsics(
            make_camera(K), make_camera(K_RIGHT), se3.exp(np.array(twist, np.float64))
        )
