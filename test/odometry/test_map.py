# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest

from superpoint_ros.data import Features, Observation
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.bundle_adjustment import BundleResult
from superpoint_ros.geometry.triangulation import back_project
from superpoint_ros.odometry.keyframes import (
    NO_LANDMARK,
    KeyframeConfig,
    is_keyframe_due,
)
from superpoint_ros.odometry.local_map import LocalMap, LocalMapConfig
from superpoint_ros.odometry.tracking import MotionModel, TrackingConfig, refine_on_map
from superpoint_ros.odometry.uncertainty import SAMPLES, NoiseModel

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


def test_a_landmark_is_judged_after_eight_frames_that_should_see_it() -> None:
    local_map = filled_map()  # where it was made is the first
    for missed in range(1, 8):
        local_map.count_sightings(np.arange(10), np.arange(9))
        local_map.cull()
        assert len(local_map) == (10 if missed < 7 else 9)


def test_the_oldest_landmarks_go_where_there_are_too_many() -> None:
    local_map = LocalMap(LocalMapConfig(max_landmarks=100))
    frame, points = observation(120), np.random.default_rng(4).uniform(1, 2, (120, 3))
    ids = local_map.add_landmarks(points, frame.features.descriptors, np.eye(4))
    local_map.add_keyframe(frame, np.eye(4), ids)
    local_map.cull()
    np.testing.assert_array_equal(local_map.ids, ids[20:])
    np.testing.assert_array_equal(local_map.points, points[20:])


def test_what_is_known_of_landmarks_stays_theirs_when_others_go() -> None:
    local_map = filled_map()
    marks = np.arange(10.0)[:, None, None]
    local_map.point_samples = np.tile(marks, (1, 3, SAMPLES)).astype(np.float32)
    local_map.point_covariance = np.tile(marks, (1, 3, 3))
    T_aside, T_beyond = (
        se3.exp(np.array([0, 0, 0, 0, np.radians(angle), 0])) for angle in (50.0, 100.0)
    )
    for T in (T_aside, T_beyond):
        T[:3, 3] = -2.0 * T[:3, 2] + [0, 0, 2]
    seen_aside = np.where(np.arange(10) > 5, local_map.ids, NO_LANDMARK)
    local_map.add_keyframe(observation(10), T_aside, seen_aside)

    def visible() -> list[list[int]]:
        rows = [
            local_map.visible_from(T, observation(10), 0.0).rows for T in (np.eye(4), T_beyond)
        ]
        return [local_map.ids[r].tolist() for r in rows]

    before = visible()
    assert before == [list(range(10)), [6, 7, 8, 9]]
    for _ in range(6):
        local_map.count_sightings(np.array([9]), np.empty(0, int))
    local_map.keyframes[0].landmark_ids[0] = NO_LANDMARK
    local_map.cull()
    assert visible() == [before[0][1:], before[1]]
    assert local_map.point_samples[:, 0, 0].tolist() == list(range(1, 10))
    assert local_map.point_covariance[:, 0, 0].tolist() == list(range(1, 10))
    local_map.count_sightings(np.arange(9), np.arange(8))  # the last is missed once more
    local_map.cull()
    assert local_map.ids.tolist() == list(range(1, 9))


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


def test_the_newest_five_keyframes_stay_whatever_they_share() -> None:
    local_map = filled_map(LocalMapConfig(max_keyframes=6))
    ids = local_map.keyframes[0].landmark_ids.copy()
    for k in range(1, 7):
        lonely = np.full(10, NO_LANDMARK)
        lonely[0] = ids[0]
        local_map.add_keyframe(observation(10), np.eye(4), lonely if k in (2, 4) else ids)
    local_map.cull()
    assert [k.index for k in local_map.keyframes] == [1, 2, 3, 4, 5, 6]  # 0 shares all, but is old


