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


@dataclass(frozen=True)
class MotionResult:
    """A motion between two views that fits all their pairs best.

    Attributes:
        T_b_a: (4, 4), translation of unit length.
        inliers: (N,) bool.
        sigma_px: Standard deviation of a keypoint's coordinate that the residuals show.
    """

    T_b_a: Array
    inliers: Array
    sigma_px: float


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


def refine_motion(
    T_b_a: Array,
    pixels_a: Array,
    pixels_b: Array,
    K_a: Array,
    K_b: Array,
    max_error_px: float,
    max_iterations: int = 30,
) -> MotionResult | None:
    """Minimise the robust Sampson error of all pairs over rotation and direction.

    The Sampson error is, to first order, what is left when each pair's point is placed best: so
    this is the bundle adjustment of two views, with 5 unknowns. Errors beyond twice
    `max_error_px` cost no more than that.

    Args:
        T_b_a: Start; the length of its translation does not matter. (4, 4).
        pixels_a: Undistorted pixels. (N, 2).
        pixels_b: Undistorted pixels, row by row the same points. (N, 2).
        K_a: Intrinsics of a, pixels. (3, 3).
        K_b: Intrinsics of b, pixels. (3, 3).
        max_error_px: Largest Sampson error of an inlier.
        max_iterations: Of Levenberg-Marquardt.

    Returns:
        The motion; None if the start has no translation, or the pairs do not determine one.
    """
    length = float(np.linalg.norm(T_b_a[:3, 3]))
    if length < 1e-12 or len(pixels_a) < 8:
        return None
    T = np.array(T_b_a, np.float64)
    T[:3, 3] /= length
    pairs = _Pairs(pixels_a, pixels_b, K_a, K_b)
    # Huber's loss turns linear at half the limit of an inlier: RANSAC's error, not the noise.
    bend, limit = 0.5 * max_error_px, 2.0 * max_error_px
    residuals, J, basis = pairs.linearize(T)
    cost, damping = _bounded_huber(residuals, bend, limit), 1e-4
    for _ in range(max_iterations):
        size = np.abs(residuals)
        weights = np.where(size < limit, np.minimum(1.0, bend / np.maximum(size, 1e-12)), 0.0)
        system = (J * weights[:, None]).T @ J
        diagonal = np.diag(system)
        try:
            step = -np.linalg.solve(
                system + np.diag(damping * diagonal + 1e-12 * diagonal.sum()),
                (J * weights[:, None]).T @ residuals,
            )
        except np.linalg.LinAlgError:
            return None
        moved = _moved(T, basis, step)
        there = pairs.linearize(moved)
        cost_there = _bounded_huber(there[0], bend, limit)
        if cost_there >= cost:
            damping *= 10.0
            if damping > 1e4:
                break
            continue
        gain = cost - cost_there
        T, cost, damping = moved, cost_there, max(0.1 * damping, 1e-9)
        residuals, J, basis = there
        if gain < 1e-7 * cost:
            break
    inliers = np.abs(residuals) < max_error_px
    if inliers.sum() < 8:
        return None
    spread = 1.4826 * float(np.median(np.abs(residuals[inliers])))
    return MotionResult(T, inliers, spread)


def motion_deviations(
    T_b_a: Array, pixels_a: Array, pixels_b: Array, K_a: Array, K_b: Array
) -> Array:
    """Return a motion moved by one standard deviation along each axis that errs independently.

    Args:
        T_b_a: Of unit translation, at its optimum for these pairs. (4, 4).
        pixels_a: Undistorted pixels, with independent noise of one pixel. (N, 2).
        pixels_b: Likewise, row by row the same points. (N, 2).
        K_a: Intrinsics of a, pixels. (3, 3).
        K_b: Intrinsics of b, pixels. (3, 3).

    Returns:
        (5, 4, 4): the covariance of the motion has these square roots.
    """
    _, J, basis = _Pairs(pixels_a, pixels_b, K_a, K_b).linearize(T_b_a)
    squares, axes = np.linalg.eigh(J.T @ J)
    sigmas = 1.0 / np.sqrt(np.maximum(squares, 1e-6))
    return np.stack([_moved(T_b_a, basis, axes[:, k] * sigmas[k]) for k in range(5)])


class _Pairs:
    """The Sampson error of some pairs as a function of the motion."""

    def __init__(self, pixels_a: Array, pixels_b: Array, K_a: Array, K_b: Array) -> None:
        self._a = np.column_stack([pixels_a, np.ones(len(pixels_a))])
        self._b = np.column_stack([pixels_b, np.ones(len(pixels_b))])
        self._to_b, self._to_a = np.linalg.inv(K_b).T, np.linalg.inv(K_a)

    def linearize(self, T_b_a: Array) -> tuple[Array, Array, Array]:
        """Return signed errors (N,), pixels, their Jacobian (N, 5) and the `_moved` basis."""
        R, t = T_b_a[:3, :3], T_b_a[:3, 3]
        basis = np.linalg.svd(t[None])[2][1:].T  # (3, 2), at right angles to t
        F = self._to_b @ (se3.hat(t) @ R) @ self._to_a
        turns = se3.hat(t) @ se3.hat(np.eye(3)) @ R
        changes = np.concatenate([turns, se3.hat(basis.T) @ R])  # of E, (5, 3, 3)
        dF = self._to_b @ changes @ self._to_a
        lines_b, lines_a = self._a @ F.T, self._b @ F
        squared = (lines_b[:, :2] ** 2).sum(axis=1) + (lines_a[:, :2] ** 2).sum(axis=1)
        gradient = np.sqrt(np.maximum(squared, 1e-300))
        residuals = (self._b * lines_b).sum(axis=1) / gradient
        d_lines_b, d_lines_a = self._a @ dF.transpose(0, 2, 1), self._b @ dF  # (5, N, 3)
        d_gradient = (lines_b[:, :2] * d_lines_b[:, :, :2]).sum(axis=2)
        d_gradient += (lines_a[:, :2] * d_lines_a[:, :, :2]).sum(axis=2)
        J = (self._b * d_lines_b).sum(axis=2) - residuals / gradient * d_gradient
        return residuals, (J / gradient).T, basis


def _moved(T_b_a: Array, basis: Array, step: Array) -> Array:
    """Turn by `step[:3]` on the left, and the direction within the plane of `basis`."""
    T = np.eye(4)
    T[:3, :3] = se3.exp_so3(step[:3]) @ T_b_a[:3, :3]
    t = T_b_a[:3, 3] + basis @ step[3:]
    T[:3, 3] = t / np.linalg.norm(t)
    return T


def _bounded_huber(residuals: Array, bend: float, limit: float) -> float:
    size = np.minimum(np.abs(residuals), limit)
    return float(np.where(size < bend, size**2, bend * (2.0 * size - bend)).sum())
