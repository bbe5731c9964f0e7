# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a new keyframe adds: landmarks from depth, from two views, and more sightings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superpoint_ros.config import Config, option
from superpoint_ros.data import Array, Observation
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.epipolar import essential_from_pose, sampson_error_px
from superpoint_ros.geometry.triangulation import back_project, project, triangulate
from superpoint_ros.matching import MatchConfig, match, match_guided
from superpoint_ros.odometry.keyframes import NO_LANDMARK, Keyframe
from superpoint_ros.odometry.local_map import LocalMap

# A way between two keyframes that is shorter, as a share of the depth of what they see, is known
# too badly: a wrong match becomes a landmark right before the lens, and pins the camera to it.
_LEAST_WAY = 0.01


@dataclass(frozen=True)
class MappingConfig(Config):
    """New landmarks at keyframes."""

    triangulate: bool = option(
        True, "Whether keypoints without depth become landmarks from two views."
    )
    neighbours: int = option(
        4, "Keyframes that a new one is triangulated with and linked to.", minimum=1, maximum=50
    )
    min_parallax_deg: float = option(
        0.5, "Smallest angle between two rays that make a landmark.", minimum=0.01, maximum=45.0
    )
    max_error_px: float = option(
        2.5, "Largest reprojection error of a new landmark, pixels.", minimum=0.1, maximum=20.0
    )
    link_radius_px: float = option(
        4.0,
        "Reach when landmarks are looked for in older keyframes, pixels of a 640 wide image.",
        minimum=0.5,
        maximum=50.0,
    )
    min_similarity: float = option(
        0.7, "Smallest cosine of two descriptors.", minimum=-1.0, maximum=1.0
    )
    max_ratio: float = option(
        0.9, "Largest ratio of best to second-best distance; 1: off.", minimum=0.0, maximum=1.0
    )


@dataclass(frozen=True)
class BundleConfig(Config):
    """Windowed bundle adjustment after each keyframe."""

    enabled: bool = option(True, "Whether to adjust at all.")
    window: int = option(6, "Keyframes adjusted together.", minimum=2, maximum=50)
    max_fixed: int = option(4, "Older keyframes that anchor the window.", minimum=1, maximum=100)
    max_iterations: int = option(5, "Most iterations.", minimum=1, maximum=100)


def median_depth(local_map: LocalMap, landmark_ids: Array, T_world_cam: Array) -> float:
    """Return the median depth that the landmarks of a frame's keypoints have; 0 if it has none."""
    ids = landmark_ids[landmark_ids != NO_LANDMARK]
    if not len(ids):
        return 0.0
    offsets = local_map.points[local_map.rows_of(ids)] - T_world_cam[:3, 3]
    return float(np.median(offsets @ T_world_cam[:3, 2]))


def add_landmarks_from_depth(local_map: LocalMap, keyframe: Keyframe) -> int:
    """Make a landmark of every keypoint with depth that has none; return how many."""
    observation = keyframe.observation
    fresh = np.flatnonzero(
        (keyframe.landmark_ids == NO_LANDMARK)
        & np.isfinite(observation.depth)
        & np.isfinite(observation.pixels).all(axis=1)
    )
    if not len(fresh):
        return 0
    points = back_project(observation.pixels[fresh], observation.depth[fresh], observation.K)
    keyframe.landmark_ids[fresh] = local_map.add_landmarks(
        se3.transform_points(keyframe.T_world_cam, points),
        observation.features.descriptors[fresh],
        keyframe.T_world_cam,
    )
    return len(fresh)


def replace_first_observation(
    local_map: LocalMap, keyframe: Keyframe, observation: Observation
) -> None:
    """Move the only keyframe's keypoints, and with them the landmarks that their depth made."""
    keyframe.observation = observation
    made = np.flatnonzero(keyframe.landmark_ids != NO_LANDMARK)
    points = back_project(observation.pixels[made], observation.depth[made], observation.K)
    rows = local_map.rows_of(keyframe.landmark_ids[made])
    local_map.points[rows] = se3.transform_points(keyframe.T_world_cam, points)


