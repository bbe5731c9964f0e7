# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The start of a monocular map from two views: a plane or a scene with depth, by score."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from superpoint_ros.config import Config, option
from superpoint_ros.data import Array, Observation
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.epipolar import (
    EssentialConfig,
    decompose_essential,
    estimate_essential,
    sampson_error_px,
)
from superpoint_ros.geometry.homography import (
    HomographyConfig,
    decompose_homography,
    estimate_homography,
    warp_points,
)
from superpoint_ros.geometry.triangulation import Triangulation, triangulate
from superpoint_ros.matching import MatchConfig, match


@dataclass(frozen=True)
class InitializationConfig(Config):
    """Two-view start of the mono mode."""

    min_matches: int = option(60, "Fewest matches of the two views.", minimum=8, maximum=10000)
    min_landmarks: int = option(
        40, "Fewest good points that make a map.", minimum=8, maximum=10000
    )
    min_parallax_deg: float = option(
        3.0, "Smallest median angle between the two rays, degrees.", minimum=0.05, maximum=45.0
    )
    min_point_parallax_deg: float = option(
        0.3, "Smallest angle of a point that enters the map, degrees.", minimum=0.01, maximum=45.0
    )
    homography_share: float = option(
        0.5,
        "A plane is assumed when the homography's share of the two scores exceeds this.",
        minimum=0.0,
        maximum=1.0,
    )
    max_error_px: float = option(
        2.0, "Largest reprojection error of a point, pixels.", minimum=0.1, maximum=20.0
    )
    min_similarity: float = option(0.6, "Smallest cosine of two descriptors.", minimum=-1.0)
    max_ratio: float = option(
        0.95, "Largest ratio of best to second-best distance; 1: off.", minimum=0.0, maximum=1.0
    )
    median_depth: float = option(
        1.0,
        "Median depth of the landmarks in the first view, which sets the scale of a mono map: 1 "
        "leaves it open, the true value makes it metres (looking straight down: the height).",
        minimum=0.001,
        maximum=10000.0,
    )
    max_reference_age: int = option(
        90, "Frames after which a new first view is taken.", minimum=2, maximum=10000
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
        model: "essential" or "homography".
    """

    T_a_b: Array
    pairs: Array
    points_a: Array
    model: str


def start_map(
    first: Observation, second: Observation, config: InitializationConfig
) -> TwoViewMap | None:
    """Try to make a map from two views.

    Returns:
        The map; None if the views share too little, moved too little, or the motion is ambiguous.
    """
    pairs = match_views(first, second, config)
    if len(pairs) < config.min_matches:
        return None
    a, b = first.pixels[pairs[:, 0]], second.pixels[pairs[:, 1]]
    # Without image motion there is no parallax: spare the solvers.
    if np.median(np.linalg.norm(b - a, axis=1)) < 0.005 * first.features.image_size_hw[1]:
        return None
    essential = estimate_essential(a, b, first.K, second.K, config.essential)
    homography = estimate_homography(a, b, config.homography)
    candidates: list[Array] = []
    model = "essential"
    gate_px = config.essential.max_error_px
    score_e = score_h = 0.0
    if essential is not None:
        error = sampson_error_px(essential.E_b_a, a, b, first.K, second.K)
        score_e = _score(error, 3.84, 5.99, gate_px)
    if homography is not None:
        error = np.linalg.norm(warp_points(homography.H_b_a, a) - b, axis=1)
        score_h = _score(np.nan_to_num(error, nan=np.inf), 5.99, 5.99, gate_px)
    if homography is not None and score_h > config.homography_share * (score_h + score_e):
        model = "homography"
        # The homography of the normalised plane, so that the two cameras may differ in K.
        H = np.linalg.inv(second.K) @ homography.H_b_a @ first.K
        candidates = [T for T, _ in decompose_homography(H, np.eye(3))]
        inliers = homography.inliers
    elif essential is not None:
        candidates = decompose_essential(essential.E_b_a)
        inliers = essential.inliers
    else:
        return None
    return _best_motion(first, second, pairs[inliers], candidates, model, config)


def match_views(first: Observation, second: Observation, config: InitializationConfig) -> Array:
    """Match two observations by descriptor; pairs (M, 2) with finite pixels."""
    pairs = match(
        first.features,
        second.features,
        MatchConfig(min_similarity=config.min_similarity, max_ratio=config.max_ratio),
    )
    finite = np.isfinite(first.pixels[pairs[:, 0]]).all(axis=1)
    finite &= np.isfinite(second.pixels[pairs[:, 1]]).all(axis=1)
    return np.asarray(pairs[finite])


def _score(error_px: Array, gate: float, reward: float, sigma_px: float) -> float:
    """Sum what each pair has left to its gate (Torr's truncated score, as in ORB-SLAM)."""
    chi2 = (error_px / sigma_px) ** 2 * gate  # the inlier threshold sits at the gate
    return float(np.where(chi2 < gate, reward - chi2, 0.0).sum())


def _best_motion(
    first: Observation,
    second: Observation,
    pairs: Array,
    candidates: list[Array],
    model: str,
    config: InitializationConfig,
) -> TwoViewMap | None:
    a, b = first.pixels[pairs[:, 0]], second.pixels[pairs[:, 1]]
    judged: list[tuple[int, Array, Triangulation, Array]] = []
    for T_b_a in candidates:
        T_a_b = se3.inverse(T_b_a)
        points = triangulate(np.eye(4), T_a_b, a, b, first.K, second.K)
        in_front = points.good(0.0, config.max_error_px)
        judged.append((int(in_front.sum()), T_a_b, points, in_front))
    judged.sort(key=lambda item: -item[0])
    if not judged or judged[0][0] < config.min_landmarks:
        return None
    count, T_a_b, points, in_front = judged[0]
    rivals = [item for item in judged[1:] if item[0] > 0.8 * count]
    if rivals:  # two readings explain the views equally: wait for a better second view
        return None
    if np.degrees(np.median(points.parallax[in_front])) < config.min_parallax_deg:
        return None
    good = points.good(np.radians(config.min_point_parallax_deg), config.max_error_px)
    if good.sum() < config.min_landmarks:
        return None
    scale = config.median_depth / float(np.median(points.depth_a[good]))
    T_scaled = T_a_b.copy()
    T_scaled[:3, 3] *= scale
    return TwoViewMap(T_scaled, pairs[good], scale * points.points_world[good], model)
