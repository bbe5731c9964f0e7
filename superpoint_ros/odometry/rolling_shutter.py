# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rolling shutters: a camera that turns while its rows are read shears the image.

A Kinect at 80 degrees a second shears by twenty pixels from top to bottom. The angular velocity
of the tracked camera and the readout time undo it: tracking and map see a global shutter's pixels.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from superpoint_ros.config import Config, option
from superpoint_ros.data import Array, Observation
from superpoint_ros.geometry.triangulation import rays


@dataclass(frozen=True)
class RollingShutterConfig(Config):
    """The order in which the camera reads its rows."""

    readout: float = option(
        0.0,
        "Time from reading the first row to the last, seconds (superpoint calibrate finds it; a "
        "Kinect of 2010: 0.026); 0: global shutter, negative: from the last row up.",
        minimum=-0.1,
        maximum=0.1,
    )
    acceleration: float = option(
        3.0,
        "Angular acceleration to expect, rad/s^2: the turn while reading may differ by so much "
        "from that since the last frame.",
        minimum=0.0,
        maximum=1000.0,
    )

    def sigma(self, seconds: float) -> float:
        """How far a turn during the readout may be from the one predicted, radians.

        Args:
            seconds: Since the last frame.
        """
        return abs(self.readout) * self.acceleration * min(seconds, 1.0)


def row_fractions(observation: Observation) -> Array:
    """Return where between the first row (-0.5) and the last (0.5) each keypoint lies. (N,)."""
    height = observation.features.image_size_hw[0]
    return np.asarray(observation.features.keypoints[:, 1] / max(height - 1.0, 1.0) - 0.5)


def compensate_rolling_shutter(observation: Observation, shutter_rotation: Array) -> Observation:
    """Move keypoints to where a global shutter would have seen them at the middle row's time.

    Only the rotation is undone: within one readout the translation moves points far less.

    Args:
        observation: As the rolling shutter saw it.
        shutter_rotation: Turn of the camera from the first row to the last, camera frame,
            radians: angular velocity times readout time. (3,).
    """
    whole_angle = float(np.linalg.norm(shutter_rotation))
    if whole_angle < 1e-6:
        return observation
    # Rodrigues, one angle per row: p_middle = exp(s psi) p_row.
    axis = shutter_rotation / whole_angle
    angle = (row_fractions(observation) * whole_angle)[:, None]
    K = observation.K
    directions = rays(observation.pixels, K)
    turned = (
        directions * np.cos(angle)
        + np.cross(axis, directions) * np.sin(angle)
        + axis * (directions @ axis)[:, None] * (1.0 - np.cos(angle))
    )
    return dataclasses.replace(
        observation,
        pixels=turned[:, :2] / turned[:, 2:] @ K[:2, :2].T + K[:2, 2],
        depth=observation.depth * turned[:, 2],
    )
