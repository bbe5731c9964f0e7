# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a camera did, frame by frame, as a person reads it: places, angles, errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.evaluation.summary import Summary
from superpoint_ros.geometry.se3 import angles_between

# Worlds have z up (robots) or y down (cameras), hardly ever x, whatever a tilted camera suggests.
_UP_WEIGHTS = (0.4, 1.0, 1.0)


@dataclass(frozen=True)
class Motion:
    """Poses and errors of all frames; NaN for a frame without.

    Attributes:
        times_s: (N,) seconds since the first frame.
        positions: (N, 3) of the camera; aligned with the truth where there is one.
        angles_deg: (N, 3) yaw (about the image's y axis), pitch (about x) and roll (about the
            optical axis) since the first pose.
        true_positions: (N, 3) the truth, at the frames that have a pose; None: not known.
        true_angles_deg: (N, 3) likewise.
        position_errors_m: (N,) likewise.
        rotation_errors_deg: (N,) angle between the rotations since the first pose.
        nees: (N,) squared error of the pose since the first one in units of its covariance, see
            `trajectory.nees_of`; None: not known.
        up: Index of the world's axis that points most upwards in the images.
        up_sign: 1 or -1: its direction.
    """

    times_s: Array
    positions: Array
    angles_deg: Array
    true_positions: Array | None
    true_angles_deg: Array | None
    position_errors_m: Array | None
    rotation_errors_deg: Array | None
    nees: Array | None
    up: int
    up_sign: int


def motion_of(summary: Summary, stamps_ns: Array) -> Motion:
    """Return the motion of a run's longest map over all its frames.

    Args:
        summary: Of the run.
        stamps_ns: (N,) of all frames.
    """
    errors = summary.errors
    poses = summary.estimate.poses if errors is None else errors.aligned
    rows = summary.estimate.frames if errors is None else errors.frames

    def spread(values: Array) -> Array:
        full = np.full((len(stamps_ns), *values.shape[1:]), np.nan)
        full[rows] = values
        return full

    nees = np.full(len(stamps_ns), np.nan)
    if summary.nees is not None:
        nees[summary.estimate.frames] = summary.nees
    rotations = _since_first(poses)
    truth = None if errors is None else errors.truth
    down = (poses if truth is None else truth)[:, :3, 1].sum(axis=0) if len(poses) else np.zeros(3)
    up = int(np.argmax(np.abs(down) * _UP_WEIGHTS))
    return Motion(
        times_s=(stamps_ns - stamps_ns[0]) * 1e-9,
        positions=spread(poses[:, :3, 3]),
        angles_deg=spread(_angles_deg(rotations)),
        true_positions=None if truth is None else spread(truth[:, :3, 3]),
        true_angles_deg=None if truth is None else spread(_angles_deg(_since_first(truth))),
        position_errors_m=None if errors is None else spread(errors.errors_m),
        rotation_errors_deg=(
            None
            if truth is None
            else spread(np.rad2deg(angles_between(rotations, _since_first(truth))))
        ),
        nees=None if summary.nees is None else nees,
        up=up,
        up_sign=1 if down[up] < 0.0 else -1,
    )


def _since_first(poses: Array) -> Array:
    """Return R_first_cam (M, 3, 3)."""
    R = poses[:, :3, :3]
    return np.asarray(np.swapaxes(R[:1], 1, 2) @ R)


def _angles_deg(R: Array) -> Array:
    """Return yaw, pitch and roll (M, 3) of R = R_y(yaw) R_x(pitch) R_z(roll), without jumps."""
    yaw = np.arctan2(R[:, 0, 2], R[:, 2, 2])
    pitch = np.arcsin(np.clip(-R[:, 1, 2], -1.0, 1.0))
    roll = np.arctan2(R[:, 1, 0], R[:, 1, 1])
    angles = np.column_stack([np.unwrap(yaw), pitch, np.unwrap(roll)])
    return np.asarray(np.rad2deg(angles))
