# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A world of points with known poses and random descriptors: odometry without images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from superpoint_ros.data import Array, Features, Observation
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.triangulation import project
from superpoint_ros.odometry.keyframes import NO_LANDMARK
from superpoint_ros.odometry.local_map import LocalMap, LocalMapConfig
from superpoint_ros.odometry.mapping import add_landmarks_from_depth
from superpoint_ros.odometry.observation import DepthConfig

K = np.array([[500.0, 0.0, 322.0], [0.0, 505.0, 236.0], [0.0, 0.0, 1.0]])
SIZE_HW = (480, 640)
FRAME_NS = 33_000_000


@dataclass
class PointWorld:
    """Points (P, 3), world frame, with descriptors (P, D), and a noisy camera."""

    points: Array
    descriptors: Array
    rng: np.random.Generator
    noise_px: float = 0.5
    dropout: float = 0.2
    clutter: int = 40
    K: Array = field(default_factory=K.copy)
    size_hw: tuple[int, int] = SIZE_HW

    def at_scale(self, scale: float) -> PointWorld:
        """Return the world before a camera whose image is so many times as large, noise too."""
        height, width = self.size_hw
        return replace(
            self,
            noise_px=scale * self.noise_px,
            K=np.diag([scale, scale, 1.0]) @ self.K,
            size_hw=(round(scale * height), round(scale * width)),
        )

    def observe(
        self, index: int, T_world_cam: Array, with_depth: bool, is_blind: bool = False
    ) -> Observation:
        """Return what frame `index` sees: some points missing, some clutter, in random order."""
        rng = self.rng
        last_pixel = [self.size_hw[1] - 1, self.size_hw[0] - 1]
        points_cam = se3.transform_points(se3.inverse(T_world_cam), self.points)
        pixels = project(points_cam, self.K)
        with np.errstate(invalid="ignore"):
            seen = (pixels > 0).all(axis=1) & (pixels < last_pixel).all(axis=1)
        seen &= rng.random(len(pixels)) > self.dropout
        if is_blind:
            seen[:] = False
        rows = rng.permutation(np.flatnonzero(seen))
        dim = self.descriptors.shape[1]
        clutter = rng.uniform([0, 0], last_pixel, (self.clutter, 2))
        keypoints = np.concatenate(
            [pixels[rows] + rng.normal(0, self.noise_px, (len(rows), 2)), clutter]
        )
        descriptors = np.concatenate(
            [
                self.descriptors[rows] + rng.normal(0, 0.3 / np.sqrt(dim), (len(rows), dim)),
                rng.normal(0, 1 / np.sqrt(dim), (self.clutter, dim)),
            ]
        )
        descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
        depth = np.full(len(keypoints), np.nan)
        if with_depth:
            z = points_cam[rows, 2]
            depth[: len(rows)] = z + rng.normal(0, 1, len(rows)) * (0.0012 + 0.0019 * z**2)
            depth[: len(rows)][rng.random(len(rows)) < 0.3] = np.nan
        features = Features(
            keypoints.astype(np.float32),
            np.linspace(1, 0.1, len(keypoints), dtype=np.float32),
            descriptors.astype(np.float32),
            self.size_hw,
        )
        sigma = DepthConfig(sigma_relative=0.0).sigma(depth)  # this world errs at random only
        return Observation(1 + index * FRAME_NS, features, keypoints, depth, self.K, sigma)


def _world(points: Array, seed: int) -> PointWorld:
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(len(points), 64))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return PointWorld(points, descriptors, rng)


def map_of(frame: Observation) -> LocalMap:
    """Return the map that one frame with depth makes, seen from the origin."""
    local_map = LocalMap(LocalMapConfig())
    nothing = np.full(len(frame.features), NO_LANDMARK)
    add_landmarks_from_depth(local_map, local_map.add_keyframe(frame, np.eye(4), nothing))
    return local_map


@pytest.fixture
def room() -> PointWorld:
    """Points on the walls of a 6 x 4 x 8 m room around the origin."""
    rng = np.random.default_rng(11)
    half = np.array([3.0, 2.0, 4.0])
    points = rng.uniform(-half, half, (4000, 3))
    wall = rng.integers(0, 3, 4000)
    points[np.arange(4000), wall] = half[wall] * rng.choice([-1, 1], 4000)
    return _world(points, 12)


@pytest.fixture
def plane() -> PointWorld:
    """Points on a slanted plane about 3 m in front of the origin."""
    rng = np.random.default_rng(13)
    xy = rng.uniform([-6, -4], [6, 4], (2500, 2))
    return _world(np.column_stack([xy, 3.0 + 0.15 * xy[:, 0] - 0.1 * xy[:, 1]]), 14)
