# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The start of a monocular map from two views, as soon as they tell the depth of what they see.

Both an essential matrix and a homography propose motions, and each is refined on all pairs. Where
two of them fit, as on a plane, views from between decide: they see points that only one of the
two put where they are. Until that is clear, and until depth is known well enough, the map waits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from superpoint_ros.config import Config, option
from superpoint_ros.data import Array, Observation
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.epipolar import (
    EssentialConfig,
    decompose_essential,
    essential_from_pose,
    estimate_essential,
    motion_deviations,
    refine_motion,
    sampson_error_px,
)
from superpoint_ros.geometry.homography import (
    HomographyConfig,
    decompose_homography,
    estimate_homography,
)
from superpoint_ros.geometry.pnp import reprojection_residuals, solve_pnp
from superpoint_ros.geometry.triangulation import Triangulation, rays, triangulate
from superpoint_ros.matching import MatchConfig, match

# Costs are squared errors in units of the noise, none larger than this.
_BOUND = 9.0
# In two views the costs of a right and a wrong motion differ by what a few mismatches happen to
# add; in rendered and simulated starts by up to 0.25 a pair.
_CLEAR_SHARE = 0.5
# In views from between the wrong motion never won by more than 5 there.
_CLEAR = 25.0
_WITNESSES = 4  # views from between that are asked
_MIN_WITNESSED = 20  # points that a witness has to see
_LEAST_NOISE_PX = 0.1
# What a keypoint is taken to err by at least where depth is judged, pixels of a 640 wide image:
# some of its error is common to both views and shows in no residual.
_LEAST_SIGMA_PX = 0.3


@dataclass(frozen=True)
class InitializationConfig(Config):
    """Two-view start of the mono mode."""

    min_matches: int = option(60, "Fewest matches of the two views.", minimum=8, maximum=10000)
    min_landmarks: int = option(
        40, "Fewest good points that make a map.", minimum=8, maximum=10000
    )
    max_depth_error: float = option(
        0.03,
        "Largest standard deviation of a landmark's depth that starts a map, as a share of the "
        "depth; median of the landmarks.",
        minimum=0.001,
        maximum=1.0,
    )
    min_point_parallax_deg: float = option(
        0.3, "Smallest angle of a point that enters the map, degrees.", minimum=0.01, maximum=45.0
    )
    max_error_px: float = option(
        2.0, "Largest reprojection error of a point, pixels.", minimum=0.1, maximum=20.0
    )
    min_similarity: float = option(
        0.6, "Smallest cosine of two descriptors.", minimum=-1.0, maximum=1.0
    )
    max_ratio: float = option(
        0.95, "Largest ratio of best to second-best distance; 1: off.", minimum=0.0, maximum=1.0
    )
    median_depth: float = option(
        1.0,
        "Median depth of the landmarks in the first view, which sets the scale of a mono map: 1 "
        "leaves it open, the true value makes it metres (looking straight down: the height).",
        minimum=0.02,  # what is nearer than 0.01 counts as behind the camera
        maximum=10000.0,
    )
    max_reference_age: int = option(
        90, "Frames for which a view may be the first of a map.", minimum=2, maximum=10000
    )
    essential: EssentialConfig = dataclasses.field(default_factory=EssentialConfig)
    homography: HomographyConfig = dataclasses.field(default_factory=HomographyConfig)


@dataclass(frozen=True)
class TwoViewMap:
    """A map from two views, in the frame of the first; its median depth is the config's.

    Attributes:
        T_a_b: (4, 4) pose of the second camera in the first.
        pairs: (M, 2) keypoints of a and b.
        points_a: (M, 3).
    """

    T_a_b: Array
    pairs: Array
    points_a: Array