@pytest.mark.parametrize(("shared", "is_anchor"), [(2, False), (3, True)])
def test_a_keyframe_that_shares_hardly_anything_is_no_anchor(shared: int, is_anchor: bool) -> None:
    """Two points leave a camera free to turn; the first of the window is held instead."""
    local_map = filled_map()
    ids = local_map.keyframes[0].landmark_ids.copy()
    later = local_map.add_landmarks(
        np.random.default_rng(1).uniform([-1, -1, 2], [1, 1, 3], (20, 3)),
        np.eye(20, 32, dtype=np.float32),
        np.eye(4),
    )
    for k in range(1, 4):
        T_world_cam = se3.exp(np.array([0.5 * k, 0, 0, 0, 0, 0]))
        local_map.add_keyframe(observation(20 + shared), T_world_cam, np.r_[ids[:shared], later])
    window = local_map.bundle_window(local_map.keyframes[-1], 3, 4, is_metric=True)
    assert window is not None
    assert window.keyframe_indices == ([0, 1, 2, 3] if is_anchor else [1, 2, 3])
    assert window.problem.is_fixed.tolist() == [True, *[False] * (2 + is_anchor)]


def test_a_window_holds_what_its_keyframes_saw_of_their_landmarks() -> None:
    local_map = LocalMap(LocalMapConfig(), NoiseModel(is_stereo=True))
    rng = np.random.default_rng(5)
    ids = local_map.add_landmarks(rng.uniform(1, 2, (8, 3)), np.eye(8, 32), np.eye(4))
    seen, frames = ([2, -1, 5, 7, 0], [5, 0, -1, 7, 3]), []  # landmark 2 and 3 by one alone
    for order in seen:
        frame, numbers = observation(5), rng.uniform(1, 2, (5, 5))
        frames.append(
            dataclasses.replace(
                frame, pixels=numbers[:, :2], depth=numbers[:, 2], depth_sigma=numbers[:, 3],
                pixel_scale=numbers[:, 4],
            )
        )  # fmt: skip
        of_keypoints = np.where(np.array(order) < 0, NO_LANDMARK, ids[order])
        local_map.add_keyframe(frames[-1], se3.exp(rng.normal(size=6)), of_keypoints)
    window, problem = local_map.first_window(), local_map.first_window().problem
    assert window.landmark_ids.tolist() == [0, 5, 7]
    np.testing.assert_array_equal(problem.points_world, local_map.points[[0, 5, 7]])
    assert len(problem.pixels) == 6
    assert problem.depth_follows_x == pytest.approx(np.sqrt(0.5 * (1.0 - 0.69)))
    for i, (camera, point) in enumerate(
        zip(problem.camera_index, problem.point_index, strict=True)
    ):
        keypoint = seen[camera].index(window.landmark_ids[point])
        frame, keyframe = frames[camera], local_map.keyframes[camera]
        assert window.keypoint_index[i] == keypoint
        np.testing.assert_array_equal(problem.pixels[i], frame.pixels[keypoint])
        assert problem.depth[i] == frame.depth[keypoint]
        assert problem.depth_sigma[i] == frame.depth_sigma[keypoint]
        assert problem.pixel_scale[i] == frame.pixel_scale[keypoint]
        np.testing.assert_array_equal(problem.T_world_cam[camera], keyframe.T_world_cam)
        assert problem.samples is not None
        drawn = keyframe.noise[keypoint] * local_map.noise.sigma[:, None]
        np.testing.assert_allclose(problem.samples.noise[i], drawn, rtol=1e-6)


