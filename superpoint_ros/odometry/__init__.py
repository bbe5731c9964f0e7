# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From observations to a trajectory."""

from superpoint_ros.odometry.observation import DepthConfig, make_observation
from superpoint_ros.odometry.visual_odometry import OdometryConfig, VisualOdometry

__all__ = ["DepthConfig", "OdometryConfig", "VisualOdometry", "make_observation"]
