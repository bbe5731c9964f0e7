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
_GATE_2D, _GATE_1D = np.sqrt(_CHI2_95_2D), np.sqrt(_CHI2_95_1D)
# What a row in the linear part of Huber's loss counts for where errors are followed: not quite
# nothing, so that a pose or a point that has no others remains determined.
LINEAR_SHARE = 0.1
_LEAST_INFORMATION = 1e-12  # about one way of moving, over that about another: rounding is 1e-16
_STEP_TOLERANCE = 1e-5  # metres and radians: far below any sensor's noise


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
            that of x, y (in units of `pixel_sigma` times `pixel_scale`) and depth (of
            `depth_sigma`), to first order.
        to_landmarks: (6, N, 3) how it follows that of the landmarks, world frame, per metre.
        spread: (2,) of pixels (per axis) and of depths: `robust_spread` of the residuals in units
            of their standard deviation; NaN where there are none. Of depths only those count
            that Huber's loss leaves whole, so it says hardly more than 0.8 of them.
        shutter_rotation: (3,) turn of the camera from its first row to its last, radians, camera
            frame; zeros if not asked for.
    """

    T_world_cam: Array
    inliers: Array
    to_noise: Array
    to_landmarks: Array
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
    pixel_scale: Array | None = None,
    min_inliers: int = 12,
) -> PnpResult | None:
    """Estimate a camera pose from 3D-2D correspondences with RANSAC, then refine on the inliers.

    Args:
        points_world: Landmarks, metres, world frame. (N, 3).
        pixels: Undistorted observations (x, y), pixels. (N, 2).
        K: Pinhole intrinsics, pixels. (3, 3).
        config: RANSAC settings.
        depth: Measured depth of the observations, metres; NaN where unknown. (N,).
        depth_sigma: Standard deviation of `depth`, metres. (N,).
        pixel_scale: As for `refine_pose`.
        min_inliers: Fewest landmarks that must agree.

    Returns:
        The pose; None if fewer agree.

    Raises:
        ValueError: The inputs differ in length.
    """
    config = config or PnpConfig()
    points_world = np.ascontiguousarray(points_world, np.float64).reshape(-1, 3)
    pixels = np.ascontiguousarray(pixels, np.float64).reshape(-1, 2)
    if len(points_world) != len(pixels):
        raise ValueError(f"{len(points_world)} points and {len(pixels)} pixels do not pair")
    if len(pixels) < max(4, min_inliers):
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
    return refine_pose(
        *(points_world, pixels, K, T_world_cam, config, depth, depth_sigma),
        pixel_scale=pixel_scale,
        min_inliers=min_inliers,
    )


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
    point_covariance: Array | None = None,
    depth_follows_x: float = 0.0,
    pixel_scale: Array | None = None,
    min_inliers: int = 12,
) -> PnpResult | None:
    """Refine a pose by Gauss-Newton on whitened residuals with a Huber loss.

    The inliers are chosen anew before each round: within the 95 % gate of the pixel noise, at
    first a wide one. Depth never makes an outlier of a pixel that fits; it only loses weight.

    Landmarks that err are moved within their covariance to where the frame sees them. Else their
    errors would not average out: a wrong inverse depth takes part in the residual and in its
    derivative, so that way is underestimated and turn overestimated, by as much with many
    landmarks as with few.

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
        point_covariance: (N, 3, 3) of the landmarks, independent of each other, world frame,
            metres^2. None: they are exact.
        depth_follows_x: Correlation of the errors of inverse depth and x.
        pixel_scale: (N,) how many times `pixel_sigma` a keypoint errs in the pinhole image, as
            undistortion stretches it, or as it is faint: all that is said of pixels above and in
            the result is in units of it. None: one.
        min_inliers: Fewest landmarks that must agree.

    Returns:
        The pose; None if fewer agree or the pose is not determined.
    """
    config = config or PnpConfig()
    scale = np.ones(2) if noise_scale is None else noise_scale
    gate = _CHI2_95_2D * config.pixel_sigma**2
    T = np.array(T_world_cam, np.float64)
    psi = np.zeros(3)
    if shutter_sigma <= 0.0:
        row_fraction = None
    stretch = np.ones(len(pixels)) if pixel_scale is None else pixel_scale
    measured = _Measurements(
        pixels, K, depth, depth_sigma, config.pixel_sigma, scale, depth_follows_x, stretch
    )
    R = T[:3, :3]
    spread_of_points = None if point_covariance is None else R.T @ point_covariance @ R
    moved = np.zeros_like(points_world)  # of the landmarks, camera frame
    bend_depth = _GATE_1D * float(scale[1] / scale[0])
    # The first rounds forgive a start that is some pixels off; the last is the 95 % gate.
    for gate_factor, iterations in ((9.0, 2), (3.0, 2), (1.0, config.refine_iterations)):
        spread_here = spread_of_points if gate_factor == 1.0 else None
        # Depth errs in gross ways (edges, holes filled wrongly): beyond 3 gates it has no say.
        bends = _GATE_2D * min(gate_factor, 1.0 / scale[0]), bend_depth, 3.0 * _GATE_1D / scale[0]
        for _ in range(iterations):
            at = measured.linearize(points_world, moved, T, row_fraction, psi)
            active = at.squared_px < gate_factor * gate
            if active.sum() < min_inliers:
                return None
            S = _spread(at, spread_here)
            weights = _weigh(at.residuals, S, active, measured.has_depth, bends)
            information = _information(S, weights)
            system, gradient = _normal_equations(at.J, information, at.residuals)
            if row_fraction is not None:
                system[6:, 6:] += np.eye(3) / shutter_sigma**2
                gradient[6:] += psi / shutter_sigma**2
            try:
                step = -np.linalg.solve(system, gradient)
            except np.linalg.LinAlgError:
                return None
            if spread_here is not None:
                pull = np.matmul(information, (at.residuals + at.J @ step)[:, :, None])
                moved = -(spread_here @ (at.A.transpose(0, 2, 1) @ pull))[:, :, 0]
            T = T @ se3.exp(step[:6])
            if row_fraction is not None:
                psi = psi + step[6:]
            if np.abs(step).max() < _STEP_TOLERANCE:
                break
    residuals, _ = _residuals_with_shutter(points_world, pixels, K, T, row_fraction, psi)
    residuals = residuals / stretch[:, None]
    squared = np.einsum("nk,nk->n", residuals, residuals)
    inliers = squared < gate
    count = int(inliers.sum())
    if count < min_inliers or not np.isfinite(T).all():
        return None
    weakest, *_, strongest = np.linalg.eigvalsh(system[:6, :6])
    if weakest <= _LEAST_INFORMATION * strongest:  # e.g. all points on one line
        return None
    # Where Huber's loss is linear its pull stays the same: only the others answer to noise.
    is_whole = weights >= 0.999
    has_depth = is_whole[:, 1]
    information = _information(S, weights * np.where(is_whole, 1.0, LINEAR_SHARE))
    by_residual = np.matmul(at.J.transpose(0, 2, 1), information)  # (N, 6, 3)
    system = np.tensordot(by_residual, at.J, axes=([0, 2], [0, 1]))
    if row_fraction is not None:
        system[6:, 6:] += np.eye(3) / shutter_sigma**2
    try:
        inverse = np.linalg.inv(system)[:6]
    except np.linalg.LinAlgError:
        return None
    # One step from here answers to a change of the residuals by minus these.
    by_residual = inverse @ by_residual  # (N, 6, 3)
    to_landmarks = -np.matmul(by_residual, at.A @ T[:3, :3].T).transpose(1, 0, 2)
    to_noise = np.matmul(by_residual, measured.whitening).transpose(1, 0, 2)
    spread = np.array([robust_spread(residuals[inliers] / config.pixel_sigma), np.nan])
    if has_depth.any():
        assert depth is not None
        assert depth_sigma is not None
        points_cam = (points_world[has_depth] - T[:3, 3]) @ T[:3, :3]
        apart = points_cam[:, 2] - depth[has_depth]
        spread[1] = robust_spread(apart / depth_sigma[has_depth])
    return PnpResult(se3.orthonormalized(T), inliers, to_noise, to_landmarks, spread, psi)


@dataclass(frozen=True)
class _Linearized:
    """Whitened residuals x, y and inverse depth of N landmarks, and their derivatives.

    Attributes:
        residuals: (N, 3) of the landmarks as they are in the map; zero where unknown.
        J: (N, 3, 6) by the pose's tangent, or (N, 3, 9) with psi.
        A: (N, 3, 3) by the landmark, camera frame.
        squared_px: (N,) reprojection error, raw pixels.
    """

    residuals: Array
    J: Array
    A: Array
    squared_px: Array


class _Measurements:
    """What a frame measured of N landmarks, and how its noise becomes independent."""

    def __init__(
        self,
        pixels: Array,
        K: Array,
        depth: Array | None,
        depth_sigma: Array | None,
        pixel_sigma: float,
        scale: Array,
        depth_follows_x: float,
        stretch: Array,
    ) -> None:
        self._pixels, self._K = pixels, K
        self._raw_sigma = pixel_sigma * scale[0]
        self._pixel_sigma = self._raw_sigma * stretch
        count = len(pixels)
        self.has_depth = np.zeros(count, bool)
        self._inverse_depth, self._per_sigma = np.zeros(count), np.zeros(count)
        if depth is not None and depth_sigma is not None:
            with np.errstate(invalid="ignore"):
                self.has_depth = (depth > 0.0) & (depth_sigma > 0.0)
            known = self.has_depth
            self._inverse_depth[known] = 1.0 / depth[known]
            self._per_sigma[known] = depth[known] ** 2 / (depth_sigma[known] * scale[0])
        self._mix = depth_mix(depth_follows_x, scale)
        # By noise of x, y and depth in units of the configured sigma.
        self.whitening = np.diag([1.0 / scale[0], 1.0 / scale[0], -self._mix[1] / scale[0]])
        self.whitening[2, 0] = self._mix[0] / scale[0]

    def linearize(
        self,
        points_world: Array,
        moved: Array,
        T_world_cam: Array,
        row_fraction: Array | None,
        psi: Array,
    ) -> _Linearized:
        """Evaluate residuals and derivatives with the landmarks moved, camera frame. (N, 3)."""
        points_cam = (points_world - T_world_cam[:3, 3]) @ T_world_cam[:3, :3] + moved
        px, J_px = _pixel_residuals(points_cam, self._pixels, self._K)
        px, J_px = _with_shutter(px, J_px, row_fraction, psi)
        J = np.zeros((len(px), 3, J_px.shape[2]))
        J[:, :2] = J_px / self._pixel_sigma[:, None, None]
        residuals = np.empty((len(px), 3))
        residuals[:, :2] = px / self._pixel_sigma[:, None]
        z = np.maximum(points_cam[:, 2], 0.01)
        by_z = -self._per_sigma / z**2
        residuals[:, 2] = (1.0 / z - self._inverse_depth) * self._per_sigma
        J[:, 2, 2] = -by_z
        J[:, 2, 3] = -points_cam[:, 1] * by_z
        J[:, 2, 4] = points_cam[:, 0] * by_z
        for rows in (residuals, J):
            make_depth_independent(rows, self.has_depth, self._mix)
        A = -J[:, :, :3]
        residuals -= np.matmul(A, moved[:, :, None])[:, :, 0]
        squared = (residuals[:, :2] ** 2).sum(axis=1) * self._raw_sigma**2
        return _Linearized(residuals, J, A, squared)


def _spread(at: _Linearized, spread_of_points: Array | None) -> Array | None:
    """Return the covariance (N, 3, 3) of whitened residuals: noise, and what landmarks err.

    None: noise alone, which is one.
    """
    if spread_of_points is None:
        return None
    S = at.A @ spread_of_points @ at.A.transpose(0, 2, 1)
    S[:, [0, 1, 2], [0, 1, 2]] += 1.0
    return np.asarray(S)


def _weigh(
    residuals: Array,
    S: Array | None,
    active: Array,
    has_depth: Array,
    bends: tuple[float, float, float],
) -> Array:
    """Return Huber's weights (N, 2) of pixels and of depths; 0 of those that do not count.

    Pixels and depth have a loss of their own, each by what noise and landmark allow it.
    """
    squared = residuals**2
    if S is None:
        apart = np.sqrt(np.stack([squared[:, 0] + squared[:, 1], squared[:, 2]], axis=1))
    else:
        px = squared[:, 0] * S[:, 1, 1] + squared[:, 1] * S[:, 0, 0]
        px -= 2.0 * residuals[:, 0] * residuals[:, 1] * S[:, 0, 1]
        px /= S[:, 0, 0] * S[:, 1, 1] - S[:, 0, 1] ** 2
        apart = np.sqrt(np.stack([px, squared[:, 2] / S[:, 2, 2]], axis=1))
    weights = np.minimum(1.0, np.array(bends[:2]) / np.maximum(apart, 1e-6)) * active[:, None]
    weights[~has_depth | (apart[:, 1] > bends[2]), 1] = 0.0
    return np.asarray(weights)


def _information(S: Array | None, weights: Array) -> Array:
    """Return the information (N, 3, 3) of residuals with the covariance S and weights (N, 2).

    What is trusted less errs more by itself, not with its landmark. Scaled as a whole, a depth
    that has no say would still vouch for that of its landmark: of one that stands in a wrong
    place the pixels would be believed, as though only their noise could move them.
    """
    if S is None:
        information = np.zeros((len(weights), 3, 3))
        information[:, [0, 1, 2], [0, 1, 2]] = weights[:, [0, 0, 1]]
        return information
    per_weight = 1.0 / np.maximum(weights, 1e-9)
    S = S.copy()
    S[:, :2, :2] *= per_weight[:, :1, None]
    S[:, 2, 2] *= per_weight[:, 1]
    information = _inverse_symmetric(S)
    information[weights[:, 0] == 0.0] = 0.0  # neither has its depth a say
    has_none = weights[:, 1] == 0.0
    information[has_none, 2] = information[has_none, :, 2] = 0.0
    return information


def _inverse_symmetric(S: Array) -> Array:
    """Return the inverses of positive definite matrices (N, 3, 3); faster than LAPACK's."""
    a, b, c = S[:, 0, 0], S[:, 0, 1], S[:, 0, 2]
    d, e, f = S[:, 1, 1], S[:, 1, 2], S[:, 2, 2]
    first, second, third = d * f - e * e, c * e - b * f, b * e - c * d
    fourth, fifth, last = a * f - c * c, b * c - a * e, a * d - b * b
    inverse = np.stack(
        [first, second, third, second, fourth, fifth, third, fifth, last], axis=1
    ).reshape(-1, 3, 3)
    inverse /= (a * first + b * second + c * third)[:, None, None]
    return inverse


