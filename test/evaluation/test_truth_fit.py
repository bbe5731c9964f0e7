# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A truth with another clock and a mount that is off is told from an odometry that errs."""

import dataclasses

import numpy as np
import pytest

from superpoint_ros.evaluation.synthetic import camera_pose
from superpoint_ros.evaluation.trajectory import make_trajectory
from superpoint_ros.evaluation.truth_fit import fit_truth
from superpoint_ros.geometry import se3

SIGMA = np.repeat([0.002, 0.001], 3)
MOUNT = np.array([0.004, -0.003, 0.002, 0.01, -0.02, 0.015])


def make_run(frames: int, delay_s: float, mount: np.ndarray, seed: int = 0, rate_hz: float = 30.0):
    """Return estimate and truth: the images are stamped late, the body is off."""
    rng = np.random.default_rng(seed)
    times = np.arange(frames) / rate_hz
    noise = rng.normal(size=(frames, 6)) * SIGMA
    noise[0] = 0.0
    estimate = np.array([camera_pose("rotate", t - delay_s, 1.0) for t in times])
    estimate = np.array([T @ se3.exp(xi) for T, xi in zip(estimate, noise, strict=True)])
    truth = np.array([camera_pose("rotate", t, 1.0) @ se3.exp(mount) for t in times])
    stamps_ns = np.round(times * 1e9).astype(np.int64)
    covariances = [np.diag(SIGMA**2)] * frames
    return make_trajectory(stamps_ns, estimate, (), covariances), make_trajectory(stamps_ns, truth)


def test_clock_and_mount_are_found():
    fit = fit_truth(*make_run(200, 0.008, MOUNT))
    assert fit.delay_s == pytest.approx(0.008, abs=5e-4)
    np.testing.assert_allclose(fit.mount[3:], -MOUNT[3:], atol=0.002)
    assert fit.nees == pytest.approx(6.0, abs=0.8)


def test_where_the_body_is_on_the_mount_is_found():
    mount = np.array([0.05, -0.03, 0.04, 0.0, 0.0, 0.0])
    fit = fit_truth(*make_run(200, 0.0, mount))
    np.testing.assert_allclose(fit.mount[:3], -mount[:3], atol=0.01)


def test_an_odometry_that_drifts_is_not_excused():
    estimate, truth = make_run(200, 0.0, np.zeros(6))
    xi = np.array([3e-4, 0.0, 0.0, 0.0, 1e-4, 0.0])
    drift = [T @ se3.exp(i * xi) for i, T in enumerate(estimate.poses)]
    fit = fit_truth(dataclasses.replace(estimate, poses=np.array(drift)), truth)
    assert fit.nees > 60.0
    assert abs(fit.delay_s) < 0.005


def test_a_few_poses_tell_nothing():
    assert fit_truth(*make_run(49, 0.008, MOUNT)) is None


def test_ten_frames_a_second_are_enough_and_one_is_not():
    fit = fit_truth(*make_run(300, 0.08, MOUNT, rate_hz=9.65))  # KITTI's
    assert fit.delay_s == pytest.approx(0.08, abs=0.01)
    assert fit_truth(*make_run(300, 0.08, MOUNT, rate_hz=1.0)) is None
