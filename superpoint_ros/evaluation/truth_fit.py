# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How much of an error is the truth's: another clock, a mount measured a little wrong.

A motion capture system has a clock of its own and sees markers, not the camera. Both errors have a
shape that odometry cannot make: one follows the velocity, the other comes and goes with rotation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.evaluation.trajectory import Trajectory, associate
from superpoint_ros.geometry import se3

_MIN_POSES = 50  # 13 numbers are fitted
_ROUNDS = 5  # of weighting metres against radians by what is left of each
_MAX_STEP_S = 0.2  # poses farther apart than two such steps tell no velocity


@dataclass(frozen=True)
class TruthFit:
    """What makes the truth agree best with the estimate.

    Attributes:
        delay_s: Stamps of the images are this much later than those of the truth.
        mount: (6,) by this xi the body that the truth follows is off the camera, translation
            first, metres and radians.
        nees: Mean NEES of the poses without it, and without the truth's error at the first pose.
    """

    delay_s: float
    mount: Array
    nees: float

    @property
    def mount_deg(self) -> float:
        """By how much the body is turned against the camera, degrees."""
        return float(np.rad2deg(np.linalg.norm(self.mount[3:])))


def fit_truth(estimate: Trajectory, truth: Trajectory) -> TruthFit | None:
    """Fit clock, mount and first pose of the truth by least squares.

    Args:
        estimate: Poses of one map of a sensor that knows metres, with covariances.
        truth: Of the same body, or so it is said.

    Returns:
        None without covariances, or of fewer than 50 poses whose velocity is known.
    """
    if estimate.covariances is None or len(estimate) < _MIN_POSES or not len(truth):
        return None
    rows, of_truth = associate(estimate, truth)
    if len(rows) < _MIN_POSES:
        return None
    stamps_ns, covariances = estimate.stamps_ns[rows], estimate.covariances[rows]
    estimated, true = (
        se3.inverse(poses[0]) @ poses for poses in (estimate.poses[rows], truth.poses[of_truth])
    )
    from_truth = np.array([se3.inverse(T) for T in true])
    errors = np.array([se3.log(T) for T in from_truth @ estimated])
    of_first = np.array([se3.adjoint(T) for T in from_truth])
    of_mount = np.eye(6) - of_first
    velocity = _velocity(stamps_ns, true)
    known = np.flatnonzero(np.isfinite(velocity).all(axis=1))  # not the first, nor the last
    if len(known) < _MIN_POSES:
        return None
    columns = np.concatenate([-velocity[:, :, None], of_first, of_mount], axis=2)[known]
    weight = 1.0 / np.maximum(_rms(errors[known]), 1e-9)
    for _ in range(_ROUNDS):
        left = (columns * weight[:, None]).reshape(-1, columns.shape[2])
        found = np.linalg.lstsq(left, (errors[known] * weight).ravel(), rcond=None)[0]
        rest = errors[known] - columns @ found
        weight = 1.0 / np.maximum(_rms(rest), 1e-9)
    nees = np.einsum(
        "ni,ni->n", rest, np.linalg.solve(covariances[known], rest[..., None])[..., 0]
    )
    return TruthFit(float(found[0]), found[7:], float(nees.mean()))


def _velocity(stamps_ns: Array, poses: Array) -> Array:
    """Return the velocity (N, 6), axes of the camera, per second; NaN where it is not known."""
    velocity = np.full((len(poses), 6), np.nan)
    seconds = (stamps_ns[2:] - stamps_ns[:-2]) * 1e-9
    for i in np.flatnonzero(seconds <= 2.0 * _MAX_STEP_S):
        velocity[i + 1] = se3.log(se3.inverse(poses[i]) @ poses[i + 2]) / seconds[i]
    return velocity


def _rms(errors: Array) -> Array:
    """Return the root mean square of the axes (6,): one of metres, one of radians."""
    squares = np.square(errors).reshape(-1, 2, 3).mean(axis=(0, 2))
    return np.asarray(np.repeat(np.sqrt(squares), 3))
