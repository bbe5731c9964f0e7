# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest

from superpoint_ros.config import from_mapping
from superpoint_ros.data import Observation
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.triangulation import back_project, project
from superpoint_ros.odometry import OdometryConfig, VisualOdometry
from superpoint_ros.odometry.rolling_shutter import compensate_rolling_shutter, row_fractions

from .conftest import FRAME_NS, K, PointWorld

READOUT = 0.02


def rolled(observation: Observation, psi: np.ndarray) -> Observation:
    """Turn a global shutter's frame into what a rolling shutter would have seen."""
    points = back_project(observation.pixels, np.nan_to_num(observation.depth, nan=1.0), K)
    pixels = observation.pixels.copy()
    for _ in range(5):  # the row at which a point is read depends on where it is seen
        s = pixels[:, 1] / 479.0 - 0.5
        turned = [se3.exp_so3(si * psi).T @ p for si, p in zip(s, points, strict=True)]
        pixels = project(np.array(turned).reshape(-1, 3), K)
    features = dataclasses.replace(observation.features, keypoints=pixels.astype(np.float32))
    depth = np.where(np.isfinite(observation.depth), np.array(turned)[:, 2], np.nan)
    return dataclasses.replace(observation, features=features, pixels=pixels, depth=depth)


def test_compensation_inverts_the_shear(room: PointWorld) -> None:
    seen = room.observe(0, np.eye(4), True)
    psi = np.array([0.01, -0.02, 0.015])
    restored = compensate_rolling_shutter(rolled(seen, psi), psi)
    np.testing.assert_allclose(restored.pixels, seen.pixels, atol=1e-3)
    known = np.isfinite(seen.depth)
    np.testing.assert_allclose(restored.depth[known], seen.depth[known], atol=1e-4)
    assert np.abs(row_fractions(seen)).max() <= 0.5
    # 0.02 rad from top to bottom: at the border the shear is f * 0.01 = 5 px and more.
    assert np.abs(rolled(seen, psi).pixels - seen.pixels).max() > 5.0


@pytest.mark.parametrize("blind", [(), (1,)])
def test_a_known_readout_time_mends_a_shaking_camera(
    blind: tuple[int, ...], room: PointWorld
) -> None:
    # Shakes of +-10 degrees at 1 Hz: up to 63 degrees a second.
    time = np.arange(60) * FRAME_NS * 1e-9
    poses = [se3.exp(np.array([0, 0, 0, 0.5 * a, a, 0])) for a in 0.175 * np.sin(2 * np.pi * time)]
    frames = []
    for k, T in enumerate(poses):
        before, after = poses[max(k - 1, 0)], poses[min(k + 1, 59)]
        span = (min(k + 1, 59) - max(k - 1, 0)) * FRAME_NS * 1e-9
        omega = se3.log_so3(before[:3, :3].T @ after[:3, :3]) / span
        frames.append(rolled(room.observe(k, T, True, k in blind), READOUT * omega))
    errors = {}
    for readout in (0.0, READOUT):
        settings = {"mode": "rgbd", "rolling_shutter": {"readout": readout}}
        odometry = VisualOdometry(from_mapping(OdometryConfig, settings))
        results = [odometry.track(frame) for frame in frames]
        assert tuple(k for k, r in enumerate(results) if r.T_world_cam is None) == blind
        T_first = se3.inverse(poses[0])
        errors[readout] = np.sqrt(
            np.mean(
                [
                    np.linalg.norm(r.T_world_cam[:3, 3] - (T_first @ T)[:3, 3]) ** 2
                    for r, T in zip(results, poses, strict=True)
                    if r.T_world_cam is not None
                ]
            )
        )
    assert errors[READOUT] < 0.05 * errors[0.0]
    assert errors[READOUT] < 0.015  # the first frame is undone too
