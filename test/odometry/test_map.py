# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from superpoint_ros.data import Features, Observation
from superpoint_ros.geometry import se3
from superpoint_ros.odometry.keyframes import (
    NO_LANDMARK,
    KeyframeConfig,
    is_keyframe_due,
)
from superpoint_ros.odometry.local_map import LocalMap, LocalMapConfig
from superpoint_ros.odometry.tracking import MotionModel, TrackingConfig, refine_on_map

from .conftest import SIZE_HW, K, PointWorld, map_of


def observation(count: int, stamp_ns: int = 0) -> Observation:
    pixels = np.column_stack([np.linspace(10, 600, count), np.linspace(20, 450, count)])
    features = Features(
        pixels.astype(np.float32),
        np.ones(count, np.float32),
        np.eye(count, 32, dtype=np.float32),
        SIZE_HW,
    )
    return Observation(stamp_ns, features, pixels, np.full(count, 2.0), K, np.full(count, 0.01))


def filled_map(config: LocalMapConfig | None = None) -> LocalMap:
    """Ten landmarks 2 m in front of one keyframe at the origin."""
    local_map = LocalMap(config or LocalMapConfig())
    frame = observation(10)
    keyframe = local_map.add_keyframe(frame, np.eye(4), np.full(10, NO_LANDMARK))
    points = np.column_stack(
        [np.linspace(-0.9, 0.9, 10), np.linspace(-0.5, 0.5, 10), np.full(10, 2.0)]
    )
    keyframe.landmark_ids[:] = local_map.add_landmarks(
        points, frame.features.descriptors, np.eye(4)
    )
    return local_map


def test_ids_survive_culling_and_rows_follow() -> None:
    local_map = filled_map()
    local_map.keyframes[0].landmark_ids[[2, 5]] = NO_LANDMARK
    local_map.cull()
    np.testing.assert_array_equal(local_map.ids, [0, 1, 3, 4, 6, 7, 8, 9])
    np.testing.assert_array_equal(local_map.rows_of(np.array([3, 9])), [2, 7])
    np.testing.assert_array_equal(local_map.contains(np.array([2, 3])), [False, True])
    more = local_map.add_landmarks(np.ones((1, 3)), np.eye(1, 32, dtype=np.float32), np.eye(4))
    assert more.tolist() == [10]


def test_a_landmark_may_stay_for_ever() -> None:
    """Neither time nor memory grows with the landmarks that came and went since it was made."""
    local_map = filled_map()
    local_map._next_id = 10**13
    more = local_map.add_landmarks(np.ones((2, 3)), np.eye(2, 32, dtype=np.float32), np.eye(4))
    second = local_map.add_keyframe(
        observation(10), np.eye(4), np.array([3, 4, 5, *more, *[NO_LANDMARK] * 5])
    )
    shared = local_map.covisible_keyframes(second.landmark_ids)
    assert [(count, keyframe.index) for count, keyframe in shared] == [(5, 1), (3, 0)]
    local_map.keyframes[0].landmark_ids[2] = NO_LANDMARK
    local_map.cull()
    assert local_map.ids.tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 9, *more]
    assert local_map.keyframes[1].landmark_ids.tolist() == [3, 4, 5, *more, *[NO_LANDMARK] * 5]


def test_landmarks_that_are_not_found_again_go() -> None:
    local_map = filled_map()
    for _ in range(10):
        local_map.count_sightings(np.arange(10), np.arange(9))
    local_map.cull()
    assert len(local_map) == 9
    assert local_map.keyframes[0].landmark_ids[9] == NO_LANDMARK


def test_landmarks_that_no_pose_explains_go(room: PointWorld) -> None:
    """Found at the right place by their looks, but 5 px beside it, each time."""
    local_map = map_of(room.observe(0, np.eye(4), True))
    frame = room.observe(1, np.eye(4), True)
    frame.pixels[::4, 1] += 5.0
    for _ in range(10):
        tracked = refine_on_map(frame, local_map, np.eye(4), TrackingConfig(), count=True)
    assert tracked is not None
    are_outliers = (tracked.matched_ids != NO_LANDMARK) & (tracked.landmark_ids == NO_LANDMARK)
    assert are_outliers.sum() > 20
    local_map.cull()
    assert not local_map.contains(tracked.matched_ids[are_outliers]).any()
    assert local_map.contains(tracked.landmark_ids[tracked.landmark_ids != NO_LANDMARK]).all()


def test_landmarks_of_one_keyframe_go_after_probation() -> None:
    local_map = filled_map(LocalMapConfig(probation_keyframes=2))
    for _ in range(2):
        shared = np.full(10, NO_LANDMARK)
        shared[:4] = local_map.keyframes[0].landmark_ids[:4]
        local_map.add_keyframe(observation(10), np.eye(4), shared)
        local_map.cull()
    assert len(local_map) == 4


