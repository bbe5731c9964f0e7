# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How far a pose may be from the truth: samples of the error follow every estimate.

Each keypoint of a keyframe gets `SAMPLES` draws of the noise it may have, which it keeps. What is
computed from it (the pose of a frame, a new landmark, a bundle adjustment) is linearised, and the
draws go through: each of the samples is one history of errors, from the first frame on. So
everything that hangs together stays so: landmarks that share a keyframe, windows that use a
measurement twice, cameras held fixed that are wrong themselves. The covariance of a pose in the
odometry's world is that of its samples, plus the noise of the frame itself in closed form, plus
that of the pose that started the map, which moves the map as a whole.

An error xi is as in `geometry.se3`: T_estimated = T_true @ exp(xi), translation first, along the
axes of the camera. The pose that started the first map is true by definition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.geometry import se3
from superpoint_ros.odometry.score_noise import ScoreNoise

SAMPLES = 64
# The inverse of a covariance of 64 samples is too large by this, on average (inverse Wishart).
_INFLATION = SAMPLES / (SAMPLES - 6 - 1)
# Of the configured standard deviations. A camera that stands still on equal images, as simulated
# ones do, shows no noise of pixels at all. Once it moves it has some: 0.16 in rendered rooms.
_SCALE_LIMITS = np.array([0.1, 0.05]), 5.0
# Seen from elsewhere, a corner is found elsewhere. In rendered rooms the variance of its place
# between two views is 0.057 px^2 from frame to frame and 0.134 px^2 over 64 frames: beside
# 0.028 px^2 that are new in every frame stand 0.06 px^2 that are forgotten over some 60 frames.
# Here per keyframe, as these come when the view has changed: every 9 frames there. Both eyes of a
# stereo camera see alike, so that cancels in a disparity: its error is new in every frame (its
# correlation along the same tracks is 0.00 to 0.07).
_LASTING_SHARE = 0.69  # of the variance
_LASTING_CORRELATION = 0.85  # from one keyframe to the next
# Residuals of a window do not show what all its views have in common: by so much the variance of
# x and y is larger.
_HIDDEN_VARIANCE = 2.0
_FLOOR = 1e-12  # m^2 and rad^2: keeps the covariance of an exact start positive definite
# How a camera may have moved while it was lost, standard deviations in m/s and rad/s.
_LOST_SPEED = np.repeat([0.5, 0.5], 3)
# If all attitudes are equally likely, the rotation vector has 1.33 rad along each axis.
_LOST_MOST = np.repeat([np.inf, 1.33], 3)


class NoiseModel:
    """Draws of the measurements' noise, as large as the residuals say.

    Args:
        is_stereo: Whether depth comes from a disparity. Half of its variance is then that of what
            is new of x in the left image: where x is too large, depth is too small.
        is_depth_common: Whether most of the error of depth is common to neighbours, as in what a
            depth camera's calibration lacks.
    """

    def __init__(self, is_stereo: bool, is_depth_common: bool = False) -> None:
        self.is_depth_common = is_depth_common
        new_of_disparity = 0.5 if is_stereo else 0.0  # share of variance
        self._mixing_new = _mixing(np.sqrt(new_of_disparity)).astype(np.float32)
        # Of inverse depth and all of x, that is.
        self.depth_follows_x = float(np.sqrt(new_of_disparity * (1.0 - _LASTING_SHARE)))
        self._mixing = _mixing(self.depth_follows_x)
        self._rng = np.random.default_rng(0)  # the same input gives the same output
        self.of_scores = ScoreNoise()
        self.scale = np.ones(2)  # of the configured sigma of pixels and of depths
        self.is_known = False

    def draw_lasting(self, count: int, rows: Array, before: Array) -> Array:
        """Return the part (count, 2, S) of a keyframe's noise in x and y that the next has, too.

        Args:
            count: Keypoints.
            rows: (M,) those whose landmarks the keyframe before saw.
            before: (M, 2, S) that part of the noise they had there.
        """
        drawn = self._rng.standard_normal((count, 2, SAMPLES), np.float32)
        new = np.float32(np.sqrt(1.0 - _LASTING_CORRELATION**2))
        drawn[rows] = np.float32(_LASTING_CORRELATION) * before + new * drawn[rows]
        return drawn

    def draw(self, lasting: Array) -> Array:
        """Return a keyframe's noise (N, 3, S) in x, y and depth, given what lasts (N, 2, S).

        All are in units of their standard deviation.
        """
        drawn = self._rng.standard_normal((len(lasting), 3, SAMPLES), np.float32)
        drawn = self._mixing_new @ drawn
        drawn[:, :2] *= np.float32(np.sqrt(1.0 - _LASTING_SHARE))
        drawn[:, :2] += np.float32(np.sqrt(_LASTING_SHARE)) * lasting
        return np.asarray(drawn)

    def adapt(self, ratio: Array) -> None:
        """Correct the scale by what real residuals are to those of noise of this scale. (2,)."""
        self.is_known = True
        known = np.isfinite(ratio)
        self.scale[known] = np.clip(self.scale * ratio, *_SCALE_LIMITS)[known]

    @property
    def sigma(self) -> Array:
        """Standard deviation (3,) of the draws of x, y and depth over the configured ones."""
        return np.asarray(
            self.scale[[0, 0, 1]] * np.sqrt([_HIDDEN_VARIANCE, _HIDDEN_VARIANCE, 1.0])
        )

    def covariance(self, gain: Array) -> Array:
        """Return the covariance (A, A) of what depends on a frame's keypoints by `gain` (A, M, 3).

        Of their noise against the map, that is: what they have in common with it does not count.
        """
        mixed = (gain @ (self.scale[[0, 0, 1], None] * self._mixing)).reshape(len(gain), -1)
        return np.asarray(mixed @ mixed.T)


