# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A world of points with known poses and random descriptors: odometry without images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from superpoint_ros.data import Array, Features, Observation
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.triangulation import project
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

    def observe(
        self, index: int, T_world_cam: Array, with_depth: bool, is_blind: bool = False
    ) -> Observation:
        """Return what frame `index` sees: some points missing, some clutter, in random order."""
        rng = self.rng
        points_cam = se3.transform_points(se3.inverse(T_world_cam), self.points)
        pixels = project(points_cam, K)
        with np.errstate(invalid="ignore"):
            seen = (pixels > 0).all(axis=1) & (pixels < [SIZE_HW[1] - 1, SIZE_HW[0] - 1]).all(
                axis=1
            )
        seen &= rng.random(len(pixels)) > self.dropout
        if is_blind:
            seen[:] = False
        rows = rng.permutation(np.flatnonzero(seen))
        dim = self.descriptors.shape[1]
        clutter = rng.uniform([0, 0], [SIZE_HW[1] - 1, SIZE_HW[0] - 1], (self.clutter, 2))
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
            SIZE_HW,
        )
        sigma = DepthConfig(sigma_relative=0.0).sigma(depth)  # this world errs at random only
        return Observation(1 + index * FRAME_NS, features, keypoints, depth, K, sigma)


def _world(points: Array, seed: int) -> PointWorld:
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(len(points), 64))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return PointWorld(points, descriptors, rng)


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