def depth_mix(depth_follows_x: float, noise_scale: Array) -> Array:
    """Return the shares (2,) of x and of inverse depth in what is independent of x.

    Args:
        depth_follows_x: Correlation of the errors of inverse depth and x.
        noise_scale: (2,) true noise of pixels and of depths over the one of the whitened rows.
    """
    by_x = noise_scale[1] / noise_scale[0] * depth_follows_x
    return np.asarray(np.array([-by_x, 1.0]) / np.sqrt(1.0 - depth_follows_x**2))


def make_depth_independent(rows: Array, has_depth: Array, mix: Array) -> None:
    """Take what inverse depth has in common with x out of whitened rows, in place.

    Args:
        rows: (N, 3, ...): of x, y and inverse depth.
        has_depth: (N,) bool.
        mix: Of `depth_mix`.
    """
    if mix[0]:
        rows[has_depth, 2] = mix[1] * rows[has_depth, 2] + mix[0] * rows[has_depth, 0]


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
    return _with_shutter(residuals, J, row_fraction, psi)


def _with_shutter(
    residuals: Array, J: Array, row_fraction: Array | None, psi: Array
) -> tuple[Array, Array]:
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
    return _pixel_residuals(points_cam, pixels, K)


def _pixel_residuals(points_cam: Array, pixels: Array, K: Array) -> tuple[Array, Array]:
    """Return the same of points (N, 3) in the camera frame."""
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


def _normal_equations(J: Array, information: Array, residuals: Array) -> tuple[Array, Array]:
    flat = J.reshape(-1, J.shape[2])
    weighted = np.matmul(information, J).reshape(flat.shape)
    return weighted.T @ flat, weighted.T @ residuals.ravel()