def add_landmarks_from_views(
    local_map: LocalMap, keyframe: Keyframe, config: MappingConfig
) -> int:
    """Triangulate keypoints without landmark or depth against neighbours; return how many."""
    count = 0
    depth = median_depth(local_map, keyframe.landmark_ids, keyframe.T_world_cam)
    for neighbour in _neighbours(local_map, keyframe, config.neighbours):
        mine = _unused(keyframe)
        theirs = _unused(neighbour)
        if len(mine) < 8 or len(theirs) < 8:
            continue
        T_b_a = se3.inverse(keyframe.T_world_cam) @ neighbour.T_world_cam
        if np.linalg.norm(T_b_a[:3, 3]) <= _LEAST_WAY * depth:
            continue
        a, b = neighbour.observation, keyframe.observation
        pairs = match(
            a.features.take(theirs),
            b.features.take(mine),
            MatchConfig(min_similarity=config.min_similarity, max_ratio=config.max_ratio),
        )
        index_a, index_b = theirs[pairs[:, 0]], mine[pairs[:, 1]]
        error_px = sampson_error_px(
            essential_from_pose(T_b_a), a.pixels[index_a], b.pixels[index_b], a.K, b.K
        )
        near = error_px < config.max_error_px
        index_a, index_b = index_a[near], index_b[near]
        points = triangulate(
            neighbour.T_world_cam,
            keyframe.T_world_cam,
            a.pixels[index_a],
            b.pixels[index_b],
            a.K,
            b.K,
        )
        good = points.good(np.radians(config.min_parallax_deg), config.max_error_px)
        if not good.any():
            continue
        ids = local_map.add_landmarks(
            points.points_world[good],
            b.features.descriptors[index_b[good]],
            keyframe.T_world_cam,
        )
        keyframe.landmark_ids[index_b[good]] = ids
        neighbour.landmark_ids[index_a[good]] = ids
        count += len(ids)
    return count


def link_to_neighbours(local_map: LocalMap, keyframe: Keyframe, config: MappingConfig) -> int:
    """Look for the keyframe's landmarks in its neighbours' free keypoints; return new links."""
    count = 0
    mine = np.flatnonzero(keyframe.landmark_ids != NO_LANDMARK)
    for neighbour in _neighbours(local_map, keyframe, config.neighbours):
        ids = keyframe.landmark_ids[mine]
        absent = mine[~np.isin(ids, neighbour.landmark_ids)]
        free = _unused(neighbour, with_depth=True)
        if not len(absent) or not len(free):
            continue
        ids = keyframe.landmark_ids[absent]
        observation = neighbour.observation
        points_cam = se3.transform_points(
            se3.inverse(neighbour.T_world_cam), local_map.points[local_map.rows_of(ids)]
        )
        predicted = project(points_cam, observation.K)
        pairs = match_guided(
            keyframe.observation.features.take(absent),
            observation.pinhole_features.take(free),
            predicted,
            config.link_radius_px * observation.features.image_size_hw[1] / 640.0,
            MatchConfig(min_similarity=config.min_similarity),
        )
        neighbour.landmark_ids[free[pairs[:, 1]]] = ids[pairs[:, 0]]
        count += len(pairs)
    return count


def _neighbours(local_map: LocalMap, keyframe: Keyframe, count: int) -> list[Keyframe]:
    shared = local_map.covisible_keyframes(keyframe.landmark_ids)
    return [other for _, other in shared if other.index != keyframe.index][:count]


def _unused(keyframe: Keyframe, with_depth: bool = False) -> Array:
    """Return the keypoints without landmark (and without depth, unless `with_depth`)."""
    free = (keyframe.landmark_ids == NO_LANDMARK) & np.isfinite(keyframe.observation.pixels).all(
        axis=1
    )
    if not with_depth:
        free &= ~np.isfinite(keyframe.observation.depth)
    return np.flatnonzero(free)
