# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From the camera's optical world to the robot's: odom -> base (REP-103, REP-105).

The odometry's world is the optical frame of the first camera pose. `odom` is the base frame at
that moment, so with the camera rigidly on the base:
T_odom_base = T_base_cam T_world_cam T_cam_base.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superpoint_ros.config import ConfigError
from superpoint_ros.data import Array
from superpoint_ros.geometry import se3

# A body frame (x forward, y left, z up) holding an optical one (x right, y down, z forward).
R_BODY_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class Mounting:
    """Where the camera sits, and what the odometry is published as.

    Attributes:
        child_frame: Frame whose pose in odom is published.
        T_odom_world: (4, 4), optical world to odom.
        T_child_cam: (4, 4), optical camera frame to `child_frame`.
        T_body_child: (4, 4), `child_frame` to the body frame at its place: x ahead, z up.
    """

    child_frame: str
    T_odom_world: Array
    T_child_cam: Array
    T_body_child: Array

    @staticmethod
    def on_base(base_frame: str, T_base_cam: Array) -> Mounting:
        """The camera rides on a robot; odom starts where the base stands."""
        return Mounting(base_frame, T_base_cam, T_base_cam, np.eye(4))

    @staticmethod
    def of_camera(camera_frame: str) -> Mounting:
        """The camera alone: its own pose, odom levelled as a body frame at its start."""
        T_body_optical = np.eye(4)
        T_body_optical[:3, :3] = R_BODY_OPTICAL
        return Mounting(camera_frame, T_body_optical, np.eye(4), T_body_optical)

    def pose(self, T_world_cam: Array) -> Array:
        """Return T_odom_child (4, 4)."""
        return np.asarray(self.T_odom_world @ T_world_cam @ se3.inverse(self.T_child_cam))

    def camera_pose(self, T_odom_body: Array) -> Array:
        """Return T_world_cam (4, 4) where the body is at a pose (4, 4): at identity, the start."""
        T_odom_child = T_odom_body @ self.T_body_child
        return np.asarray(se3.inverse(self.T_odom_world) @ T_odom_child @ self.T_child_cam)

    def covariance(self, covariance_cam: Array) -> Array:
        """Turn a covariance (6, 6) of pose or velocity from the camera's axes to the child's.

        T_odom_child exp(Ad xi) = T_odom_world T_world_cam exp(xi) T_cam_child: the lever arm is
        in Ad, and where odom lies plays no part.
        """
        Ad = se3.adjoint(self.T_child_cam)
        return np.asarray(Ad @ covariance_cam @ Ad.T)

    def twist(self, twist_cam: Array) -> Array:
        """Turn a velocity (6,) from the camera's axes to the child's, lever arm included."""
        return np.asarray(se3.adjoint(self.T_child_cam) @ twist_cam)

    def points(self, points_world: Array) -> Array:
        """Return points (N, 3) in odom, metres."""
        return se3.transform_points(self.T_odom_world, points_world)


def parse_camera_in_base(values: tuple[float, ...]) -> Array | None:
    """Read `camera_in_base`: x y z qx qy qz qw of the optical frame in the base frame.

    Returns:
        T_base_cam (4, 4); None if the list is empty.

    Raises:
        ConfigError: Not seven numbers, or a quaternion of length zero.
    """
    if not values:
        return None
    if len(values) != 7:
        raise ConfigError(
            f"camera_in_base: expected 7 numbers (x y z qx qy qz qw), got {len(values)}"
        )
    quaternion = np.array(values[3:])
    if not np.isfinite(values).all() or np.linalg.norm(quaternion) < 1e-6:
        raise ConfigError("camera_in_base: the quaternion (last four numbers) has length zero")
    return se3.pose_from_quaternion(np.array(values[:3]), quaternion)


def pose_from_rpy(x: float, y: float, z: float, roll: float, pitch: float, yaw: float) -> Array:
    """Return (4, 4) from metres and fixed-axis roll, pitch, yaw in radians (REP-103)."""
    T = np.eye(4)
    T[:3, :3] = (
        se3.exp_so3(np.array([0.0, 0.0, yaw]))
        @ se3.exp_so3(np.array([0.0, pitch, 0.0]))
        @ se3.exp_so3(np.array([roll, 0.0, 0.0]))
    )
    T[:3, 3] = x, y, z
    return T
