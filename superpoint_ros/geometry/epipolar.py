# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Two calibrated views of a scene with depth: the essential matrix and the motion in it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from superpoint_ros.config import Config, option
from superpoint_ros.data import Array
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.ransac import draw_order, seed_option
from superpoint_ros.geometry.triangulation import rays


@dataclass(frozen=True)
class EssentialConfig(Config):
    """Robust estimation of an essential matrix."""

    max_error_px: float = option(
        1.5, "Largest Sampson error of an inlier, pixels.", minimum=0.05, maximum=50.0
    )
    max_iterations: int = option(1000, "Most RANSAC samples.", minimum=10, maximum=100000)
    confidence: float = option(
        0.999, "Probability of an outlier-free sample.", minimum=0.5, maximum=0.99999
    )
    min_inliers: int = option(20, "Fewest pairs that must agree.", minimum=5, maximum=1000)
    seed: int = seed_option()


@dataclass(frozen=True)
class EssentialResult:
    """An essential matrix and who agrees with it.

    Attributes:
        E_b_a: (3, 3) with `x_b^T E_b_a x_a = 0` for normalised coordinates.
        inliers: (N,) bool.
    """

    E_b_a: Array
    inliers: Array


def essential_from_pose(T_b_a: Array) -> Array:
    """Return `E_b_a` (3, 3) = [t]x R of unit norm; zeros for a motion without translation."""
    E = se3.hat(T_b_a[:3, 3]) @ T_b_a[:3, :3]
    return np.asarray(E / max(float(np.linalg.norm(E)), 1e-300), np.float64)


def sampson_error_px(
    E_b_a: Array, pixels_a: Array, pixels_b: Array, K_a: Array, K_b: Array
) -> Array:
    """Return the Sampson distance (N,) of pairs to the epipolar constraint, pixels."""
    F = np.linalg.inv(K_b).T @ E_b_a @ np.linalg.inv(K_a)
    lines_b = pixels_a @ F[:, :2].T + F[:, 2]
    lines_a = pixels_b @ F[:2] + F[2]
    algebraic = (pixels_b * lines_b[:, :2]).sum(axis=1) + lines_b[:, 2]
    gradient = (lines_a[:, :2] ** 2).sum(axis=1) + (lines_b[:, :2] ** 2).sum(axis=1)
    return np.asarray(np.abs(algebraic) / np.sqrt(np.maximum(gradient, 1e-300)), np.float64)


def estimate_essential(
    pixels_a: Array,
    pixels_b: Array,
    K_a: Array,
    K_b: Array,
    config: EssentialConfig | None = None,
) -> EssentialResult | None:
    """Estimate `E_b_a` with the five-point method in RANSAC.

    Args:
        pixels_a: Undistorted pixels. (N, 2).
        pixels_b: Undistorted pixels, row by row the same points. (N, 2).
        K_a: Intrinsics of a, pixels. (3, 3).
        K_b: Intrinsics of b, pixels. (3, 3).
        config: Thresholds.

    Returns:
        The result; None if fewer than `min_inliers` agree.

    Raises:
        ValueError: The inputs differ in length.
    """
    config = config or EssentialConfig()
    pixels_a = np.asarray(pixels_a, np.float64).reshape(-1, 2)
    pixels_b = np.asarray(pixels_b, np.float64).reshape(-1, 2)
    if len(pixels_a) != len(pixels_b):
        raise ValueError(f"{len(pixels_a)} and {len(pixels_b)} points do not pair")
    if len(pixels_a) < max(5, config.min_inliers):
        return None
    focal = 0.25 * (K_a[0, 0] + K_a[1, 1] + K_b[0, 0] + K_b[1, 1])
    order = draw_order(len(pixels_a), config.seed)
    E, _ = cv2.findEssentialMat(
        rays(pixels_a[order], K_a)[:, :2],
        rays(pixels_b[order], K_b)[:, :2],
        np.eye(3),
        method=cv2.RANSAC,
        prob=config.confidence,
        threshold=config.max_error_px / focal,
        maxIters=config.max_iterations,
    )
    if E is None or E.shape[0] < 3:
        return None
    E_b_a = np.asarray(E[:3], np.float64)  # several roots come stacked
    inliers = sampson_error_px(E_b_a, pixels_a, pixels_b, K_a, K_b) < config.max_error_px
    if inliers.sum() < config.min_inliers:
        return None
    return EssentialResult(E_b_a, inliers)


def decompose_essential(E_b_a: Array) -> list[Array]:
    """Return the four motions `T_b_a` (4, 4) of unit translation that `E_b_a` allows."""
    R_1, R_2, t_b_a = cv2.decomposeEssentialMat(E_b_a)
    motions = []
    for R_b_a in (R_1, R_2):
        for sign in (1.0, -1.0):
            T_b_a = np.eye(4)
            T_b_a[:3, :3], T_b_a[:3, 3] = R_b_a, sign * t_b_a[:, 0]
            motions.append(T_b_a)
    return motions
