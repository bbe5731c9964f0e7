# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is said in pixels of a 640 wide image is half as many in a 320 wide one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from superpoint_ros.config import from_mapping
from superpoint_ros.data import Array, TrackingState
from superpoint_ros.geometry import se3
from superpoint_ros.odometry import homography_tracking
from superpoint_ros.odometry.homography_tracking import (
    HomographyTracker,
    HomographyTrackingConfig,
)
from superpoint_ros.odometry.initialization import InitializationConfig, start_map
from superpoint_ros.odometry.keyframes import NO_LANDMARK
from superpoint_ros.odometry.mapping import MappingConfig, link_to_neighbours
from superpoint_ros.odometry.rolling_shutter import RollingShutterConfig
from superpoint_ros.odometry.tracking import (
    MotionModel,
    TrackingConfig,
    refine_on_map,
    track_local_map,
)
from superpoint_ros.profiling import Stopwatch

from .conftest import PointWorld, map_of

SCALES = pytest.mark.parametrize("scale", [1.0, 0.5], ids=["640x480", "320x240"])


def turned(shift_px: float) -> Array:
    """Return a pose whose image has moved by so many pixels, at the border by 1.4 times that.

    Pixels of a 640 wide image.
    """
    return se3.exp(np.array([0.0, 0.0, 0.0, 0.0, shift_px / 500.0, 0.0]))


@SCALES
@pytest.mark.parametrize(("shift_px", "is_found"), [(25.0, True), (50.0, False)])
def test_landmarks_are_looked_for_forty_pixels_around_their_prediction(
    scale: float, shift_px: float, is_found: bool, room: PointWorld
) -> None:
    world = room.at_scale(scale)
    local_map, motion = map_of(world.observe(0, np.eye(4), True)), MotionModel()
    motion.update(0, np.eye(4))
    frame = world.observe(1, turned(shift_px), True)
    tracked = track_local_map(frame, local_map, motion, RollingShutterConfig(), TrackingConfig())
    assert (tracked is not None) == is_found


@SCALES
@pytest.mark.parametrize(("shift_px", "is_found"), [(3.0, True), (10.0, False)])
def test_landmarks_are_looked_for_seven_pixels_around_the_first_pose(
    scale: float, shift_px: float, is_found: bool, room: PointWorld
) -> None:
    world = room.at_scale(scale)
    local_map = map_of(world.observe(0, np.eye(4), True))
    frame = world.observe(1, turned(shift_px), True)
    tracked = refine_on_map(frame, local_map, np.eye(4), TrackingConfig())
    assert (tracked is not None) == is_found


@SCALES
@pytest.mark.parametrize(("shift_px", "is_found"), [(1.5, True), (5.5, False)])
def test_keyframes_are_linked_within_four_pixels(
    scale: float, shift_px: float, is_found: bool, room: PointWorld
) -> None:
    world = dataclasses.replace(room, noise_px=0.2).at_scale(scale)
    local_map = map_of(world.observe(0, np.eye(4), True))
    (keyframe,) = local_map.keyframes
    second = world.observe(1, np.eye(4), True)
    shared = np.full(len(second.features), NO_LANDMARK)
    shared[:5] = local_map.ids[:5]  # they know each other
    local_map.add_keyframe(second, turned(shift_px), shared)
    count = link_to_neighbours(local_map, keyframe, MappingConfig())
    assert (count > 0.5 * len(local_map)) == is_found
    assert (count < 0.1 * len(local_map)) != is_found


@SCALES
@pytest.mark.parametrize(("shift_px", "is_found"), [(25.0, True), (50.0, False)])
def test_a_plane_is_looked_for_forty_pixels_around_its_prediction(
    scale: float,
    shift_px: float,
    is_found: bool,
    plane: PointWorld,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Without this, the search without prediction finds what the one around it has missed.
    monkeypatch.setattr(homography_tracking, "match_finite", lambda *_: np.empty((0, 2), np.int64))
    world, tracker = plane.at_scale(scale), HomographyTracker(HomographyTrackingConfig(), 30)
    tracker.track(world.observe(0, np.eye(4), False), Stopwatch())
    result = tracker.track(world.observe(1, turned(shift_px), False), Stopwatch())
    assert result.state == (TrackingState.TRACKING if is_found else TrackingState.LOST)


@SCALES
@pytest.mark.parametrize(("way", "is_started"), [(0.08, False), (0.2, True)])
def test_keypoints_err_by_three_tenths_of_a_pixel_where_a_map_starts(
    scale: float, way: float, is_started: bool, room: PointWorld
) -> None:
    """Less shows in the residuals here."""
    world = dataclasses.replace(room, noise_px=0.1).at_scale(scale)
    poses = np.eye(4), se3.exp(np.array([way, 0.0, 0.0, 0.0, 0.2 * way, 0.0]))
    first, second = (world.observe(k, T, False) for k, T in enumerate(poses))
    config = from_mapping(InitializationConfig, {"max_depth_error": 0.03})
    assert (start_map(first, second, config) is not None) == is_started
