# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Homographies between two images of a plane, or of any scene by a camera that only turns."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from superpoint_ros.config import Config, option
from superpoint_ros.data import Array
from superpoint_ros.geometry.ransac import draw_order, seed_option


@dataclass(frozen=True)
class HomographyConfig(Config):
    """Robust estimation of a homography."""

    max_reprojection_px: float = option(
        3.0, "Largest transfer error of an inlier, pixels.", minimum=0.1, maximum=50.0
    )
    max_iterations: int = option(2000, "Most RANSAC samples.", minimum=10, maximum=100000)
    confidence: float = option(
        0.999, "Probability of an outlier-free sample.", minimum=0.5, maximum=0.99999
    )
    min_inliers: int = option(12, "Fewest pairs that must agree.", minimum=4, maximum=1000)
    refine_iterations: int = option(
        10, "Most Gauss-Newton steps on the inliers.", minimum=0, maximum=100
    )
    seed: int = seed_option()


@dataclass(frozen=True)
class HomographyResult:
    """A homography and who agrees with it.

    Attributes:
        H_b_a: (3, 3), pixels of a to pixels of b; w > 0 before the camera, determinant 1.
        inliers: (N,) bool.
        rms_px: Root mean square of the inliers' transfer error, pixels of b.
    """

    H_b_a: Array
    inliers: Array
    rms_px: float


def warp_points(H_b_a: Array, points_a: Array) -> Array:
    """Map pixels (N, 2) of a to b; NaN for points on or behind the horizon (w <= 0)."""
    points_a = np.asarray(points_a, np.float64).reshape(-1, 2)
    mapped = points_a @ H_b_a[:, :2].T + H_b_a[:, 2]
    w = np.where(mapped[:, 2:] > 1e-12, mapped[:, 2:], np.nan)
    return np.asarray(mapped[:, :2] / w, np.float64)


def estimate_homography(
    pixels_a: Array, pixels_b: Array, config: HomographyConfig | None = None
) -> HomographyResult | None:
    """Estimate `H_b_a` with RANSAC, then refine on the inliers with a Huber loss.

    Args:
        pixels_a: (N, 2), pixels.
        pixels_b: (N, 2), pixels, row by row the same points.
        config: Thresholds.

    Returns:
        The result; None if fewer than `min_inliers` agree or the map is degenerate.

    Raises:
        ValueError: The inputs differ in length.
    """
    config = config or HomographyConfig()
    pixels_a = np.asarray(pixels_a, np.float64).reshape(-1, 2)
    pixels_b = np.asarray(pixels_b, np.float64).reshape(-1, 2)
    if len(pixels_a) != len(pixels_b):
        raise ValueError(f"{len(pixels_a)} and {len(pixels_b)} points do not pair")
    if len(pixels_a) < max(4, config.min_inliers):
        return None
    order = draw_order(len(pixels_a), config.seed)
    H, _ = cv2.findHomography(
        pixels_a[order],
        pixels_b[order],
        cv2.RANSAC,
        config.max_reprojection_px,
        maxIters=config.max_iterations,
        confidence=config.confidence,
    )
    if H is None or not np.linalg.det(H):
        return None
    # RANSAC leaves the sign open. Pairs that are wrong may lie behind the horizon, as corners do
    # that the camera has passed: only those that agree must not.
    H_b_a = unit_homography(H)
    inliers = _transfer_error_px(H_b_a, pixels_a, pixels_b) < config.max_reprojection_px
    if inliers.sum() < config.min_inliers or _is_collinear(pixels_a[inliers]):
        return None
    H_b_a = refine_homography(
        H_b_a,
        pixels_a[inliers],
        pixels_b[inliers],
        config.refine_iterations,
        huber_px=0.5 * config.max_reprojection_px,
    )
    error = _transfer_error_px(H_b_a, pixels_a, pixels_b)
    inliers = error < config.max_reprojection_px
    if inliers.sum() < config.min_inliers or not is_sane_homography(H_b_a, pixels_a[inliers]):
        return None
    return HomographyResult(H_b_a, inliers, float(np.sqrt(np.mean(error[inliers] ** 2))))


