# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Camera pose from landmarks and their pixels, with depth where a sensor gives it."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from superpoint_ros.config import Config, option
from superpoint_ros.data import Array
from superpoint_ros.geometry import se3

_CHI2_95_2D = 5.991
_CHI2_95_1D = 3.841
_STEP_TOLERANCE = 1e-6  # metres and radians: far below any sensor's noise


@dataclass(frozen=True)
class PnpConfig(Config):
    """Robust estimation of a pose."""

    ransac_error_px: float = option(
        4.0, "Largest reprojection error of a RANSAC inlier, pixels.", minimum=0.1, maximum=50.0
    )
    ransac_iterations: int = option(200, "Most RANSAC samples.", minimum=10, maximum=100000)
    confidence: float = option(
        0.999, "Probability of an outlier-free sample.", minimum=0.5, maximum=0.99999
    )
    min_inliers: int = option(12, "Fewest landmarks that must agree.", minimum=4, maximum=1000)
    pixel_sigma: float = option(
        1.0, "Standard deviation of a keypoint, pixels.", minimum=0.01, maximum=20.0
    )
    refine_iterations: int = option(
        10, "Most Gauss-Newton steps of the refinement.", minimum=1, maximum=100
    )


@dataclass(frozen=True)
class PnpResult:
    """A pose and who agrees with it.

    Attributes:
        T_world_cam: (4, 4).
        inliers: (N,) bool.
        covariance: (6, 6), tangent vector and side as in `geometry.se3`.
        rms_px: Root mean square reprojection error of the inliers, pixels.
        shutter_rotation: (3,) turn of the camera from its first row to its last, radians, camera
            frame; zeros if not asked for.
    """

    T_world_cam: Array
    inliers: Array
    covariance: Array
    rms_px: float
    shutter_rotation: Array = field(default_factory=lambda: np.zeros(3))


def solve_pnp(
    points_world: Array,
    pixels: Array,
    K: Array,
    config: PnpConfig | None = None,
    depth: Array | None = None,
    depth_sigma: Array | None = None,
) -> PnpResult | None:
    """Estimate a camera pose from 3D-2D correspondences with RANSAC, then refine on the inliers.

    Args:
        points_world: Landmarks, metres, world frame. (N, 3).
        pixels: Undistorted observations (x, y), pixels. (N, 2).
        K: Pinhole intrinsics, pixels. (3, 3).
        config: RANSAC settings.
        depth: Measured depth of the observations, metres; NaN where unknown. (N,).
        depth_sigma: Standard deviation of `depth`, metres. (N,).

    Returns:
        The pose; None if fewer than `config.min_inliers` agree.

    Raises:
        ValueError: The inputs differ in length.
    """
    config = config or PnpConfig()
    points_world = np.ascontiguousarray(points_world, np.float64).reshape(-1, 3)
    pixels = np.ascontiguousarray(pixels, np.float64).reshape(-1, 2)
    if len(points_world) != len(pixels):
        raise ValueError(f"{len(points_world)} points and {len(pixels)} pixels do not pair")
    if len(pixels) < max(4, config.min_inliers):
        return None
    # Around the centroid: far from the origin P3P would lose digits.
    centre = points_world.mean(axis=0)
    try:
        # The generator inside has a fixed seed: the same input gives the same answer.
        found, rotation, translation, inliers = cv2.solvePnPRansac(
            points_world - centre,
            pixels,
            np.asarray(K, np.float64),
            None,
            iterationsCount=config.ransac_iterations,
            reprojectionError=config.ransac_error_px,
            confidence=config.confidence,
            flags=cv2.SOLVEPNP_AP3P,
        )
    except cv2.error:  # degenerate samples only: no pose to be had
        return None
    if not found or inliers is None or len(inliers) < 4:
        return None
    T_cam_centre = np.eye(4)  # OpenCV returns T_cam_world
    T_cam_centre[:3, :3], T_cam_centre[:3, 3] = se3.exp_so3(rotation[:, 0]), translation[:, 0]
    T_world_cam = se3.inverse(T_cam_centre)
    T_world_cam[:3, 3] += centre
    if not np.isfinite(T_world_cam).all():
        return None
    return refine_pose(points_world, pixels, K, T_world_cam, config, depth, depth_sigma)


