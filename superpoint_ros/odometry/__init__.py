# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From observations to a trajectory."""

from superpoint_ros.odometry.observation import (
    DepthConfig,
    StereoConfig,
    make_observation,
    make_stereo_observation,
    make_stereo_pair,
)
from superpoint_ros.odometry.visual_odometry import OdometryConfig, VisualOdometry

__all__ = [
    "DepthConfig",
    "OdometryConfig",
    "StereoConfig",
    "VisualOdometry",
    "make_observation",
    "make_stereo_observation",
    "make_stereo_pair",
]
