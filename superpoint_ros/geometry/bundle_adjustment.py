# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bundle adjustment of a window of cameras and the points they see.

Levenberg-Marquardt on whole arrays, the points eliminated by their Schur complement. GTSAM finds
the same optimum (a test compares them), but its Python binding builds factors one by one and keeps
the interpreter's lock while it optimises: tracking would stand still meanwhile. Here a window
takes a fifth of that time, most of it without the lock.

The problem and its result are plain arrays: no state is shared with the map, so the optimisation
may run in another thread while tracking goes on.

How errors spread is answered by **samples**: S parallel outcomes of the measurements' noise. The
linearised optimum follows each of them, so that the samples of cameras and points have the joint
distribution of the estimate's errors, with everything that correlates them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.pnp import LINEAR_SHARE, depth_mix, make_depth_independent

_CHI2_95_2D = 5.991
_GATE = np.sqrt(_CHI2_95_2D)  # of Huber's loss, in standard deviations
_NEAREST = 0.01  # metres (or map units) in front of the camera
_BEHIND = 1e3  # what a point behind the camera adds to the cost
_RELATIVE_TOLERANCE = 1e-4  # of the cost: less gain ends the iterations
_AS_RESIDUALS = np.array([[1.0], [1.0], [-1.0]], np.float32)  # too deep: inverse depth too small
_SCALE_SAMPLES = 8  # samples whose residuals are compared with the real ones


@dataclass(frozen=True)
class BundleSamples:
    """Samples of what the solution depends on; S of them.

    Attributes:
        cameras: (C, 6, S) error of the cameras, tangent as in `se3`. Only fixed ones are read.
        noise: (M, 3, S) error of x, y and depth, in units of `pixel_sigma` (times `pixel_scale`)
            and `depth_sigma`.
    """

    cameras: Array
    noise: Array


@dataclass(frozen=True)
class BundleProblem:
    """Cameras, points and who sees what. C cameras, L points, M observations.

    Attributes:
        T_world_cam: (C, 4, 4) start.
        K: (C, 3, 3) intrinsics, pixels.
        is_fixed: (C,) bool, cameras that only anchor, at least one. With one alone and no depth
            the scale is free: it stays as it is at the start.
        points_world: (L, 3) start. Each has at least one observation.
        camera_index: (M,) int.
        point_index: (M,) int. A camera sees a point at most once.
        pixels: (M, 2) undistorted.
        depth: (M,) metres; NaN where unknown.
        depth_sigma: (M,) metres.
        noise_scale: (2,) true noise of pixels and of depths over the one given: Huber's loss
            turns linear that much earlier.
        depth_follows_x: Correlation of the errors of inverse depth and x.
        samples: Where errors are to be followed; None: nowhere.
        pixel_scale: (M,) how many times `pixel_sigma` a keypoint errs in `pixels`, as for
            `geometry.pnp.refine_pose`; None: one.
    """

    T_world_cam: Array
    K: Array
    is_fixed: Array
    points_world: Array
    camera_index: Array
    point_index: Array
    pixels: Array
    depth: Array
    depth_sigma: Array
    noise_scale: Array = field(default_factory=lambda: np.ones(2))
    depth_follows_x: float = 0.0
    samples: BundleSamples | None = None
    pixel_scale: Array | None = None

    @property
    def has_free_scale(self) -> bool:
        """Whether nothing says how large all is."""
        return int(self.is_fixed.sum()) == 1 and not np.isfinite(self.depth).any()


@dataclass(frozen=True)
class BundleResult:
    """The optimum.

    Attributes:
        T_world_cam: (C, 4, 4).
        points_world: (L, 3).
        is_inlier: (M,) bool, observations within the 95 % gate of the pixel noise.
        camera_samples: (C, 6, S) errors of the cameras; None if not asked for.
        point_samples: (L, 3, S) errors of the points, world frame; None if not asked for.
        point_covariance: (L, 3, 3) of the points if the cameras are right, world frame, metres^2,
            with noise of `noise_scale`; None if samples were not asked for.
        noise_ratio: (2,) by how much the residuals of pixels and of depths exceed those of the
            samples: the factor that the samples' noise lacks. NaN where there are none.
    """

    T_world_cam: Array
    points_world: Array
    is_inlier: Array
    camera_samples: Array | None = None
    point_samples: Array | None = None
    point_covariance: Array | None = None
    noise_ratio: Array | None = None