def start_map(
    first: Observation,
    second: Observation,
    config: InitializationConfig,
    between: Sequence[Observation] = (),
) -> TwoViewMap | None:
    """Try to make a map from two views.

    Args:
        first: The frame of the map.
        second: A later view.
        config: What is asked of the map.
        between: Views taken between the two, in order: they decide where two motions fit.

    Returns:
        The map; None if the views share too little, moved too little, or the motion is ambiguous.
    """
    pairs = match_finite(first, second, _matching(config))
    if len(pairs) < config.min_matches:
        return None
    a, b = first.pixels[pairs[:, 0]], second.pixels[pairs[:, 1]]
    # Without image motion there is no parallax: spare the solvers.
    if np.median(np.linalg.norm(b - a, axis=1)) < 0.005 * first.features.image_size_hw[1]:
        return None
    reading = _choose(_read(first, second, pairs, config), first, pairs, between, config)
    if reading is None:
        return None
    good = reading.good
    if good.sum() < config.min_landmarks:
        return None
    sigma_px = max(reading.sigma_px, _LEAST_SIGMA_PX * first.features.image_size_hw[1] / 640.0)
    depth_error = sigma_px * _depth_error(a[good], b[good], first.K, second.K, reading.T_b_a)
    if depth_error > config.max_depth_error:
        return None
    scale = config.median_depth / float(np.median(reading.points.depth_a[good]))
    T_a_b = se3.inverse(reading.T_b_a)
    T_a_b[:3, 3] *= scale
    return TwoViewMap(T_a_b, pairs[good], scale * reading.points.points_world[good])


def match_finite(first: Observation, second: Observation, config: MatchConfig) -> Array:
    """Match two observations by descriptor; pairs (M, 2) with finite pixels."""
    pairs = match(first.features, second.features, config)
    finite = np.isfinite(first.pixels[pairs[:, 0]]).all(axis=1)
    finite &= np.isfinite(second.pixels[pairs[:, 1]]).all(axis=1)
    return np.asarray(pairs[finite])


def _matching(config: InitializationConfig) -> MatchConfig:
    return MatchConfig(min_similarity=config.min_similarity, max_ratio=config.max_ratio)


@dataclass(frozen=True)
class _Reading:
    """A motion that the two views may mean.

    Attributes:
        T_b_a: (4, 4), unit translation.
        points: Of all pairs.
        errors_px: (N,) distance of the pairs to their epipolar lines; inf behind a camera.
        good: (N,) bool, what would be landmarks.
        sigma_px: Standard deviation of a keypoint that the residuals show.
    """

    T_b_a: Array
    points: Triangulation
    errors_px: Array
    good: Array
    sigma_px: float


def _read(
    first: Observation, second: Observation, pairs: Array, config: InitializationConfig
) -> list[_Reading]:
    """Return the motions that may explain the pairs; the same one may come several times."""
    a, b = first.pixels[pairs[:, 0]], second.pixels[pairs[:, 1]]
    essential = estimate_essential(a, b, first.K, second.K, config.essential)
    homography = estimate_homography(a, b, config.homography)
    starts = [] if essential is None else decompose_essential(essential.E_b_a)[:1]
    if homography is not None:
        # The homography of the normalised plane, so that the two cameras may differ in K.
        H = np.linalg.inv(second.K) @ homography.H_b_a @ first.K
        starts += [T for T, _ in decompose_homography(H, np.eye(3))]
    readings = []
    for start in starts:
        motion = refine_motion(start, a, b, first.K, second.K, config.essential.max_error_px)
        if motion is None:
            continue
        E_b_a = essential_from_pose(motion.T_b_a)
        errors_px = sampson_error_px(E_b_a, a, b, first.K, second.K)
        # All four motions of an essential matrix have its errors, but not its points in front.
        for T_b_a in decompose_essential(E_b_a):
            points = triangulate(np.eye(4), se3.inverse(T_b_a), a, b, first.K, second.K)
            good = motion.inliers & points.good(
                np.radians(config.min_point_parallax_deg), config.max_error_px
            )
            ahead = points.good(0.0, np.inf)
            readings.append(
                _Reading(T_b_a, points, np.where(ahead, errors_px, np.inf), good, motion.sigma_px)
            )
    return readings


