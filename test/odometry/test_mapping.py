# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a keyframe adds to the map, on exact pixels of known points."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from superpoint_ros.data import Array, Features, Observation
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.triangulation import project
from superpoint_ros.odometry.keyframes import NO_LANDMARK, Keyframe
from superpoint_ros.odometry.local_map import LocalMap, LocalMapConfig
from superpoint_ros.odometry.mapping import (
    MappingConfig,
    add_landmarks_from_depth,
    add_landmarks_from_views,
    link_to_neighbours,
    median_depth,
    replace_first_observation,
)

from .conftest import SIZE_HW, K

# Two cameras away from the origin, some 0.4 m apart, along no axis.
T_WORLD_A = se3.exp(np.array([3.0, -1.0, 2.0, 0.3, 1.2, -0.4]))
T_WORLD_B = T_WORLD_A @ se3.exp(np.array([0.4, -0.1, 0.05, 0.02, -0.05, 0.03]))
LOOKS = np.eye(64, dtype=np.float32)


def points_before(T_world_cam: Array, count: int) -> Array:
    """Points (N, 3), world frame, 2 to 4 m before a camera."""
    points = np.random.default_rng(1).uniform([-0.6, -0.5, 2.0], [0.6, 0.5, 4.0], (count, 3))
    return se3.transform_points(T_world_cam, points)


def view(points_world: Array, T_world_cam: Array, looks: Array, with_depth: bool) -> Observation:
    points = se3.transform_points(se3.inverse(T_world_cam), points_world)
    pixels, count = project(points, K), len(points)
    features = Features(
        pixels.astype(np.float32), np.ones(count, np.float32), looks.astype(np.float32), SIZE_HW
    )
    depth = points[:, 2] if with_depth else np.full(count, np.nan)
    return Observation(0, features, pixels, depth, K, 0.01 * depth)


def nothing(count: int) -> Array:
    return np.full(count, NO_LANDMARK)


def test_the_depth_of_a_scene_is_the_median_along_the_optical_axis() -> None:
    T_world_cam = se3.exp(np.array([3.0, -1.0, 2.0, 0.3, 1.2, -0.4]))
    in_camera = np.array([[4.0, 0, 1.0], [0, -5.0, 2.0], [3.0, 3.0, 9.0]])
    local_map = LocalMap(LocalMapConfig())
    ids = local_map.add_landmarks(
        se3.transform_points(T_world_cam, in_camera), np.eye(3, 32, dtype=np.float32), T_world_cam
    )
    of_keypoints = np.array([NO_LANDMARK, *ids, NO_LANDMARK])
    assert median_depth(local_map, of_keypoints, T_world_cam) == pytest.approx(2.0)
    assert median_depth(local_map, np.full(4, NO_LANDMARK), T_world_cam) == 0.0


def test_landmarks_are_where_the_depth_of_the_keyframe_puts_them() -> None:
    points, local_map = points_before(T_WORLD_A, 6), LocalMap(LocalMapConfig())
    frame = view(points, T_WORLD_A, LOOKS[:6], with_depth=True)
    frame.depth[2] = np.nan
    frame.pixels[4] = np.nan
    keyframe = local_map.add_keyframe(frame, T_WORLD_A, nothing(6))
    assert add_landmarks_from_depth(local_map, keyframe) == 4
    assert keyframe.landmark_ids.tolist() == [0, 1, NO_LANDMARK, 2, NO_LANDMARK, 3]
    np.testing.assert_allclose(local_map.points, points[[0, 1, 3, 5]], atol=1e-9)
    np.testing.assert_array_equal(local_map.descriptors, LOOKS[[0, 1, 3, 5]])
    assert add_landmarks_from_depth(local_map, keyframe) == 0
    # As the shutter of the first frame is undone, once it is known how the camera turned.
    others = points[::-1]
    replace_first_observation(local_map, keyframe, view(others, T_WORLD_A, LOOKS[:6], True))
    np.testing.assert_allclose(local_map.points, others[[0, 1, 3, 5]], atol=1e-9)


