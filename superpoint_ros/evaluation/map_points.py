# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The map of a whole run as a cloud of points: gathered from the local maps, written as PLY."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from superpoint_ros.data import Array, Observation, TrackingResult
from superpoint_ros.files import replaced
from superpoint_ros.odometry.visual_odometry import VisualOdometry

_MIN_KEYFRAMES = 3  # in the local map at so many of them: what was culled at once was wrong


@dataclass(frozen=True)
class MapPoints:
    """The landmarks of a run, all maps of it.

    Attributes:
        points: (N, 3) float64, world frame of their map, metres (mono: units of the map).
        grey: (N,) uint8, brightness of the image where they were first seen.
        map_ids: (N,) int64.
    """

    points: Array
    grey: Array
    map_ids: Array


class MapRecorder:
    """Observes a run: the local map forgets what it has left behind, this does not."""

    def __init__(self, odometry: VisualOdometry) -> None:
        self._odometry = odometry
        self._tables: dict[int, Array] = {}  # map -> rows x, y, z, grey, keyframes; row: id

    def __call__(
        self,
        frame: Any,
        grey: Array | None,
        observation: Observation | None,
        result: TrackingResult | None,
    ) -> None:
        """Take the local map after each keyframe."""
        if grey is None or result is None or not result.is_keyframe:
            return
        landmarks = self._odometry.landmarks()
        if not len(landmarks.ids):
            return
        old = self._tables.get(result.map_id, np.zeros((0, 5)))
        table = np.zeros((max(int(landmarks.ids.max()) + 1, len(old)), 5))
        table[: len(old)] = old
        table[landmarks.ids, :3] = landmarks.points_world
        table[landmarks.ids, 4] += 1.0
        fresh = table[landmarks.seen_ids, 4] == 1.0
        columns, rows = np.rint(landmarks.seen_at[fresh]).astype(int).T
        height, width = grey.shape
        rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
        table[landmarks.seen_ids[fresh], 3] = grey[rows, columns]
        self._tables[result.map_id] = table

    @property
    def landmarks(self) -> MapPoints:
        """What was in the local map at three keyframes or more."""
        kept = {
            map_id: table[table[:, 4] >= _MIN_KEYFRAMES] for map_id, table in self._tables.items()
        }
        table = np.concatenate([np.zeros((0, 5)), *kept.values()])
        map_ids = [np.full(len(part), map_id) for map_id, part in kept.items()]
        return MapPoints(
            table[:, :3],
            table[:, 3].astype(np.uint8),
            np.concatenate([np.zeros(0, np.int64), *map_ids]),
        )


def write_ply(path: Path | str, landmarks: MapPoints) -> None:
    """Write points with their grey as a binary PLY, as CloudCompare, MeshLab and Open3D read it.

    Raises:
        OSError: It cannot be written.
    """
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        "comment landmarks, metres, first optical frame (x right, y down, z forward)\n"
        f"element vertex {len(landmarks.points)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
    )
    rows = np.zeros(len(landmarks.points), [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    rows["xyz"], rows["rgb"] = landmarks.points, landmarks.grey[:, None]
    with replaced(path) as temporary:
        temporary.write_bytes(header.encode("ascii") + rows.tobytes())