def test_the_keyframe_that_shares_least_goes_first() -> None:
    local_map = filled_map(LocalMapConfig(max_keyframes=6))
    ids = local_map.keyframes[0].landmark_ids.copy()
    lonely = np.full(10, NO_LANDMARK)
    lonely[0] = ids[0]
    local_map.add_keyframe(observation(10), np.eye(4), lonely)
    for _ in range(5):
        local_map.add_keyframe(observation(10), np.eye(4), ids)
    local_map.cull()
    assert [k.index for k in local_map.keyframes] == [0, 2, 3, 4, 5, 6]


def test_the_first_windows_of_mono_anchor_at_the_first_pose_that_was_given() -> None:
    """That is the second keyframe's; the first, which only started the map, may yet move."""
    local_map = filled_map()
    ids = local_map.keyframes[0].landmark_ids
    for k in range(4):
        T_world_cam = se3.exp(np.array([0.5 * k, 0, 0, 0, 0, 0]))
        local_map.add_keyframe(observation(10), T_world_cam, ids)
    fixed = []
    for size, is_metric in ((6, False), (6, True), (4, False)):
        window = local_map.bundle_window(local_map.keyframes[-1], size, 4, is_metric)
        assert window is not None
        indices = np.array(window.keyframe_indices)
        fixed.append(indices[window.problem.is_fixed].tolist())
    assert fixed == [[1], [0], [0, 1]]


@pytest.mark.parametrize(("turn", "way"), [(0.1, 0.0), (0.0, 1.0)])
def test_a_mono_camera_that_turns_on_the_spot_adjusts_nothing(turn: float, way: float) -> None:
    local_map = filled_map()
    ids = local_map.keyframes[0].landmark_ids
    for k in range(4):
        T_world_cam = se3.exp(k * np.array([way, 0, 0, 0, turn, 0]))
        local_map.add_keyframe(observation(10), T_world_cam, ids)
    newest = local_map.keyframes[-1]
    assert (local_map.bundle_window(newest, 6, 4, is_metric=False) is None) == (way == 0.0)
    assert local_map.bundle_window(newest, 6, 4, is_metric=True) is not None


def test_only_landmarks_in_front_in_the_image_and_from_a_like_view_are_visible() -> None:
    local_map, frame = filled_map(), observation(10)
    assert len(local_map.visible_from(np.eye(4), frame, 0.0).rows) == 10
    behind = se3.exp(np.array([0, 0, 0, 0, np.pi, 0]))
    assert len(local_map.visible_from(behind, frame, 0.0).rows) == 0
    far = np.eye(4)
    far[2, 3] = -5.0  # 3.5 times as far as when they were described
    assert len(local_map.visible_from(far, frame, 0.0).rows) == 0
    aside = np.eye(4)
    aside[0, 3] = 1.0  # x = -0.9 ... 0.9 moves by half the image
    seen = local_map.visible_from(aside, frame, 0.0)
    assert 0 < len(seen.rows) < 10
    assert (seen.pixels >= 0).all()


@pytest.mark.parametrize(
    ("twist", "inliers", "frames", "expected"),
    [
        ([0, 0, 0, 0, 0, 0], 100, 5, False),
        ([0, 0, 0, 0, 0, 0], 70, 5, True),  # lost sight of 30 %
        ([0, 0, 0, 0, 0.2, 0], 100, 5, True),  # turned 11 degrees
        ([0.2, 0, 0, 0, 0, 0], 100, 5, True),  # went a tenth of the depth
        ([0.2, 0, 0, 0, 0.2, 0], 70, 1, False),  # too soon
        ([0.03, 0, 0, 0, 0, 0], 100, 20, True),  # long ago, and went 1.5 %
        ([0, 0, 0, 0, 0.02, 0], 100, 20, True),  # turned a degree since
        ([0.01, 0, 0, 0, 0.01, 0], 100, 1000, False),  # stands still
    ],
)
def test_when_a_keyframe_is_due(
    twist: list[float], inliers: int, frames: int, expected: bool
) -> None:
    reference = LocalMap(LocalMapConfig()).add_keyframe(
        observation(5), np.eye(4), np.full(5, NO_LANDMARK)
    )
    reference.num_tracked = 100
    T = se3.exp(np.array(twist, float))
    assert is_keyframe_due(KeyframeConfig(), reference, T, inliers, frames, 2.0) is expected


def test_constant_velocity_goes_on_and_is_forgotten_after_a_gap() -> None:
    motion = MotionModel()
    step = se3.exp(np.array([0.1, 0, 0, 0, 0, 0.05]))
    motion.update(0, np.eye(4))
    motion.update(100_000_000, step)
    np.testing.assert_allclose(motion.predict(200_000_000), step @ step, atol=1e-12)
    np.testing.assert_allclose(
        motion.predict(150_000_000), step @ se3.interpolate(np.eye(4), step, 0.5)
    )
    np.testing.assert_array_equal(motion.predict(900_000_000), step)
    moved = se3.exp(np.array([5.0, 0, 0, 0, 0, 0]))
    motion.correct(moved)
    np.testing.assert_allclose(motion.predict(200_000_000), moved @ step @ step, atol=1e-12)
