# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Places, angles and errors frame by frame, against motions known by construction."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from superpoint_ros.evaluation.motion import motion_of
from superpoint_ros.evaluation.summary import RunRecord, summarize
from superpoint_ros.evaluation.trajectory import Trajectory, make_trajectory
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.se3 import pose_from_quaternion

T0, STEP = 1_700_000_000_123_456_789, 33_333_333
STAMPS = [T0 + i * STEP for i in range(30)]


T_WORLD_TRUTH = pose_from_quaternion(np.array([3.0, -1.0, 2.0]), np.array([0.1, 0.5, -0.2, 0.8]))


def rotation(axis: int, angle_deg: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    R = np.eye(3)
    R[i, i], R[i, j], R[j, i], R[j, j] = c, -s, s, c
    return R


def swing(R_world_first: np.ndarray) -> Trajectory:
    """A camera that yaws to 290 degrees, pitches to -10 and rolls to 20."""
    poses = np.tile(np.eye(4), (30, 1, 1))
    for i in range(30):
        R = rotation(1, 10.0 * i) @ rotation(0, -i / 2.9) @ rotation(2, 2 * i / 2.9)
        poses[i, :3, :3] = R_world_first @ R
        poses[i, :3, 3] = R_world_first @ [0.3 * i, 0.01 * i * i, np.sin(i)]
    return make_trajectory(STAMPS, list(poses))


def test_angles_count_from_the_first_pose_and_do_not_jump() -> None:
    path = swing(rotation(0, 40.0) @ rotation(2, 100.0))
    motion = motion_of(summarize(RunRecord("rgbd", STAMPS, path, 1.0)), np.array(STAMPS))
    steps = np.arange(30)
    expected = np.column_stack([10.0 * steps, -steps / 2.9, 2 * steps / 2.9])
    np.testing.assert_allclose(motion.angles_deg, expected, atol=1e-9)
    assert motion.true_positions is None
    assert motion.position_errors_m is None


def test_frames_without_a_pose_are_holes_and_errors_stand_at_their_frame() -> None:
    truth = swing(np.eye(3))
    kept = np.r_[0:10, 13:30]
    poses = truth.poses[kept].copy()
    poses[-1, :3, 3] += [0.0, 0.0, 0.5]  # one frame is wrong
    poses[-1, :3, :3] @= rotation(1, 3.0)
    estimate = dataclasses.replace(truth.take(kept), poses=poses)
    motion = motion_of(
        summarize(RunRecord("rgbd", STAMPS, estimate, 1.0), truth), np.array(STAMPS)
    )
    assert motion.position_errors_m is not None
    assert motion.rotation_errors_deg is not None
    missing = np.flatnonzero(np.isnan(motion.position_errors_m))
    assert missing.tolist() == [10, 11, 12]
    assert np.isnan(motion.positions[missing]).all()
    assert np.nanargmax(motion.position_errors_m) == 29
    assert motion.rotation_errors_deg[29] == pytest.approx(3.0)
    assert np.nanmax(motion.rotation_errors_deg[:29]) < 1e-6
    np.testing.assert_allclose(motion.times_s[[0, 29]], [0.0, 29 * STEP * 1e-9])


@pytest.mark.parametrize("has_truth", [True, False])
def test_stamps_may_jump_back(has_truth: bool) -> None:
    # A simulator that was reset: the second map has 20 frames, and stamps of the first.
    path = swing(np.eye(3))
    stamps = [*STAMPS[:10], *STAMPS[5:25]]
    poses = np.concatenate([path.poses[:10], path.poses[5:25]])
    maps = np.repeat([0, 1], [10, 20])
    trajectory = Trajectory(np.array(stamps), poses, maps)
    summary = summarize(RunRecord("rgbd", stamps, trajectory, 1.0), path if has_truth else None)
    motion = motion_of(summary, np.array(stamps))
    assert np.flatnonzero(np.isfinite(motion.positions[:, 0])).tolist() == list(range(10, 30))
    np.testing.assert_allclose(motion.positions[10:], path.poses[5:25, :3, 3], atol=1e-9)


# A level camera that looks along the world's x axis, z up: right is -y, down is -z.
LEVEL = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], float)


@pytest.mark.parametrize(
    ("R_world_first", "up", "sign"),
    [
        (np.eye(3), 1, -1),
        (LEVEL, 2, 1),
        (rotation(2, 180.0) @ LEVEL @ np.diag([-1, -1, 1]), 2, -1),
    ],
)
def test_up_is_judged_by_how_the_camera_is_held(
    R_world_first: np.ndarray, up: int, sign: int
) -> None:
    path = swing(R_world_first).take(np.arange(8))
    summary = summarize(RunRecord("rgbd", STAMPS, path, 1.0))
    motion = motion_of(summary, np.array(STAMPS))
    assert (motion.up, motion.up_sign) == (up, sign)


def test_nees_is_that_of_the_errors_the_covariance_speaks_of() -> None:
    rng = np.random.default_rng(5)
    truth = swing(LEVEL)
    covariances, poses = [], []
    for i, T in enumerate(truth.poses):
        A = rng.normal(size=(6, 6)) * [0.01, 0.02, 0.01, 0.002, 0.001, 0.004]
        covariance = A @ A.T
        xi = np.zeros(6) if i == 0 else rng.multivariate_normal(np.zeros(6), covariance)
        covariances.append(covariance)
        poses.append(T_WORLD_TRUTH @ T @ se3.exp(xi))  # in a world of its own
        if i == 17:
            poses[-1] = T_WORLD_TRUTH @ T @ se3.exp(2.0 * np.linalg.cholesky(covariance)[:, 0])
    estimate = make_trajectory(STAMPS, poses, (), covariances)
    summary = summarize(RunRecord("stereo", STAMPS, estimate, 1.0), truth)
    nees = motion_of(summary, np.array(STAMPS)).nees
    assert nees is not None
    assert np.isnan(nees[0])
    assert nees[17] == pytest.approx(4.0)  # two standard deviations along one axis
    assert 4.0 < np.nanmean(nees) < 8.5  # 6, standard error 0.65
    assert np.nanmean(nees) == pytest.approx(summary.values["nees"])
    unknown = summarize(RunRecord("stereo", STAMPS, make_trajectory(STAMPS, poses), 1.0), truth)
    assert motion_of(unknown, np.array(STAMPS)).nees is None