def test_what_a_window_found_is_written_to_what_is_still_there() -> None:
    local_map = filled_map()
    ids = local_map.keyframes[0].landmark_ids.copy()
    order = np.array([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])  # of the landmarks' keypoints in the second
    local_map.add_keyframe(observation(10), np.eye(4), ids[order])
    window = local_map.first_window()
    is_inlier = np.ones(20, bool)
    is_inlier[[2, 10, 14]] = False  # keypoint 2 of the first; 0 and 4 of the second
    T_found = np.stack([np.eye(4), se3.exp(np.array([0.1, 0, 0, 0, 0, 0.2]))])
    points_found = np.arange(30.0).reshape(10, 3)
    # Meanwhile a keypoint got another landmark, and one landmark is gone.
    local_map.keyframes[1].landmark_ids[4] = ids[7]
    for keyframe in local_map.keyframes:
        keyframe.landmark_ids[keyframe.landmark_ids == ids[6]] = NO_LANDMARK
    local_map.cull()
    local_map.apply(window, BundleResult(T_found, points_found, is_inlier))
    np.testing.assert_array_equal(local_map.keyframes[1].T_world_cam, T_found[1])
    np.testing.assert_array_equal(local_map.points, points_found[[0, 1, 2, 3, 4, 5, 7, 8, 9]])
    first, second = ids.copy(), ids[order]
    first[[2, 6]] = NO_LANDMARK
    second[[0, 7]], second[4] = NO_LANDMARK, ids[7]
    np.testing.assert_array_equal(local_map.keyframes[0].landmark_ids, first)
    np.testing.assert_array_equal(local_map.keyframes[1].landmark_ids, second)


def test_a_map_that_moves_as_one_moves_its_samples_so() -> None:
    local_map = filled_map()
    rng = np.random.default_rng(2)
    for _ in range(2):
        T_world_cam = se3.exp(rng.normal(0, 0.4, 6))
        local_map.add_keyframe(observation(10), T_world_cam, local_map.keyframes[0].landmark_ids)
    camera, xi = local_map.keyframes[1], 1e-4 * rng.normal(size=(6, SAMPLES))
    local_map.shift_samples(camera, xi)
    T = camera.T_world_cam
    motion = T @ se3.exp(xi[:, 5]) @ se3.inverse(T)  # of the world, in one of the samples
    for keyframe in local_map.keyframes:
        T = keyframe.T_world_cam
        expected = se3.log(se3.inverse(T) @ motion @ T)
        np.testing.assert_allclose(keyframe.error_samples[:, 5], expected, atol=1e-7)
    moved = se3.transform_points(motion, local_map.points) - local_map.points
    np.testing.assert_allclose(local_map.point_samples[:, :, 5], moved, atol=1e-6)


def test_larger_errors_are_so_in_samples_and_covariance_alike() -> None:
    local_map = filled_map()
    rng = np.random.default_rng(3)
    local_map.point_samples = rng.normal(size=(10, 3, SAMPLES)).astype(np.float32)
    local_map.keyframes[0].error_samples = before = rng.normal(size=(6, SAMPLES))

    def sampled() -> np.ndarray:
        samples = local_map.point_samples.astype(np.float64)
        return samples @ samples.transpose(0, 2, 1) / SAMPLES

    local_map.point_covariance = sampled()
    local_map.scale_samples(3.0)
    np.testing.assert_allclose(local_map.point_covariance, sampled(), rtol=1e-5)
    np.testing.assert_allclose(local_map.keyframes[0].error_samples, 3.0 * before)


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


@pytest.mark.parametrize(
    ("turn", "way", "is_adjusted"),
    # Three steps of 1 and 2 cm, 2 m before the landmarks: less and more than a fiftieth of that.
    [(0.1, 0.0, False), (0.0, 1.0, True), (0.0, 0.01, False), (0.0, 0.02, True)],
)
def test_a_mono_camera_that_turns_on_the_spot_adjusts_nothing(
    turn: float, way: float, is_adjusted: bool
) -> None:
    local_map = filled_map()
    ids = local_map.keyframes[0].landmark_ids
    for k in range(4):
        T_world_cam = se3.exp(k * np.array([way, 0, 0, 0, turn, 0]))
        local_map.add_keyframe(observation(10), T_world_cam, ids)
    newest = local_map.keyframes[-1]
    assert (local_map.bundle_window(newest, 6, 4, is_metric=False) is not None) == is_adjusted
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


