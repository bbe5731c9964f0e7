# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A long run goes round in one map, and says by how much its rounds do not close."""

import numpy as np
import pytest

from superpoint_ros.data import Features, Observation
from superpoint_ros.evaluation.odometry_benchmark import repeat_round
from superpoint_ros.evaluation.synthetic import camera_pose, round_length_m
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.triangulation import project

K = np.array([[525.0, 0.0, 320.0], [0.0, 525.0, 240.0], [0.0, 0.0, 1.0]])
FRAMES = 120


def observe_points() -> list[Observation]:
    """Return what a camera on one round sees of points around it, without any noise."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(4000, 3))
    points *= (4.0 / np.linalg.norm(points, axis=1))[:, None]
    descriptors = rng.normal(size=(4000, 32))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    observations = []
    for index in range(FRAMES):
        T_world_cam = camera_pose("loop", index / FRAMES, round_length_m())
        points_cam = se3.transform_points(se3.inverse(T_world_cam), points)
        pixels = project(points_cam, K)
        with np.errstate(invalid="ignore"):
            is_seen = (points_cam[:, 2] > 0.1) & (np.abs(pixels - [320, 240]) < [319, 239]).all(1)
        seen = np.flatnonzero(is_seen)
        depth = points_cam[seen, 2]
        features = Features(
            pixels[seen].astype(np.float32),
            np.ones(len(seen), np.float32),
            descriptors[seen].astype(np.float32),
            (480, 640),
        )
        sigma = np.full(len(seen), 0.01)
        observations.append(Observation(1 + index, features, pixels[seen], depth, K, sigma))
    return observations


def test_rounds_go_on_in_one_map():
    shown = []
    parts = repeat_round(observe_points(), 250, shown.append)
    assert shown == parts
    assert [part.frames for part in parts] == list(range(25, 251, 25))
    assert all(part.tracked == 25 and part.map_id == 0 for part in parts)
    closed = [part for part in parts if part.round_error_mm is not None]
    assert [part.frames for part in closed] == [125, 250]  # frames 120 and 240 see what 0 saw
    assert max(part.round_error_mm for part in closed) < 1.0
    assert max(part.round_error_deg for part in closed) < 0.02
    assert all(part.memory_mib > 10.0 for part in parts)


def test_fewer_frames_than_parts_are_refused():
    with pytest.raises(ValueError, match="at least 10"):
        repeat_round([], 9)