def _mixing(depth_follows_x: float) -> Array:
    """Return what makes (3, 3) noise of x, y and depth from independent draws."""
    mixing = np.eye(3)
    mixing[2] = -depth_follows_x, 0.0, np.sqrt(1.0 - depth_follows_x**2)
    return mixing


@dataclass(frozen=True)
class PoseSensitivity:
    """What the error of a pose is made of, to first order.

    Attributes:
        landmark_ids: (M,) of the landmarks it was computed from.
        keypoints: (M,) keypoints of the frame that belong to them.
        to_landmarks: (6, M, 3) by their errors, world frame, per metre.
        to_noise: (6, M, 3) by the noise of the keypoint and of its depth, per configured sigma.
    """

    landmark_ids: Array
    keypoints: Array
    to_landmarks: Array
    to_noise: Array


@dataclass(frozen=True)
class PoseError:
    """The error of a pose.

    Attributes:
        samples: (6, S) what it has from the map.
        own: (6, 6) covariance of what comes from the frame's own noise, independent of the map.
    """

    samples: Array
    own: Array

    @property
    def covariance(self) -> Array:
        """(6, 6), symmetric and positive definite."""
        total = covariance_of(self.samples) + self.own + _FLOOR * np.eye(6)
        return np.asarray(0.5 * (total + total.T))

    def since(self, before: PoseError, T_before_now: Array) -> Array:
        """Covariance (6, 6) of the motion since another pose, axes of the camera now."""
        Ad = se3.adjoint(se3.inverse(T_before_now))
        change = covariance_of(self.samples - Ad @ before.samples)
        total = change + self.own + Ad @ before.own @ Ad.T + _FLOOR * np.eye(6)
        return np.asarray(0.5 * (total + total.T))


def exact() -> PoseError:
    """Return the error of a pose that is true by definition."""
    return PoseError(np.zeros((6, SAMPLES)), np.zeros((6, 6)))


def after(covariance: Array, seconds: float) -> Array:
    """Return the covariance (6, 6) of the place where a lost camera is after some time."""
    return np.asarray(covariance + np.diag(np.minimum(_LOST_SPEED * seconds, _LOST_MOST) ** 2))


def covariance_of(samples: Array) -> Array:
    """Return the covariance (6, 6) of errors (6, S) around zero."""
    return np.asarray(_INFLATION / SAMPLES * (samples @ samples.T))


def pose_error(sensitivity: PoseSensitivity, point_samples: Array, noise: NoiseModel) -> PoseError:
    """Return the error of a frame's pose.

    Args:
        sensitivity: Of the pose.
        point_samples: (M, 3, S) errors of its landmarks.
        noise: How large the noise of its keypoints is.
    """
    samples = sensitivity.to_landmarks.reshape(6, -1) @ point_samples.reshape(-1, SAMPLES)
    return PoseError(samples, noise.covariance(sensitivity.to_noise))


def shift_points(T_world_cam: Array, xi: Array, points_world: Array) -> Array:
    """Return how points (N, 3) of the world move, (N, 3, S), with a camera that is moved by xi.

    Args:
        T_world_cam: (4, 4) of the camera.
        xi: (6, S) its motions, on the right.
        points_world: (N, 3), rigidly tied to it.
    """
    in_world = se3.adjoint(T_world_cam) @ xi
    return np.asarray(in_world[:3] - se3.hat(points_world) @ in_world[3:])


def keyframe_samples(
    error: PoseError, sensitivity: PoseSensitivity, keypoint_noise: Array, noise: NoiseModel
) -> Array:
    """Return the errors (6, S) of a frame that enters the map with the draws of its keypoints."""
    drawn = keypoint_noise[sensitivity.keypoints] * noise.sigma[:, None]
    own = sensitivity.to_noise.reshape(6, -1) @ drawn.reshape(-1, SAMPLES)
    return np.asarray(error.samples + own)
