# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Points from two views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.geometry import se3


@dataclass(frozen=True)
class Triangulation:
    """Points seen by two cameras.

    Attributes:
        points_world: (N, 3), world frame; NaN where the rays are parallel.
        parallax: (N,) angle between the two rays, radians.
        depth_a: (N,) depth in camera a; positive means in front, -1 where the rays are parallel.
        depth_b: (N,) depth in camera b.
        error_px: (N,) the larger of the two reprojection errors, pixels.
    """

    points_world: Array
    parallax: Array
    depth_a: Array
    depth_b: Array
    error_px: Array

    def good(self, min_parallax: float, max_error_px: float) -> Array:
        """Return (N,) bool: in front of both cameras, enough parallax, small error."""
        return np.asarray(
            (self.depth_a > 0)
            & (self.depth_b > 0)
            & (self.parallax > min_parallax)
            & (self.error_px < max_error_px)
        )


def rays(pixels: Array, K: Array) -> Array:
    """Return the directions (N, 3) with z = 1, camera frame, of pixels (N, 2)."""
    y = (pixels[:, 1] - K[1, 2]) / K[1, 1]
    x = (pixels[:, 0] - K[0, 2] - K[0, 1] * y) / K[0, 0]
    return np.column_stack([x, y, np.ones(len(pixels))])


def back_project(pixels: Array, depth: Array, K: Array) -> Array:
    """Return the points (N, 3), camera frame, of pixels (N, 2) with depth (N,) along z."""
    return np.asarray(rays(pixels, K) * depth[:, None], np.float64)


def project(points_cam: Array, K: Array) -> Array:
    """Return the pixels (N, 2) of points (N, 3) in the camera frame; NaN behind the camera."""
    z = np.where(points_cam[:, 2] > 1e-9, points_cam[:, 2], np.nan)
    return np.asarray((points_cam[:, :2] / z[:, None]) @ K[:2, :2].T + K[:2, 2], np.float64)


def triangulate(
    T_world_a: Array, T_world_b: Array, pixels_a: Array, pixels_b: Array, K_a: Array, K_b: Array
) -> Triangulation:
    """Triangulate by the linear method (one 4x4 system a point), all points at once.

    Args:
        T_world_a: Pose of camera a. (4, 4).
        T_world_b: Pose of camera b. (4, 4).
        pixels_a: Undistorted pixels in a. (N, 2).
        pixels_b: Undistorted pixels in b. (N, 2).
        K_a: Intrinsics of a, pixels. (3, 3).
        K_b: Intrinsics of b, pixels. (3, 3).

    Returns:
        Points with what is needed to judge them.
    """
    rays_a, rays_b = rays(pixels_a, K_a), rays(pixels_b, K_b)
    # In frame a, where the numbers are small, whatever the world's origin.
    T_b_a = se3.inverse(T_world_b) @ T_world_a
    A = np.empty((len(rays_a), 4, 4))
    identity = np.eye(4)
    A[:, 0] = rays_a[:, :1] * identity[2] - identity[0]
    A[:, 1] = rays_a[:, 1:2] * identity[2] - identity[1]
    A[:, 2] = rays_b[:, :1] * T_b_a[2] - T_b_a[0]
    A[:, 3] = rays_b[:, 1:2] * T_b_a[2] - T_b_a[1]
    _, vectors = np.linalg.eigh(np.swapaxes(A, 1, 2) @ A)
    X = vectors[:, :, 0]
    w = np.where(np.abs(X[:, 3]) > 1e-9, X[:, 3], np.nan)
    points_a = X[:, :3] / w[:, None]
    points_b = se3.transform_points(T_b_a, points_a)
    error_a = np.linalg.norm(project(points_a, K_a) - pixels_a, axis=1)
    error_b = np.linalg.norm(project(points_b, K_b) - pixels_b, axis=1)
    turned_b = rays_b @ T_b_a[:3, :3]  # R_a_b @ ray
    sine = np.linalg.norm(np.cross(rays_a, turned_b), axis=1)
    cosine = (rays_a * turned_b).sum(axis=1)
    return Triangulation(
        points_world=se3.transform_points(T_world_a, points_a),
        parallax=np.arctan2(sine, cosine),
        depth_a=np.nan_to_num(points_a[:, 2], nan=-1.0),
        depth_b=np.nan_to_num(points_b[:, 2], nan=-1.0),
        error_px=np.nan_to_num(np.maximum(error_a, error_b), nan=np.inf),
    )
