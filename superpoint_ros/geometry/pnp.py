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
from superpoint_ros.geometry.ransac import draw_order, seed_option

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
    seed: int = seed_option()


@dataclass(frozen=True)
class PnpResult:
    """A pose and who agrees with it.

    Attributes:
        T_world_cam: (4, 4).
        inliers: (N,) bool.
        to_noise: (6, N, 3) how the pose's error (tangent and side as in `geometry.se3`) follows
            that of x, y (in units of `pixel_sigma`) and depth (of `depth_sigma`), to first order.
        to_landmarks: (6, N, 3) how it follows that of the landmarks, world frame, per metre.
        rms_px: Root mean square reprojection error of the inliers, pixels.
        spread: (2,) of pixels (per axis) and of depths: `robust_spread` of the residuals in units
            of their standard deviation; NaN where there are none.
        shutter_rotation: (3,) turn of the camera from its first row to its last, radians, camera
            frame; zeros if not asked for.
    """

    T_world_cam: Array
    inliers: Array
    to_noise: Array
    to_landmarks: Array
    rms_px: float
    spread: Array
    shutter_rotation: Array = field(default_factory=lambda: np.zeros(3))

    @property
    def covariance(self) -> Array:
        """(6, 6) of the pose if the landmarks are exact and the noise is as configured."""
        gain = self.to_noise.reshape(6, -1)
        return np.asarray(gain @ gain.T)


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
    order = draw_order(len(pixels), config.seed)
    try:
        found, rotation, translation, inliers = cv2.solvePnPRansac(
            points_world[order] - centre,
            pixels[order],
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
    noise_scale: Array | None = None,
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
        noise_scale: (2,) true noise of pixels and of depths over the configured one: Huber's loss
            turns linear that much earlier; the gate of the inliers stays. None: one.

    Returns:
        The pose; None if fewer than `config.min_inliers` agree or the pose is not determined.
    """
    config = config or PnpConfig()
    gate = _CHI2_95_2D * config.pixel_sigma**2
    pixel_scale, depth_scale = (1.0, 1.0) if noise_scale is None else noise_scale
    T = np.array(T_world_cam, np.float64)
    psi = np.zeros(3)
    if shutter_sigma <= 0.0:
        row_fraction = None
    system, J, weights = np.eye(6), np.zeros((0, 2, 6)), np.zeros(0)
    J_depth, depth_weights = np.zeros((len(points_world), 6)), np.zeros(len(points_world))
    # The first rounds forgive a start that is some pixels off; the last is the 95 % gate.
    for gate_factor, iterations in ((9.0, 2), (3.0, 2), (1.0, config.refine_iterations)):
        for _ in range(iterations):
            residuals, J = _residuals_with_shutter(points_world, pixels, K, T, row_fraction, psi)
            squared = np.einsum("nk,nk->n", residuals, residuals)
            active = squared < gate_factor * gate
            if active.sum() < config.min_inliers:
                return None
            bend = gate * min(gate_factor * pixel_scale, 1.0) ** 2
            weights = active * np.minimum(1.0, np.sqrt(bend / np.maximum(squared, 1e-12)))
            weights /= config.pixel_sigma**2
            system, gradient = _normal_equations(J, residuals, weights)
            if depth is not None and depth_sigma is not None:
                apart, J_depth = depth_residuals(points_world, depth, T)
                depth_weights = _depth_weights(apart, depth_sigma, active, depth_scale)
                weighted = J_depth * depth_weights[:, None]
                system[:6, :6] += weighted.T @ J_depth
                gradient[:6] += weighted.T @ np.where(depth_weights > 0.0, apart, 0.0)
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
    if np.linalg.eigvalsh(system[:6, :6])[0] <= 1e-9:  # e.g. all points on one line of sight
        return None
    rms_px = float(np.sqrt(squared[inliers].mean()))
    # Where Huber's loss is linear its pull stays the same: only the others answer to noise.
    is_linear = weights < 0.999 / config.pixel_sigma**2
    is_depth_linear = depth_weights > 0.0
    if depth_sigma is not None:
        is_depth_linear &= depth_weights * depth_sigma**2 < 0.999
    for J_rows, row_weights, dropped in (
        (J, weights, is_linear),
        (J_depth[:, None], depth_weights, is_depth_linear),
    ):
        columns = J_rows.shape[2]
        lost = (J_rows * row_weights[:, None, None])[dropped].reshape(-1, columns)
        system[:columns, :columns] -= lost.T @ J_rows[dropped].reshape(-1, columns)
        row_weights[dropped] = 0.0
    try:
        inverse = np.linalg.inv(system)[:6]
    except np.linalg.LinAlgError:
        return None
    # One step from here answers to a change of the residuals by minus these.
    weighted = (J * weights[:, None, None]).reshape(-1, J.shape[2])
    by_pixel = (inverse @ weighted.T).reshape(6, -1, 2)
    by_depth = inverse[:, :6] @ (J_depth * depth_weights[:, None]).T
    R = T[:3, :3]
    by_point = np.matmul(by_pixel.transpose(1, 0, 2), J[:, :, :3]).transpose(1, 0, 2)
    to_landmarks = by_point @ R.T
    to_landmarks -= by_depth[:, :, None] * R[:, 2]
    to_noise = np.empty((6, len(points_world), 3))
    to_noise[:, :, :2] = by_pixel * config.pixel_sigma
    to_noise[:, :, 2] = 0.0
    if depth_sigma is not None:
        to_noise[:, :, 2] = by_depth * np.where(depth_weights > 0.0, depth_sigma, 0.0)
    whitened = residuals[inliers] / config.pixel_sigma
    spread = np.array([robust_spread(whitened), np.nan])
    has_depth = depth_weights > 0.0
    if depth is not None and depth_sigma is not None and has_depth.any():
        apart, _ = depth_residuals(points_world[has_depth], depth[has_depth], T)
        spread[1] = robust_spread(apart / depth_sigma[has_depth])
    return PnpResult(se3.orthonormalized(T), inliers, to_noise, to_landmarks, rms_px, spread, psi)


def robust_spread(residuals: Array) -> float:
    """Return the standard deviation that residuals around zero have for Huber's estimate."""
    size = np.abs(residuals)
    bend = np.sqrt(_CHI2_95_2D) * 1.4826 * float(np.median(size))
    return float(np.sqrt(np.square(np.minimum(size, bend)).mean() / (size <= bend).mean()))


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


def _depth_weights(apart: Array, depth_sigma: Array, active: Array, scale: float) -> Array:
    """Return the weights (N,) of depth residuals (N,), 1 / metres^2; 0 where there is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        whitened = np.abs(apart) / depth_sigma
        # Depth errs in gross ways (edges, holes filled wrongly): beyond 3 gates it has no say.
        is_used = active & (depth_sigma > 0.0) & (whitened < 3.0 * np.sqrt(_CHI2_95_1D))
        huber = np.minimum(1.0, scale * np.sqrt(_CHI2_95_1D) / np.maximum(whitened, 1e-12))
        return np.where(is_used, huber / depth_sigma**2, 0.0)