@dataclass(frozen=True)
class _Linearized:
    """Whitened residuals at a state, and what the normal equations are made of.

    Attributes:
        residuals: (M, 3) x, y, inverse depth; zero where unknown or behind the camera.
        weights: (M, 3) of Huber's loss.
        J: (M, 3, 3) by the point in the camera's frame.
        G: (M, 3, 6) of the point in the camera's frame by the camera's tangent.
        cost: Huber's.
    """

    residuals: Array
    weights: Array
    J: Array
    G: Array
    cost: float


def adjust_bundle(
    problem: BundleProblem, pixel_sigma: float, max_iterations: int
) -> BundleResult | None:
    """Minimise the Huber loss of reprojection and inverse depth over free cameras and points.

    Args:
        problem: The start and the measurements.
        pixel_sigma: Standard deviation of a keypoint, raw pixels.
        max_iterations: Most Levenberg-Marquardt iterations.

    Returns:
        The optimum; None if the system cannot be solved (a point or camera is not determined).
    """
    solver = _Solver(problem, pixel_sigma)
    T_world_cam = np.stack([se3.orthonormalized(T) for T in problem.T_world_cam])
    points = np.array(problem.points_world, np.float64)
    at = solver.linearize(T_world_cam, points)
    damping = 1e-5
    try:
        for _ in range(max_iterations):
            moved = solver.step(at, T_world_cam, damping)
            T_next = T_world_cam.copy()
            T_next[solver.free] = [
                T @ se3.exp(xi) for T, xi in zip(T_world_cam[solver.free], moved[0], strict=True)
            ]
            there = solver.linearize(T_next, points + moved[1])
            if there.cost > at.cost:
                damping *= 10.0
                continue
            gain = at.cost - there.cost
            T_world_cam, points, at = T_next, points + moved[1], there
            damping = max(0.1 * damping, 1e-9)
            if gain < _RELATIVE_TOLERANCE * at.cost:
                break
        samples = None
        if problem.samples is not None:
            samples = solver.follow(at, T_world_cam, problem.samples)
    except np.linalg.LinAlgError:
        return None
    T_world_cam[problem.is_fixed] = problem.T_world_cam[problem.is_fixed]
    if not (np.isfinite(T_world_cam).all() and np.isfinite(points).all()):
        return None
    squared = squared_errors_px(problem, T_world_cam, points)
    is_inlier = squared < _CHI2_95_2D * pixel_sigma**2
    result = BundleResult(T_world_cam, points, is_inlier, *(samples or ()))
    return _with_scale_kept(problem, result) if problem.has_free_scale else result


def _with_scale_kept(problem: BundleProblem, result: BundleResult) -> BundleResult:
    """Give an optimum of free scale the scale of its start, and its samples one scale.

    The median range of the points stays as it is: that is known better than the distance of two
    cameras that are still close together. Samples share the distance of the first free camera.
    """
    centre = problem.T_world_cam[problem.is_fixed][0, :3, 3]
    before, after = (
        np.median(np.linalg.norm(points - centre, axis=1))
        for points in (problem.points_world, result.points_world)
    )
    scale = float(before / after)
    T_world_cam = result.T_world_cam.copy()
    T_world_cam[:, :3, 3] = centre + scale * (T_world_cam[:, :3, 3] - centre)
    T_world_cam[problem.is_fixed] = problem.T_world_cam[problem.is_fixed]
    points = centre + scale * (result.points_world - centre)
    result = dataclasses.replace(result, T_world_cam=T_world_cam, points_world=points)
    if result.camera_samples is None or result.point_samples is None:
        return result
    # What the damping left of the free scale is taken out: samples were made at the old scale.
    cameras = result.camera_samples.copy()
    cameras[:, :3] *= scale
    offsets = np.einsum("cji,cj->ci", T_world_cam[:, :3, :3], T_world_cam[:, :3, 3] - centre)
    first = offsets[np.flatnonzero(~problem.is_fixed)[0]]
    stretch = first @ cameras[np.flatnonzero(~problem.is_fixed)[0], :3] / (first @ first)  # (S,)
    cameras[:, :3] -= offsets[:, :, None] * stretch
    point_samples = scale * result.point_samples - (points - centre)[:, :, None] * stretch
    assert result.point_covariance is not None
    return dataclasses.replace(
        result,
        camera_samples=cameras,
        point_samples=point_samples,
        point_covariance=scale**2 * result.point_covariance,
    )


