# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frames: what a robot sees of a camera's motion, with numbers known by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from superpoint_ros.config import ConfigError
from superpoint_ros.geometry import se3
from superpoint_ros.ros import frames
from superpoint_ros.ros.frames import Mounting

pytestmark = pytest.mark.ros


@pytest.fixture
def T_base_cam():
    """A camera 0.3 m ahead of and 0.5 m above the base, looking ahead."""
    T = np.eye(4)
    T[:3, :3] = frames.R_BODY_OPTICAL
    T[:3, 3] = 0.3, 0.0, 0.5
    return T


def test_forward_of_the_camera_is_forward_of_the_base(T_base_cam):
    mounting = Mounting.on_base("base_link", T_base_cam)
    ahead = np.eye(4)
    ahead[2, 3] = 2.0  # z of the optical frame
    np.testing.assert_allclose(mounting.pose(ahead)[:3, 3], [2.0, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(mounting.pose(np.eye(4)), np.eye(4), atol=1e-12)


def test_a_turn_on_the_spot_moves_the_camera_but_not_the_base(T_base_cam):
    mounting = Mounting.on_base("base_link", T_base_cam)
    T_odom_base = frames.pose_from_rpy(0.0, 0.0, 0.0, 0.0, 0.0, np.pi / 2)  # left
    T_world_cam = mounting.camera_pose(T_odom_base)
    assert np.linalg.norm(T_world_cam[:3, 3]) == pytest.approx(0.3 * np.sqrt(2.0))
    np.testing.assert_allclose(mounting.pose(T_world_cam), T_odom_base, atol=1e-12)


def test_the_camera_alone_is_levelled():
    mounting = Mounting.of_camera("cam")
    T = mounting.pose(np.eye(4))
    np.testing.assert_allclose(T[:3, 2], [1.0, 0.0, 0.0])  # looks along x of odom
    np.testing.assert_allclose(mounting.points(np.array([[1.0, 2.0, 3.0]])), [[3.0, -1.0, -2.0]])


def test_the_camera_alone_is_set_as_a_body_is(T_base_cam):
    """Zeros are where a start without a pose is, and yaw turns to the left."""
    zeros = frames.pose_from_rpy(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    left = frames.pose_from_rpy(5.0, 1.0, 0.0, 0.0, 0.0, np.pi / 2)
    for mounting in (Mounting.of_camera("cam"), Mounting.on_base("base_link", T_base_cam)):
        np.testing.assert_allclose(mounting.camera_pose(zeros), np.eye(4), atol=1e-12)
    T = Mounting.of_camera("cam").pose(Mounting.of_camera("cam").camera_pose(left))
    np.testing.assert_allclose(T[:3, 2], [0.0, 1.0, 0.0], atol=1e-12)  # looks along y of odom
    np.testing.assert_allclose(T[:3, 0], [1.0, 0.0, 0.0], atol=1e-12)  # its right is x of odom
    np.testing.assert_allclose(T[:3, 3], [5.0, 1.0, 0.0], atol=1e-12)


def test_covariance_agrees_with_samples(T_base_cam, rng):
    mounting = Mounting.on_base("base_link", T_base_cam)
    sigma = np.array([0.01, 0.02, 0.03, 0.004, 0.005, 0.006])
    T_world_cam = se3.exp(np.array([0.3, -0.2, 1.0, 0.1, 0.5, -0.2]))
    T_odom_base = mounting.pose(T_world_cam)
    errors = np.array(
        [
            se3.log(se3.inverse(T_odom_base) @ mounting.pose(T_world_cam @ se3.exp(xi)))
            for xi in rng.standard_normal((4000, 6)) * sigma
        ]
    )
    predicted = mounting.covariance(np.diag(sigma**2))
    scale = np.sqrt(np.outer(np.diag(predicted), np.diag(predicted)))
    assert np.abs((np.cov(errors.T) - predicted) / scale).max() < 0.08


def test_twist_is_in_the_base_frame(T_base_cam):
    """Seen from the camera, a base that turns also moves sideways: the lever arm."""
    expected = np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.5])
    step = se3.exp(0.1 * expected)
    twist_cam = se3.log(se3.inverse(T_base_cam) @ step @ T_base_cam) / 0.1
    twist = Mounting.on_base("base_link", T_base_cam).twist(twist_cam)
    np.testing.assert_allclose(twist, expected, atol=1e-9)


def test_camera_in_base():
    assert frames.parse_camera_in_base(()) is None
    T = frames.parse_camera_in_base((0.3, 0.0, 0.5, -0.5, 0.5, -0.5, 0.5))
    np.testing.assert_allclose(T[:3, :3], frames.R_BODY_OPTICAL, atol=1e-12)
    with pytest.raises(ConfigError, match=r"camera_in_base.*7 numbers"):
        frames.parse_camera_in_base((1.0, 2.0))
    with pytest.raises(ConfigError, match="quaternion"):
        frames.parse_camera_in_base((0.0,) * 7)


def test_rpy_is_about_fixed_axes():
    T = frames.pose_from_rpy(0.0, 0.0, 0.0, 0.1, 0.2, 0.3)
    yaw = np.arctan2(T[1, 0], T[0, 0])
    pitch = -np.arcsin(T[2, 0])
    roll = np.arctan2(T[2, 1], T[2, 2])
    np.testing.assert_allclose([roll, pitch, yaw], [0.1, 0.2, 0.3])
