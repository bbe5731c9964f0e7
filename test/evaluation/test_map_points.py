# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from superpoint_ros.evaluation.map_points import MapPoints, MapRecorder, write_ply
from superpoint_ros.odometry.visual_odometry import Landmarks


class Maps:
    """An odometry that says what the test put into it."""

    def __init__(self) -> None:
        self.now = Landmarks(*(np.zeros(0, int), np.zeros((0, 3))) * 2)

    def landmarks(self) -> Landmarks:
        return self.now


def test_points_that_stayed_are_kept_with_their_last_place_and_first_grey() -> None:
    odometry = Maps()
    recorder = MapRecorder(odometry)
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 10
    observation = SimpleNamespace()
    for step in range(4):
        ids = np.array([0, 2, 5]) if step < 3 else np.array([2, 7])
        points = np.array([[i, step, 1.0] for i in ids])
        seen = np.array([[3.0, 1.0]])  # id 2, at x = 3, y = 1
        odometry.now = Landmarks(ids, points, np.array([2]), seen)
        result = SimpleNamespace(is_keyframe=True, map_id=4)
        recorder(None, grey if step == 0 else grey * 0, observation, result)
    recorder(None, grey, observation, SimpleNamespace(is_keyframe=False, map_id=4))
    landmarks = recorder.landmarks
    np.testing.assert_array_equal(landmarks.points, [[0, 2, 1], [2, 3, 1], [5, 2, 1]])
    assert landmarks.grey.tolist() == [0, 70, 0]
    assert landmarks.map_ids.tolist() == [4, 4, 4]
    assert len(MapRecorder(odometry).landmarks.points) == 0


@pytest.mark.parametrize("count", [0, 3])
def test_ply_is_read_back(count: int, tmp_path: Path) -> None:
    points = np.arange(3.0 * count).reshape(count, 3) / 4.0
    grey = np.arange(count, dtype=np.uint8) + 9
    write_ply(tmp_path / "a.ply", MapPoints(points, grey, np.zeros(count, int)))
    data = (tmp_path / "a.ply").read_bytes()
    header, _, body = data.partition(b"end_header\n")
    assert f"element vertex {count}\n".encode() in header
    rows = np.frombuffer(body, [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    np.testing.assert_array_equal(rows["xyz"], points)
    np.testing.assert_array_equal(rows["rgb"], np.repeat(grey[:, None], 3, axis=1))