def _choose(
    readings: list[_Reading],
    first: Observation,
    pairs: Array,
    between: Sequence[Observation],
    config: InitializationConfig,
) -> _Reading | None:
    """Return the motion that the views mean; None if another might be meant as well."""
    if not readings:
        return None
    noise_px = max(min(reading.sigma_px for reading in readings), _LEAST_NOISE_PX)
    costs = [_bounded(reading.errors_px / noise_px) for reading in readings]
    order = np.argsort(costs, kind="stable")
    rivals: list[_Reading] = []
    for index in order:
        if costs[index] - costs[order[0]] > _CLEAR_SHARE * len(pairs):
            break
        if all(_differ(readings[index].T_b_a, rival.T_b_a) for rival in rivals):
            rivals.append(readings[index])
    if len(rivals) == 1:
        return rivals[0]
    asked = np.unique(np.linspace(0, len(between) - 1, _WITNESSES).round().astype(int))
    views = [between[i] for i in asked] if between else []
    elsewhere = np.zeros(len(rivals))
    for view in views:
        elsewhere += _costs_elsewhere(rivals, first, pairs, view, noise_px, config)
    order = np.argsort(elsewhere, kind="stable")
    is_clear = elsewhere[order[1]] - elsewhere[order[0]] > _CLEAR
    return rivals[order[0]] if is_clear else None


def _costs_elsewhere(
    readings: list[_Reading],
    first: Observation,
    pairs: Array,
    view: Observation,
    noise_px: float,
    config: InitializationConfig,
) -> Array:
    """Return how well another view fits the points of each reading (R,); zeros if it cannot tell.

    All are judged by the same points, each from the place that suits it best.
    """
    seen = match_finite(first, view, _matching(config))
    in_all = np.all([reading.good for reading in readings], axis=0)
    _, rows, keypoints = np.intersect1d(pairs[in_all, 0], seen[:, 0], return_indices=True)
    if len(rows) < _MIN_WITNESSED:
        return np.zeros(len(readings))
    pixels = view.pixels[seen[keypoints, 1]]
    costs = np.full(len(readings), _BOUND * len(rows))
    for i, reading in enumerate(readings):
        points = reading.points.points_world[in_all][rows]
        points = points / np.median(points[:, 2])
        pose = solve_pnp(points, pixels, view.K)
        if pose is not None:
            residuals, _ = reprojection_residuals(points, pixels, view.K, pose.T_world_cam)
            costs[i] = _bounded(np.linalg.norm(residuals, axis=1) / (np.sqrt(2.0) * noise_px))
    return costs


def _bounded(errors: Array) -> float:
    return float(np.minimum(errors**2, _BOUND).sum())


def _differ(T_b_a: Array, T_other: Array) -> bool:
    """Whether two motions are two answers, not one found twice."""
    angle = np.linalg.norm(se3.log_so3(T_b_a[:3, :3].T @ T_other[:3, :3]))
    cosine = T_b_a[:3, 3] @ T_other[:3, 3]
    return bool(np.degrees(angle) > 1.0 or cosine < np.cos(np.radians(5.0)))


def _depth_error(a: Array, b: Array, K_a: Array, K_b: Array, T_b_a: Array) -> float:
    """Return the standard deviation of depth over depth, median of pairs with noise of a pixel.

    The error of the motion moves all points, but their median depth is the map's unit: what
    stretches them all alike is none.
    """
    depth = _depth(rays(a, K_a), rays(b, K_b), T_b_a)
    variance = np.zeros(len(a))
    for T in motion_deviations(T_b_a, a, b, K_a, K_b):
        moved = _depth(rays(a, K_a), rays(b, K_b), T)
        variance += (moved / np.median(moved) * np.median(depth) / depth - 1.0) ** 2
    for shift in np.eye(2):
        variance += (_depth(rays(a + shift, K_a), rays(b, K_b), T_b_a) / depth - 1.0) ** 2
        variance += (_depth(rays(a, K_a), rays(b + shift, K_b), T_b_a) / depth - 1.0) ** 2
    return float(np.median(np.sqrt(variance)))


def _depth(rays_a: Array, rays_b: Array, T_b_a: Array) -> Array:
    """Return the depth (N,) in a of points on the rays (N, 3): fast, and smooth in all."""
    across = np.cross(rays_b, T_b_a[:3, 3])
    turned = np.cross(rays_b, rays_a @ T_b_a[:3, :3].T)
    return np.asarray(-(across**2).sum(axis=1) / (across * turned).sum(axis=1))