def refine_homography(
    H_b_a: Array, pixels_a: Array, pixels_b: Array, iterations: int, huber_px: float
) -> Array:
    """Minimise the Huber loss of the transfer error in b by Gauss-Newton over eight entries."""
    # Work in centred, scaled coordinates: entries of one size, a well-conditioned system.
    S_a, S_b = _normalization(pixels_a), _normalization(pixels_b)
    a, b = warp_points(S_a, pixels_a), warp_points(S_b, pixels_b)
    H = S_b @ H_b_a @ np.linalg.inv(S_a)
    H /= H[2, 2]
    delta = huber_px * S_b[0, 0]
    cost = _huber_cost(H, a, b, delta)
    for _ in range(iterations):
        residuals, J = _residuals_and_jacobian(H, a, b)
        norm = np.linalg.norm(residuals, axis=1)
        weights = np.minimum(1.0, delta / np.maximum(norm, 1e-12))
        JW = J * weights[:, None, None]
        try:
            step = np.linalg.solve(
                np.einsum("nki,nkj->ij", JW, J), -np.einsum("nki,nk->i", JW, residuals)
            )
        except np.linalg.LinAlgError:
            break
        candidate = H + np.append(step, 0.0).reshape(3, 3)
        candidate_cost = _huber_cost(candidate, a, b, delta)
        if not candidate_cost < cost:
            break
        improved = cost - candidate_cost
        H, cost = candidate, candidate_cost
        if improved < 1e-10 * cost:
            break
    return unit_homography(np.linalg.inv(S_b) @ H @ S_a)


def unit_homography(H_b_a: Array) -> Array:
    """Return the multiple whose determinant is 1.

    Of a plane that the camera sees from one side it has w > 0 before the camera. Dividing by
    H[2, 2], as is often done, is dividing by w of pixel (0, 0), which may be behind the horizon.
    """
    return np.asarray(H_b_a / np.cbrt(np.linalg.det(H_b_a)), np.float64)


def is_sane_homography(H_b_a: Array, points_a: Array) -> bool:
    """Return whether no point crosses the horizon and the orientation is kept (no mirror)."""
    if not np.isfinite(H_b_a).all():
        return False
    w = points_a @ H_b_a[2, :2] + H_b_a[2, 2]
    if not len(w) or not w.mean() > 0.0 or not w.min() > 1e-6 * w.mean():
        return False
    # det > 0 and w > 0 everywhere: a camera saw the plane's front
    return bool(np.linalg.det(H_b_a / w.mean()) > 1e-9)


def decompose_homography(H_b_a: Array, K: Array) -> list[tuple[Array, Array]]:
    """Return the candidate motions of a plane-induced homography.

    Returns:
        Up to four (T_b_a (4, 4) with the translation in units of the plane's distance from a,
        unit normal of the plane in frame a (3,)): two readings, each also mirrored through the
        camera. The caller keeps the one that puts the points in front of both cameras.
    """
    count, rotations, translations, normals = cv2.decomposeHomographyMat(H_b_a, K)
    motions = []
    for R_b_a, t_b_a, n_a in zip(
        rotations[:count], translations[:count], normals[:count], strict=True
    ):
        T_b_a = np.eye(4)
        T_b_a[:3, :3], T_b_a[:3, 3] = R_b_a, t_b_a[:, 0]
        motions.append((T_b_a, np.asarray(n_a[:, 0], np.float64)))
    return motions


def _transfer_error_px(H_b_a: Array, pixels_a: Array, pixels_b: Array) -> Array:
    error = np.linalg.norm(warp_points(H_b_a, pixels_a) - pixels_b, axis=1)
    return np.asarray(np.nan_to_num(error, nan=np.inf), np.float64)


def _huber_cost(H: Array, a: Array, b: Array, delta: float) -> float:
    norm = _transfer_error_px(H, a, b)
    return float(np.where(norm < delta, 0.5 * norm**2, delta * (norm - 0.5 * delta)).sum())


def _residuals_and_jacobian(H: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """Return residuals (N, 2) and their Jacobian (N, 2, 8) by the row-major entries of H."""
    mapped = a @ H[:, :2].T + H[:, 2]
    w = mapped[:, 2]
    projected = mapped[:, :2] / w[:, None]
    homogeneous = np.column_stack([a, np.ones(len(a))]) / w[:, None]
    J = np.zeros((len(a), 2, 8))
    J[:, 0, 0:3] = J[:, 1, 3:6] = homogeneous
    J[:, :, 6:8] = -projected[:, :, None] * homogeneous[:, None, :2]
    return projected - b, J


def _normalization(points: Array) -> Array:
    centre = points.mean(axis=0)
    scale = 1.0 / max(float(points.std()), 1e-9)
    return np.array([[scale, 0, -scale * centre[0]], [0, scale, -scale * centre[1]], [0, 0, 1.0]])


def _is_collinear(points: Array) -> bool:
    """Return whether the points spread less than a pixel away from their best line."""
    spread: Array = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return bool(spread[1] < np.sqrt(len(points)))