def refine_pose(
    points_world: Array,
    pixels: Array,
    K: Array,
    T_world_cam: Array,
    config: PnpConfig | None = None,
    depth: Array | None = None,
    depth_sigma: Array | None = None,
    row_fraction: Array | None = None,
    shutter_sigma: float = 0.0,
) -> PnpResult | None:
    """Refine a pose by Gauss-Newton on whitened residuals with a Huber loss.

    The inliers are chosen anew before each round: within the 95 % gate of the pixel noise, at
    first a wide one. Depth never makes an outlier of a pixel that fits; it only loses weight.

    With `row_fraction` the camera may turn while its rows are read (rolling shutter): the pose is
    that of the middle row, and a rotation psi (3,) over the whole readout is estimated beside it,
    held near zero by a prior of `shutter_sigma`. So compensate what is known before the call.

    Args:
        points_world: Landmarks, metres, world frame. (N, 3).
        pixels: Undistorted observations (x, y), pixels. (N, 2).
        K: Pinhole intrinsics, pixels. (3, 3).
        T_world_cam: Start. (4, 4).
        config: Noise and iterations.
        depth: Measured depth of the observations, metres; NaN where unknown. (N,).
        depth_sigma: Standard deviation of `depth`, metres. (N,).
        row_fraction: Row of the raw keypoint over the image's height, minus one half. (N,).
        shutter_sigma: Of psi, radians.

    Returns:
        The pose; None if fewer than `config.min_inliers` agree or the pose is not determined.
    """
    config = config or PnpConfig()
    gate = _CHI2_95_2D * config.pixel_sigma**2
    T = np.array(T_world_cam, np.float64)
    psi = np.zeros(3)
    if shutter_sigma <= 0.0:
        row_fraction = None
    system = np.eye(6)
    # The first rounds forgive a start that is some pixels off; the last is the 95 % gate.
    for gate_factor, iterations in ((9.0, 2), (3.0, 2), (1.0, config.refine_iterations)):
        for _ in range(iterations):
            residuals, J = _residuals_with_shutter(points_world, pixels, K, T, row_fraction, psi)
            squared = np.einsum("nk,nk->n", residuals, residuals)
            active = squared < gate_factor * gate
            if active.sum() < config.min_inliers:
                return None
            weights = active * np.minimum(1.0, np.sqrt(gate / np.maximum(squared, 1e-12)))
            weights /= config.pixel_sigma**2
            system, gradient = _normal_equations(J, residuals, weights)
            if depth is not None and depth_sigma is not None:
                depth_hessian, depth_gradient = _depth_equations(
                    points_world, depth, depth_sigma, T, active
                )
                system[:6, :6] += depth_hessian
                gradient[:6] += depth_gradient
            if row_fraction is not None:
                system[6:, 6:] += np.eye(3) / shutter_sigma**2
                gradient[6:] += psi / shutter_sigma**2
            try:
                step = -np.linalg.solve(system, gradient)
            except np.linalg.LinAlgError:
                return None
            T = T @ se3.exp(step[:6])
            if row_fraction is not None:
                psi = psi + step[6:]
            if np.abs(step).max() < _STEP_TOLERANCE:
                break
    residuals, _ = _residuals_with_shutter(points_world, pixels, K, T, row_fraction, psi)
    squared = np.einsum("nk,nk->n", residuals, residuals)
    inliers = squared < gate
    count = int(inliers.sum())
    if count < config.min_inliers or not np.isfinite(T).all():
        return None
    try:
        covariance = np.linalg.inv(system)[:6, :6]
    except np.linalg.LinAlgError:
        return None
    if np.linalg.eigvalsh(system[:6, :6])[0] <= 1e-9:  # e.g. all points on one line of sight
        return None
    rms_px = float(np.sqrt(squared[inliers].mean()))
    # Residuals larger than the noise model says widen the covariance; smaller never narrow it.
    inflation = max(1.0, 0.5 * rms_px**2 / config.pixel_sigma**2)
    return PnpResult(se3.orthonormalized(T), inliers, covariance * inflation, rms_px, psi)