def test_a_landmark_is_looked_for_where_it_looks_alike() -> None:
    """Within 60 degrees of where it was described from, and at 0.4 to 2.5 times the distance."""
    local_map, frame = LocalMap(LocalMapConfig()), observation(10)
    point = np.array([0.3, -0.1, 2.0])
    T_first = np.eye(4)
    T_first[:2, 3] = point[:2]  # 2 m before it
    local_map.add_landmarks(point[None], np.eye(1, 32, dtype=np.float32), T_first)
    for angle_deg, ratio, is_visible in (
        *((angle, 1.0, True) for angle in (0.0, 55.0, -55.0)),
        *((angle, 1.0, False) for angle in (65.0, -65.0)),
        *((20.0, ratio, True) for ratio in (0.45, 2.4)),
        *((20.0, ratio, False) for ratio in (0.35, 2.6)),
    ):
        T_world_cam = se3.exp(np.array([0, 0, 0, 0, np.radians(angle_deg), 0]))
        T_world_cam[:3, 3] = point - 2.0 * ratio * T_world_cam[:3, 2]  # looks at it
        seen = local_map.visible_from(T_world_cam, frame, 0.0)
        assert len(seen.rows) == is_visible, (angle_deg, ratio)
        if is_visible:
            np.testing.assert_allclose(seen.pixels, [K[:2, 2]], atol=1e-9)


def test_a_landmark_takes_the_look_that_it_has_in_the_newest_keyframe() -> None:
    local_map = filled_map()
    point = local_map.points[4]
    T_aside, T_beyond = (
        se3.exp(np.array([0, 0, 0, 0, np.radians(angle), 0])) for angle in (50.0, 100.0)
    )
    for T in (T_aside, T_beyond):
        T[:3, 3] = point - 2.0 * T[:3, 2]
    assert 4 not in local_map.visible_from(T_beyond, observation(10), 0.0).rows
    aside = observation(10)
    aside.features.descriptors[:] = np.eye(32, dtype=np.float32)[11:21]
    landmark_ids = np.full(10, NO_LANDMARK)
    landmark_ids[7] = local_map.ids[4]
    local_map.add_keyframe(aside, T_aside, landmark_ids)
    assert 4 in local_map.visible_from(T_beyond, observation(10), 0.0).rows
    expected = np.eye(32)[[0, 1, 2, 3, 18, 5, 6, 7, 8, 9]]
    np.testing.assert_array_equal(local_map.descriptors, expected)


def test_landmarks_found_most_often_come_first_and_of_these_the_newest() -> None:
    local_map = filled_map()
    for k in range(20):
        # The third misses one frame of 20, which makes no difference; the fourth half of them.
        found = [0, 1] + [2] * (k != 5) + [3] * (k % 2)
        local_map.count_sightings(np.array([0, 1, 2, 3]), np.array(found))
    rows = np.array([3, 0, 2, 1])
    assert rows[local_map.most_reliable(rows, 4)].tolist() == [2, 1, 0, 3]
    assert rows[local_map.most_reliable(rows, 2)].tolist() == [2, 1]


def test_landmarks_may_lie_as_far_outside_the_image_as_the_margin_says() -> None:
    near = [[-5, 200], [644, 200], [300, -5], [300, 484]]  # last pixels are 639 and 479
    far = [[-15, 200], [654, 200], [300, -15], [300, 494]]
    inside = [[5, 200], [634, 200], [300, 5], [300, 474]]
    pixels = np.array([*inside, *near, *far], float)
    local_map, frame = LocalMap(LocalMapConfig()), observation(10)
    points = back_project(pixels, np.full(12, 2.0), K)
    local_map.add_landmarks(points, np.eye(12, 32, dtype=np.float32), np.eye(4))
    for margin_px, count in ((0.0, 4), (10.0, 8), (20.0, 12), (-10.0, 0)):
        seen = local_map.visible_from(np.eye(4), frame, margin_px)
        assert seen.rows.tolist() == list(range(count))
        np.testing.assert_allclose(seen.pixels, pixels[:count])


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
