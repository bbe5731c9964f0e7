# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bundle adjustment of a window of cameras and the points they see, by GTSAM.

The problem and its result are plain arrays: no state is shared with the map, so the optimisation
may run in another thread while tracking goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

import gtsam
import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.geometry import se3

_CHI2_95_2D = 5.991
# Depth enters as a stereo pixel with this imaginary baseline, metres. Long, so that the noise of
# the second pixel is that of the depth alone and the first pixel keeps its own weight.
_DEPTH_BASELINE = 10.0
_FIXED_SIGMA = 1e-7  # metres and radians


@dataclass(frozen=True)
class BundleProblem:
    """Cameras, points and who sees what. C cameras, L points, M observations.

    Attributes:
        T_world_cam: (C, 4, 4) start.
        K: (C, 3, 3) intrinsics, pixels.
        is_fixed: (C,) bool, cameras that only anchor. At least one for RGB-D and stereo, two
            for mono (the second fixes the scale).
        points_world: (L, 3) start.
        camera_index: (M,) int.
        point_index: (M,) int.
        pixels: (M, 2) undistorted.
        depth: (M,) metres; NaN where unknown.
        depth_sigma: (M,) metres.
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


@dataclass(frozen=True)
class BundleResult:
    """The optimum.

    Attributes:
        T_world_cam: (C, 4, 4).
        points_world: (L, 3).
        is_inlier: (M,) bool, observations within the 95 % gate of the pixel noise.
    """

    T_world_cam: Array
    points_world: Array
    is_inlier: Array


def adjust_bundle(
    problem: BundleProblem, pixel_sigma: float, max_iterations: int
) -> BundleResult | None:
    """Minimise the Huber loss of reprojection and depth over free cameras and all points.

    Args:
        problem: The start and the measurements.
        pixel_sigma: Standard deviation of a keypoint, pixels.
        max_iterations: Most Levenberg-Marquardt iterations.

    Returns:
        The optimum; None if the system cannot be solved (a point or camera is not determined).
    """
    graph = gtsam.NonlinearFactorGraph()
    values = gtsam.Values()
    camera_key, point_key = gtsam.symbol_shorthand.X, gtsam.symbol_shorthand.L
    anchor = gtsam.noiseModel.Isotropic.Sigma(6, _FIXED_SIGMA)
    for i, T in enumerate(problem.T_world_cam):
        pose = gtsam.Pose3(se3.orthonormalized(T))
        values.insert(camera_key(i), pose)
        if problem.is_fixed[i]:
            graph.add(gtsam.PriorFactorPose3(camera_key(i), pose, anchor))
    for j, point in enumerate(problem.points_world):
        values.insert(point_key(j), point)

    huber = gtsam.noiseModel.mEstimator.Huber.Create(np.sqrt(_CHI2_95_2D))
    pixel_noise = gtsam.noiseModel.Robust.Create(
        huber, gtsam.noiseModel.Isotropic.Sigma(2, pixel_sigma)
    )
    calibrations = [
        (
            gtsam.Cal3_S2(K[0, 0], K[1, 1], K[0, 1], K[0, 2], K[1, 2]),
            gtsam.Cal3_S2Stereo(K[0, 0], K[1, 1], K[0, 1], K[0, 2], K[1, 2], _DEPTH_BASELINE),
        )
        for K in problem.K
    ]
    focal_baseline = problem.K[problem.camera_index, 0, 0] * _DEPTH_BASELINE
    right = problem.pixels[:, 0] - focal_baseline / problem.depth
    right_sigma = focal_baseline * problem.depth_sigma / problem.depth**2
    has_depth = np.isfinite(right) & np.isfinite(right_sigma)
    for i, j, (u, v), u_right, sigma, with_depth in zip(
        problem.camera_index.tolist(),
        problem.point_index.tolist(),
        problem.pixels.tolist(),
        right.tolist(),
        right_sigma.tolist(),
        has_depth.tolist(),
        strict=True,
    ):
        mono, stereo = calibrations[i]
        if with_depth:
            noise = gtsam.noiseModel.Robust.Create(
                huber,
                gtsam.noiseModel.Diagonal.Sigmas(np.array([pixel_sigma, sigma, pixel_sigma])),
            )
            graph.add(
                gtsam.GenericStereoFactor3D(
                    gtsam.StereoPoint2(u, u_right, v), noise, camera_key(i), point_key(j), stereo
                )
            )
        else:
            graph.add(
                gtsam.GenericProjectionFactorCal3_S2(
                    np.array([u, v]), pixel_noise, camera_key(i), point_key(j), mono
                )
            )

    parameters = gtsam.LevenbergMarquardtParams()
    parameters.setMaxIterations(max_iterations)
    parameters.setRelativeErrorTol(1e-4)
    try:
        optimum = gtsam.LevenbergMarquardtOptimizer(graph, values, parameters).optimize()
    except RuntimeError:  # IndeterminantLinearSystemException
        return None
    T_world_cam = np.stack(
        [
            T if fixed else optimum.atPose3(camera_key(i)).matrix()
            for i, (T, fixed) in enumerate(zip(problem.T_world_cam, problem.is_fixed, strict=True))
        ]
    )
    points_world = np.stack(
        [optimum.atPoint3(point_key(j)) for j in range(len(problem.points_world))]
    )
    if not (np.isfinite(T_world_cam).all() and np.isfinite(points_world).all()):
        return None
    squared = squared_errors_px(problem, T_world_cam, points_world)
    return BundleResult(T_world_cam, points_world, squared < _CHI2_95_2D * pixel_sigma**2)


def squared_errors_px(problem: BundleProblem, T_world_cam: Array, points_world: Array) -> Array:
    """Return the squared reprojection error (M,) of every observation; inf behind the camera."""
    R = T_world_cam[problem.camera_index, :3, :3]
    offset = points_world[problem.point_index] - T_world_cam[problem.camera_index, :3, 3]
    points_cam = np.einsum("mji,mj->mi", R, offset)
    K = problem.K[problem.camera_index]
    z = np.where(points_cam[:, 2] > 0.01, points_cam[:, 2], np.nan)
    plane = points_cam[:, :2] / z[:, None]
    pixels = np.einsum("mij,mj->mi", K[:, :2, :2], plane) + K[:, :2, 2]
    squared = ((pixels - problem.pixels) ** 2).sum(axis=1)
    return np.asarray(np.nan_to_num(squared, nan=np.inf), np.float64)