def _residuals_with_shutter(
    points_world: Array,
    pixels: Array,
    K: Array,
    T_world_cam: Array,
    row_fraction: Array | None,
    psi: Array,
) -> tuple[Array, Array]:
    """Return residuals (N, 2) and Jacobian (N, 2, 6), or (N, 2, 9) with psi.

    At row fraction s the camera has turned by exp(s psi), which moves a pixel as a turn of the
    camera does: the columns of psi are s times those of the rotation.
    """
    residuals, J = reprojection_residuals(points_world, pixels, K, T_world_cam)
    if row_fraction is None:
        return residuals, J
    J_psi = row_fraction[:, None, None] * J[:, :, 3:]
    return residuals + J_psi @ psi, np.concatenate([J, J_psi], axis=2)


def reprojection_residuals(
    points_world: Array, pixels: Array, K: Array, T_world_cam: Array
) -> tuple[Array, Array]:
    """Return predicted minus observed pixels and their Jacobian by the tangent vector.

    Args:
        points_world: (N, 3), world frame.
        pixels: (N, 2), undistorted.
        K: (3, 3), pixels.
        T_world_cam: (4, 4).

    Returns:
        Residuals (N, 2), pixels, and Jacobian (N, 2, 6). Points behind the camera (z < 1 cm) have
        residuals of 1e6 px and a zero Jacobian: no gate lets them in.
    """
    points_cam = (points_world - T_world_cam[:3, 3]) @ T_world_cam[:3, :3]
    z = points_cam[:, 2]
    behind = z < 0.01
    inverse_z = 1.0 / np.where(behind, 1.0, z)
    x, y = points_cam[:, 0] * inverse_z, points_cam[:, 1] * inverse_z
    fx, fy = K[0, 0], K[1, 1]
    residuals = np.empty((len(z), 2))
    residuals[:, 0] = fx * x + K[0, 1] * y + K[0, 2] - pixels[:, 0]
    residuals[:, 1] = fy * y + K[1, 2] - pixels[:, 1]
    # T exp(xi): p_cam' = p_cam - rho - phi x p_cam.
    J = np.empty((len(z), 2, 6))
    J[:, 0, 0] = -fx * inverse_z
    J[:, 0, 1] = 0.0
    J[:, 0, 2] = fx * x * inverse_z
    J[:, 0, 3] = fx * x * y
    J[:, 0, 4] = -fx * (1.0 + x * x)
    J[:, 0, 5] = fx * y
    J[:, 1, 0] = 0.0
    J[:, 1, 1] = -fy * inverse_z
    J[:, 1, 2] = fy * y * inverse_z
    J[:, 1, 3] = fy * (1.0 + y * y)
    J[:, 1, 4] = -fy * x * y
    J[:, 1, 5] = -fy * x
    if K[0, 1]:
        J[:, 0] += K[0, 1] / fy * J[:, 1]
    residuals[behind] = 1e6
    J[behind] = 0.0
    return residuals, J


def depth_residuals(points_world: Array, depth: Array, T_world_cam: Array) -> tuple[Array, Array]:
    """Return predicted minus measured depth (N,), metres, and its Jacobian (N, 6)."""
    points_cam = (points_world - T_world_cam[:3, 3]) @ T_world_cam[:3, :3]
    J = np.zeros((len(points_cam), 6))
    J[:, 2] = -1.0
    J[:, 3] = -points_cam[:, 1]
    J[:, 4] = points_cam[:, 0]
    return points_cam[:, 2] - depth, J


def _normal_equations(J: Array, residuals: Array, weights: Array) -> tuple[Array, Array]:
    flat = J.reshape(-1, J.shape[2])
    weighted = (J * weights[:, None, None]).reshape(flat.shape)
    return weighted.T @ flat, weighted.T @ residuals.ravel()


def _depth_equations(
    points_world: Array, depth: Array, depth_sigma: Array, T_world_cam: Array, active: Array
) -> tuple[Array, Array]:
    rows = np.flatnonzero(active & np.isfinite(depth) & (depth_sigma > 0))
    residuals, J = depth_residuals(points_world[rows], depth[rows], T_world_cam)
    whitened = np.abs(residuals) / depth_sigma[rows]
    # Depth errs in gross ways (edges, holes filled wrongly): beyond 3 gates it has no say.
    huber = np.minimum(1.0, np.sqrt(_CHI2_95_1D) / np.maximum(whitened, 1e-12))
    weights = huber * (whitened < 3.0 * np.sqrt(_CHI2_95_1D)) / depth_sigma[rows] ** 2
    weighted = J * weights[:, None]
    return weighted.T @ J, weighted.T @ residuals