def two_views(count: int, shared: int = 4) -> tuple[LocalMap, Array, Keyframe, Keyframe]:
    """Two keyframes without depth that share some landmarks; the points of their other keypoints.

    The second sees them in reverse order.
    """
    known, fresh = np.split(points_before(T_WORLD_A, count + shared), [shared])
    local_map = LocalMap(LocalMapConfig())
    ids = local_map.add_landmarks(known, LOOKS[:shared], T_WORLD_A)
    everything, looks = np.concatenate([known, fresh]), LOOKS[: count + shared]
    links = np.concatenate([ids, nothing(count)])
    a = local_map.add_keyframe(view(everything, T_WORLD_A, looks, False), T_WORLD_A, links)
    seen = view(everything[::-1], T_WORLD_B, looks[::-1], False)
    return local_map, fresh, a, local_map.add_keyframe(seen, T_WORLD_B, links[::-1])


def test_two_views_make_landmarks_where_the_points_are() -> None:
    local_map, points, a, b = two_views(12)
    b.observation.features.descriptors[:12] *= 0.9  # to tell whose look the landmarks take
    assert add_landmarks_from_views(local_map, b, MappingConfig()) == 12
    of_points = local_map.rows_of(a.landmark_ids[4:])
    np.testing.assert_allclose(local_map.points[of_points], points, atol=1e-8)
    np.testing.assert_array_equal(b.landmark_ids, a.landmark_ids[::-1])
    np.testing.assert_allclose(local_map.descriptors[of_points], 0.9 * LOOKS[4:16])


@pytest.mark.parametrize("spoiled", ["off its line", "depth", "parallax"])
def test_what_two_views_do_not_tell_makes_no_landmark(spoiled: str) -> None:
    local_map, points, a, b = two_views(12)
    config = MappingConfig()
    if spoiled == "off its line":
        b.observation.pixels[11, 1] += 8.0  # of the first point; the lines are nearly rows
    elif spoiled == "depth":
        b.observation.depth[11] = 2.0  # it has been a landmark, and was dropped
    else:
        rays = [T[:3, 3] - points for T in (T_WORLD_A, T_WORLD_B)]
        rays = [ray / np.linalg.norm(ray, axis=1, keepdims=True) for ray in rays]
        angles = np.degrees(np.arccos((rays[0] * rays[1]).sum(axis=1)))
        order = np.argsort(angles)
        config = MappingConfig(min_parallax_deg=float(angles[order[:2]].mean()))
    assert add_landmarks_from_views(local_map, b, config) == 11
    spoiled_row = order[0] if spoiled == "parallax" else 0
    assert np.flatnonzero(a.landmark_ids[4:] == NO_LANDMARK).tolist() == [spoiled_row]


def linked(shift_px: float, turned_look: float = 0.0, by_keypoint: bool = False) -> int:
    """Return how many of 12 landmarks of b are found in a, whose pixels are shifted."""
    local_map, points, a, b = two_views(12)
    b.landmark_ids[:12] = local_map.add_landmarks(points[::-1], LOOKS[4:16][::-1], T_WORLD_B)
    looks = a.observation.features.descriptors
    looks[4:16] = np.cos(turned_look) * LOOKS[4:16] + np.sin(turned_look) * LOOKS[20:32]
    shift = np.array([0.6, -0.8]) * shift_px
    a.observation = dataclasses.replace(a.observation, pixels=a.observation.pixels + shift)
    if by_keypoint:  # the lens puts them elsewhere in the raw image
        a.observation.features.keypoints[:] += 50.0
    count = link_to_neighbours(local_map, b, MappingConfig())
    right = a.landmark_ids[4:] == b.landmark_ids[:12][::-1]
    assert right.sum() == count
    return count


def test_landmarks_are_linked_to_like_keypoints_within_four_pixels() -> None:
    assert linked(3.8) == 12
    assert linked(4.2) == 0
    assert linked(3.8, by_keypoint=True) == 12
    assert linked(0.0, turned_look=np.arccos(0.72)) == 12
    assert linked(0.0, turned_look=np.arccos(0.68)) == 0


def test_the_neighbours_are_those_that_share_most() -> None:
    local_map, _, a, b = two_views(12)
    c = local_map.add_keyframe(a.observation, T_WORLD_A, np.r_[a.landmark_ids[:2], nothing(14)])
    assert add_landmarks_from_views(local_map, b, MappingConfig(neighbours=1)) == 12
    assert (a.landmark_ids != NO_LANDMARK).all()
    assert (c.landmark_ids[2:] == NO_LANDMARK).all()