def follow_points(problem: BundleProblem, pixel_sigma: float) -> tuple[Array, Array]:
    """Return samples (L, 3, S) and covariance (L, 3, 3) of points, measured from cameras as given.

    Args:
        problem: With samples of all cameras and of the noise; nothing is moved, all are fixed.
        pixel_sigma: Standard deviation of a keypoint, pixels.
    """
    assert problem.samples is not None
    solver = _Solver(problem, pixel_sigma)
    at = solver.linearize(problem.T_world_cam, problem.points_world)
    return solver.follow(at, problem.T_world_cam, problem.samples)[1:3]


class _Solver:
    """The normal equations of one problem; observations are sorted by point inside."""

    def __init__(self, problem: BundleProblem, pixel_sigma: float) -> None:
        self.problem = problem
        self.free = np.flatnonzero(~problem.is_fixed)
        self._order = np.argsort(problem.point_index, kind="stable")
        self._camera = problem.camera_index[self._order]
        self._point = problem.point_index[self._order]
        self._starts = np.searchsorted(self._point, np.arange(len(problem.points_world)))
        self._rows_of = [np.flatnonzero(self._camera == camera) for camera in self.free]
        self._pixels = problem.pixels[self._order]
        depth, sigma = problem.depth[self._order], problem.depth_sigma[self._order]
        with np.errstate(invalid="ignore", divide="ignore"):
            inverse_depth, inverse_sigma = 1.0 / depth, sigma / depth**2
        self._has_depth = np.isfinite(inverse_depth) & (inverse_sigma > 0.0)
        self._inverse_depth = np.where(self._has_depth, inverse_depth, 0.0)
        self._scale = np.empty((len(self._order), 3))  # one over each standard deviation
        self._scale[:, :2] = 1.0 / pixel_sigma
        if problem.pixel_scale is not None:
            self._scale[:, :2] /= problem.pixel_scale[self._order, None]
        self._scale[:, 2] = np.where(self._has_depth, 1.0, 0.0)
        self._scale[:, 2] /= np.where(self._has_depth, inverse_sigma, 1.0)
        K = problem.K[self._camera]
        self._fx, self._fy, self._skew = K[:, 0, 0], K[:, 1, 1], K[:, 0, 1]
        self._centre = K[:, :2, 2]
        self._mix = depth_mix(problem.depth_follows_x, problem.noise_scale)
        self._bend = _GATE * problem.noise_scale[[0, 0, 1]]  # where Huber's loss turns linear

    def linearize(self, T_world_cam: Array, points: Array) -> _Linearized:
        """Evaluate residuals and derivatives."""
        R, t = T_world_cam[self._camera, :3, :3], T_world_cam[self._camera, :3, 3]
        p = np.einsum("mji,mj->mi", R, points[self._point] - t)
        is_ahead = p[:, 2] > _NEAREST
        inverse_z = 1.0 / np.where(is_ahead, p[:, 2], 1.0)
        x, y = p[:, 0] * inverse_z, p[:, 1] * inverse_z
        residuals = np.empty((len(p), 3))
        residuals[:, 0] = self._fx * x + self._skew * y
        residuals[:, 1] = self._fy * y
        residuals[:, :2] += self._centre - self._pixels
        residuals[:, 2] = inverse_z - self._inverse_depth
        residuals *= self._scale
        residuals[~is_ahead] = 0.0
        J = np.zeros((len(p), 3, 3))
        J[:, 0, 0] = self._fx * inverse_z
        J[:, 0, 1] = self._skew * inverse_z
        J[:, 0, 2] = -(self._fx * x + self._skew * y) * inverse_z
        J[:, 1, 1] = self._fy * inverse_z
        J[:, 1, 2] = -self._fy * y * inverse_z
        J[:, 2, 2] = -(inverse_z**2)
        J *= self._scale[:, :, None]
        J[~is_ahead] = 0.0
        for rows in (residuals, J):
            make_depth_independent(rows, self._has_depth, self._mix)
        # T exp(xi): p_cam' = p_cam - rho - phi x p_cam.
        G = np.zeros((len(p), 3, 6))
        G[:, [0, 1, 2], [0, 1, 2]] = -1.0
        G[:, :, 3:] = se3.hat(p)
        # A wrong depth must not drag a good pixel along: each has a loss of its own.
        norm = np.empty_like(residuals)
        norm[:, :2] = np.hypot(residuals[:, 0], residuals[:, 1])[:, None]
        norm[:, 2] = np.abs(residuals[:, 2])
        bend = self._bend
        weights = np.minimum(1.0, bend / np.maximum(norm, 1e-12))
        loss = np.where(norm < bend, 0.5 * norm**2, bend * (norm - 0.5 * bend))
        cost = float(loss[:, 1:].sum()) + _BEHIND * float((~is_ahead).sum())
        return _Linearized(residuals, weights, J, G, cost)

    def step(self, at: _Linearized, T_world_cam: Array, damping: float) -> tuple[Array, Array]:
        """Return the step of the free cameras (F, 6) and of the points (L, 3)."""
        gradient = np.einsum("mki,mk->mi", at.J, at.weights * at.residuals)[:, :, None]
        cameras, points = self._solve(at, T_world_cam, gradient, damping)
        return cameras[:, :, 0], points[:, :, 0]

    def follow(
        self, at: _Linearized, T_world_cam: Array, samples: BundleSamples
    ) -> tuple[Array, Array, Array, Array]:
        """Return what `BundleResult` says of errors: samples, point covariance, noise ratio."""
        noise = samples.noise[self._order] * _AS_RESIDUALS
        make_depth_independent(noise, self._has_depth, self._mix)
        # Where Huber's loss is linear its pull stays the same: only the others answer to noise.
        is_linear = at.weights < 1.0
        at = dataclasses.replace(at, weights=np.where(is_linear, LINEAR_SHARE * at.weights, 1.0))
        weighted = at.J * at.weights[:, :, None]
        B = np.matmul(at.J.transpose(0, 2, 1), weighted).astype(np.float32)
        # Single precision halves the work on what is large here; samples need no more.
        gradient = -np.matmul(weighted.transpose(0, 2, 1).astype(np.float32), noise)
        cameras = np.array(samples.cameras)
        cameras[self.free] = 0.0
        for i in range(len(cameras)):
            if cameras[i].any():  # fixed, and not exact
                rows = np.flatnonzero(self._camera == i)
                gradient[rows] += np.matmul(B[rows], _moved(at.G[rows], cameras[i]))
        cameras[self.free], points = self._solve(at, T_world_cam, gradient, 1e-9)
        few = slice(0, _SCALE_SAMPLES)
        R = T_world_cam[self._camera, :3, :3]
        shift = np.matmul(R.transpose(0, 2, 1), points[self._point, :, few])
        for i in range(len(cameras)):
            rows = np.flatnonzero(self._camera == i)
            shift[rows] += _moved(at.G[rows], cameras[i, :, few])
        residuals = np.matmul(at.J, shift) - noise[:, :, few]
        ratio = self._noise_ratio(at.residuals, residuals)
        return cameras, points, self._point_covariance(at, R), ratio

    def _point_covariance(self, at: _Linearized, R: Array) -> Array:
        """Return the covariance (L, 3, 3) of the points while the cameras stay; world frame."""
        J = np.matmul(at.J, R.transpose(0, 2, 1))
        weighted = J * at.weights[:, :, None]
        H = np.add.reduceat(np.matmul(J.transpose(0, 2, 1), weighted), self._starts)
        H += 1e-9 * np.trace(H, axis1=1, axis2=2)[:, None, None] * np.eye(3) + 1e-12 * np.eye(3)
        pulls = weighted * self.problem.noise_scale[[0, 0, 1], None]
        noise = np.add.reduceat(np.matmul(pulls.transpose(0, 2, 1), pulls), self._starts)
        inverse = np.linalg.inv(H)
        return np.asarray(inverse @ noise @ inverse)

    def _noise_ratio(self, real: Array, sampled: Array) -> Array:
        """Compare the spread of residuals, each capped as Huber's influence is."""

        ratios = np.full(2, np.nan)
        for i, (rows, axes) in enumerate(
            ((slice(None), slice(0, 2)), (self._has_depth, slice(2, 3)))
        ):
            if not real[rows].size:
                continue
            bend = self._bend[axes.start]
            # The variance of Huber's estimate: that of the pulls, over the share that answers.
            found, expected = (
                float(np.square(np.clip(values[rows, axes], -bend, bend)).mean())
                / max(float((np.abs(values[rows, axes]) < bend).mean()), 0.1)
                for values in (real, sampled)
            )
            if expected > 0.0:
                ratios[i] = np.sqrt(found / expected)
        return ratios

    def _solve(
        self, at: _Linearized, T_world_cam: Array, gradient: Array, damping: float
    ) -> tuple[Array, Array]:
        """Solve the damped normal equations for several right-hand sides.

        Args:
            at: Where.
            T_world_cam: (C, 4, 4) of the same state.
            gradient: (M, 3, S) by the points in the cameras' frames.
            damping: Share of the diagonal that is added to it.

        Returns:
            Minus the solution: cameras (F, 6, S) and points (L, 3, S).
        """
        num_free, num_points, count = len(self.free), len(self._starts), gradient.shape[2]
        R = T_world_cam[self._camera, :3, :3]
        B = np.matmul(at.J.transpose(0, 2, 1), at.J * at.weights[:, :, None])
        BR = np.matmul(B, R.transpose(0, 2, 1))  # camera rows, world columns
        H_points = np.add.reduceat(np.matmul(R, BR), self._starts)
        diagonal = np.einsum("lii->li", H_points)  # a view
        diagonal += damping * diagonal + 1e-12
        turned = np.matmul(R.astype(gradient.dtype), gradient)
        gradient_points = np.add.reduceat(turned, self._starts).astype(np.float64)
        inverse = np.linalg.inv(H_points)
        if not num_free:
            return np.zeros((0, 6, count)), -np.matmul(inverse, gradient_points)

        H_cameras = np.zeros((num_free, 6, num_free, 6))
        gradient_cameras = np.empty((num_free, 6, count))
        W = np.zeros((num_free, 6, num_points, 3))  # cameras by points
        for i, rows in enumerate(self._rows_of):
            G = at.G[rows]
            own = G.reshape(-1, 6).T @ np.matmul(B[rows], G).reshape(-1, 6)
            own[np.arange(6), np.arange(6)] *= 1.0 + damping
            H_cameras[i, :, i] = own
            flat = G.reshape(-1, 6).astype(gradient.dtype)
            gradient_cameras[i] = flat.T @ gradient[rows].reshape(-1, count)
            W[i, :, self._point[rows]] = np.matmul(G.transpose(0, 2, 1), BR[rows])
        size = 6 * num_free
        W_rows = W.reshape(size, 3 * num_points)
        WV = np.matmul(W.reshape(size, num_points, 3).transpose(1, 0, 2), inverse)
        WV_rows = WV.transpose(1, 0, 2).reshape(size, 3 * num_points)
        S = H_cameras.reshape(size, size) - WV_rows @ W_rows.T
        right = gradient_cameras.reshape(size, count) - WV_rows @ gradient_points.reshape(
            -1, count
        )
        cameras = np.linalg.solve(0.5 * (S + S.T), right)
        gradient_points -= (W_rows.T @ cameras).reshape(num_points, 3, count)
        return -cameras.reshape(num_free, 6, count), -np.matmul(inverse, gradient_points)


def _moved(G: Array, xi: Array) -> Array:
    """Return the motion (M, 3, S) of points in a camera that moves by (6, S); single precision."""
    flat = G.reshape(-1, 6).astype(np.float32) @ xi.astype(np.float32)
    return np.asarray(flat.reshape(len(G), 3, -1))


def squared_errors_px(problem: BundleProblem, T_world_cam: Array, points_world: Array) -> Array:
    """Return the squared reprojection error (M,) of every observation, raw pixels.

    It is inf behind the camera.
    """
    R = T_world_cam[problem.camera_index, :3, :3]
    offset = points_world[problem.point_index] - T_world_cam[problem.camera_index, :3, 3]
    points_cam = np.einsum("mji,mj->mi", R, offset)
    K = problem.K[problem.camera_index]
    z = np.where(points_cam[:, 2] > _NEAREST, points_cam[:, 2], np.nan)
    plane = points_cam[:, :2] / z[:, None]
    pixels = np.einsum("mij,mj->mi", K[:, :2, :2], plane) + K[:, :2, 2]
    squared = ((pixels - problem.pixels) ** 2).sum(axis=1)
    if problem.pixel_scale is not None:
        squared /= problem.pixel_scale**2
    return np.asarray(np.nan_to_num(squared, nan=np.inf), np.float64)
