# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The whole odometry on a world of points: known poses, no images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from superpoint_ros.config import from_mapping
from superpoint_ros.data import Array, Observation, TrackingResult, TrackingState
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.homography import warp_points
from superpoint_ros.odometry import OdometryConfig, VisualOdometry
from superpoint_ros.odometry.observation import DepthConfig

from .conftest import FRAME_NS, K, PointWorld


def config(mode: str, **changes: object) -> OdometryConfig:
    return from_mapping(OdometryConfig, {"mode": mode, **changes})


def forward_curve(frames: int) -> list[Array]:
    """Poses of a camera that goes 2 cm a frame on a curve, starting at the identity."""
    return [
        se3.exp(k * np.array([0.008, 0.002, 0.018, 0.001, 0.006, -0.001])) for k in range(frames)
    ]


def run(
    odometry: VisualOdometry, world: PointWorld, poses: list[Array], blind: range = range(0)
) -> list[TrackingResult]:
    with_depth = odometry.config.mode == "rgbd"
    return [
        odometry.track(world.observe(k, T, with_depth, k in blind)) for k, T in enumerate(poses)
    ]


def position_errors(results: list[TrackingResult], poses: list[Array]) -> Array:
    return np.array(
        [
            np.linalg.norm(r.T_world_cam[:3, 3] - T[:3, 3])
            for r, T in zip(results, poses, strict=True)
            if r.T_world_cam is not None
        ]
    )


def aligned_errors(results: list[TrackingResult], poses: list[Array]) -> Array:
    """Return position errors after the best similarity (Umeyama)."""
    pairs = [
        (r.T_world_cam[:3, 3], T[:3, 3])
        for r, T in zip(results, poses, strict=True)
        if r.T_world_cam is not None
    ]
    x, y = np.array([p for p, _ in pairs]), np.array([p for _, p in pairs])
    xc, yc = x - x.mean(0), y - y.mean(0)
    U, S, Vt = np.linalg.svd(yc.T @ xc)
    D = np.diag([1, 1, np.sign(np.linalg.det(U @ Vt))])
    scale = (S * np.diag(D)).sum() / (xc**2).sum()
    return np.asarray(np.linalg.norm(scale * xc @ (U @ D @ Vt).T - yc, axis=1))


def test_mono_starts_also_with_a_slow_camera(room: PointWorld) -> None:
    """3 mm a frame: depth is known to three per cent after some 40 frames."""
    poses = [se3.exp(k * np.array([0.003, 0.0, 0.0, 0.0, 0.0, 0.0])) for k in range(90)]
    results = run(VisualOdometry(config("mono")), room, poses)
    assert results[5].state == TrackingState.INITIALIZING
    assert results[-1].state == TrackingState.TRACKING
    assert np.median(aligned_errors(results, poses)) < 0.01


def test_rgbd_is_metric_from_the_first_frame(room: PointWorld) -> None:
    poses = forward_curve(60)
    results = run(VisualOdometry(config("rgbd")), room, poses)
    assert all(r.state == TrackingState.TRACKING for r in results)
    assert results[0].T_world_cam is not None
    np.testing.assert_allclose(results[0].T_world_cam, np.eye(4), atol=1e-12)
    # 1.2 m of path: under 1 %.
    assert position_errors(results, poses).max() < 0.012
    last = results[-1]
    assert last.covariance is not None
    assert np.linalg.eigvalsh(last.covariance)[0] > 0
    assert last.matches is not None
    assert last.matches.inliers.mean() > 0.8
    assert last.num_keyframes > 2
    assert {"track"} <= set(last.latency_ms)


def test_rgbd_bears_pure_rotation_and_knows_the_way_back(room: PointWorld) -> None:
    turn = [se3.exp(np.array([0, 0, 0, 0, np.radians(1.5) * k, 0])) for k in range(40)]
    poses = turn + turn[::-1]
    results = run(VisualOdometry(config("rgbd")), room, poses)
    assert all(r.T_world_cam is not None for r in results)
    assert position_errors(results, poses).max() < 0.02
    last = results[-1].T_world_cam
    assert last is not None
    assert np.degrees(np.linalg.norm(se3.log_so3(last[:3, :3]))) < 0.3


def test_a_sudden_turn_before_a_facade_does_not_lose_the_camera() -> None:
    """Windows that look alike every 250 pixels, and a turn of 80 pixels more than expected.

    Too far for the search around the prediction, and without one nothing can be told apart.
    """
    rng = np.random.default_rng(22)
    period, base = 1.5, rng.uniform([0.0, -1.4], [1.5, 1.4], (200, 2))
    xy = np.concatenate([base + np.array([period * i, 0.0]) for i in range(-5, 5)])
    look = np.tile(rng.normal(size=(len(base), 1024)), (10, 1))
    look /= np.linalg.norm(look, axis=1, keepdims=True)
    world = PointWorld(np.column_stack([xy, np.full(len(xy), 3.0)]), look, rng)
    degrees = [0.0, 0.1, 0.2, 0.3, 9.3, 9.4]
    poses = [se3.exp(np.array([0, 0, 0, 0, np.radians(d), 0])) for d in degrees]
    results = run(VisualOdometry(config("rgbd")), world, poses)
    assert all(r.T_world_cam is not None for r in results)
    assert position_errors(results, poses).max() < 0.02


def test_a_camera_that_stands_still_makes_no_landmarks_before_its_lens(room: PointWorld) -> None:
    """Keyframes of what changes are a noise apart, and what has no depth would be triangulated."""
    careless = {"max_error_px": 20.0, "max_ratio": 1.0, "min_similarity": -1.0}
    restless = {"tracked_ratio": 1.0}
    odometry = VisualOdometry(config("rgbd", mapping=careless, keyframes=restless))
    crowded = dataclasses.replace(room, clutter=400)
    run(odometry, crowded, [np.eye(4)] * 45)
    assert odometry.landmarks_world()[:, 2].min() > 1.0


def test_mono_keeps_its_scale_while_the_camera_stands_still(room: PointWorld) -> None:
    """Keyframes of no way would push those that know the depth out of the map."""
    few = dataclasses.replace(room, points=room.points[::3], descriptors=room.descriptors[::3])
    way = [se3.exp(k * np.array([0.05, 0.005, 0.0, 0.0, 0.004, 0.0])) for k in range(24)]
    poses = way[:16] + [way[15]] * 60 + way[16:]
    changes = {"keyframes": {"max_interval": 3}, "local_map": {"max_keyframes": 5}}
    results = run(VisualOdometry(config("mono", **changes)), few, poses)
    scales = [
        np.linalg.norm(results[b].T_world_cam[:3, 3] - results[a].T_world_cam[:3, 3])
        / np.linalg.norm(poses[b][:3, 3] - poses[a][:3, 3])
        for a, b in ((8, 15), (75, 83))
    ]
    assert scales[1] == pytest.approx(scales[0], rel=0.05)


def test_a_pattern_that_repeats_does_not_catch_a_camera_that_jumps() -> None:
    """A jump of one period: where landmarks are expected, others that look like them are found.

    Fifth of the points repeat; the others tell the truth, but far from the prediction.
    """
    rng = np.random.default_rng(21)
    period, base = 0.5, rng.uniform([0.0, -1.4], [0.5, 1.4], (14, 2))
    repeated = np.concatenate([base + np.array([period * i, 0.0]) for i in range(-8, 8)])
    xy = np.concatenate([repeated, rng.uniform([-4.0, -1.4], [4.0, 1.4], (900, 2))])
    look = rng.normal(size=(len(xy), 64))
    look[: len(repeated)] = np.tile(look[: len(base)], (16, 1))
    look /= np.linalg.norm(look, axis=1, keepdims=True)
    world = PointWorld(np.column_stack([xy, np.full(len(xy), 3.0)]), look, rng)
    poses = [se3.exp(np.array([period * (k > 0) + 0.01 * k, 0, 0, 0, 0, 0])) for k in range(4)]
    results = run(VisualOdometry(config("rgbd")), world, poses)
    assert all(r.T_world_cam is not None for r in results)
    assert position_errors(results, poses).max() < 0.02


def test_a_depth_camera_that_is_out_by_two_per_cent_still_stays_where_it_is() -> None:
    """It turns on the spot and measures too far on one side, too near on the other, as a real one.

    Trusted to its noise alone, the depth of hundreds of points would outweigh their pixels.
    """
    rng = np.random.default_rng(31)
    points = rng.normal(size=(4000, 3))
    points *= rng.uniform(1.5, 3.0, (4000, 1)) / np.linalg.norm(points, axis=1, keepdims=True)
    look = rng.normal(size=(4000, 64))
    world = PointWorld(points, look / np.linalg.norm(look, axis=1, keepdims=True), rng)
    angles = np.radians(30.0) * np.sin(np.arange(60) / 8.0)
    poses = [se3.exp(np.array([0, 0, 0, 0.4 * a, a, 0])) for a in angles]
    odometry = VisualOdometry(config("rgbd"))
    results = []
    for k, T in enumerate(poses):
        seen = world.observe(k, T, True)
        error = 1.0 + 0.02 * np.sin(seen.pixels[:, 0] / 100.0 + seen.depth)
        depth = seen.depth * error
        sigma = DepthConfig().sigma(depth)
        results.append(odometry.track(dataclasses.replace(seen, depth=depth, depth_sigma=sigma)))
    assert np.sqrt((position_errors(results, poses) ** 2).mean()) < 0.01


def test_mono_is_right_up_to_scale(room: PointWorld) -> None:
    poses = forward_curve(80)
    results = run(VisualOdometry(config("mono")), room, poses)
    started = [r.state for r in results].index(TrackingState.TRACKING)
    assert started < 27  # without views from between, a wall ahead would take 31
    assert all(r.state == TrackingState.TRACKING for r in results[started:])
    assert all(r.T_world_cam is None for r in results[:started])
    # 1.6 m of path: under 1 %; the two first views, with little parallax, are the worst.
    assert np.sqrt((aligned_errors(results, poses) ** 2).mean()) < 0.012
    first, last = results[started].T_world_cam, results[-1].T_world_cam
    assert first is not None
    assert last is not None
    turned = (se3.inverse(first) @ last)[:3, :3]
    truth = (se3.inverse(poses[started]) @ poses[-1])[:3, :3]
    assert np.degrees(np.linalg.norm(se3.log_so3(turned.T @ truth))) < 0.5


def test_mono_starts_on_a_plane(plane: PointWorld) -> None:
    poses = [se3.exp(k * np.array([0.02, 0.006, 0.004, 0.001, 0.0, 0.002])) for k in range(60)]
    results = run(VisualOdometry(config("mono")), plane, poses)
    started = [r.state for r in results].index(TrackingState.TRACKING)
    assert started < 30
    assert all(r.state == TrackingState.TRACKING for r in results[started:])
    assert aligned_errors(results, poses).max() < 0.03


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4])
def test_mono_starts_well_whatever_the_seed(seed: int, plane: PointWorld) -> None:
    """Noisy keypoints on a plane, and a motion that another one resembles."""
    plane.noise_px = 1.0
    poses = [se3.exp(k * np.array([0.01, 0.002, 0.0, 0.0, 0.006, 0.0])) for k in range(60)]
    seeds = {"essential": {"seed": seed}, "homography": {"seed": seed}}
    settings = config("mono", initialization=seeds, tracking={"pnp": {"seed": seed}})
    results = run(VisualOdometry(settings), plane, poses)
    assert results[-1].state == TrackingState.TRACKING
    assert np.sqrt((aligned_errors(results, poses) ** 2).mean()) < 0.03


@pytest.mark.parametrize("height", [2.0, 0.02])
def test_a_known_depth_at_the_start_gives_mono_metres(height: float, plane: PointWorld) -> None:
    """A camera that looks straight down, as of a drone or above a belt, or nearly touches it."""
    plane.points[:, :2] *= 0.5 * height
    plane.points[:, 2] = height
    step = np.array([0.01 * height, 0.0025 * height, 0, 0, 0, 0.002])
    poses = [se3.exp(k * step) for k in range(60)]
    results = run(
        VisualOdometry(config("mono", initialization={"median_depth": height})), plane, poses
    )
    first, last = (results[k].T_world_cam for k in (30, 59))
    assert first is not None
    assert last is not None
    moved = np.linalg.norm((se3.inverse(first) @ last)[:3, 3])
    truth = np.linalg.norm((se3.inverse(poses[30]) @ poses[59])[:3, 3])
    assert moved == pytest.approx(truth, rel=0.03)


def test_mono_waits_while_the_camera_only_turns(room: PointWorld) -> None:
    poses = [se3.exp(np.array([0, 0, 0, 0, np.radians(0.8) * k, 0])) for k in range(25)]
    results = run(VisualOdometry(config("mono")), room, poses)
    assert all(r.state == TrackingState.INITIALIZING for r in results)


def test_homography_mode_follows_a_plane_over_several_references(plane: PointWorld) -> None:
    poses = [se3.exp(k * np.array([0.03, 0.01, 0.01, 0.002, -0.001, 0.004])) for k in range(110)]
    results = run(VisualOdometry(config("homography")), plane, poses)
    assert all(r.state == TrackingState.TRACKING for r in results)
    assert sum(r.is_keyframe for r in results) >= 3
    # The truth: H_b_0 = K (R + t n^T / d) K^-1 with the plane z = 3 + 0.15 x - 0.1 y.
    normal = np.array([-0.15, 0.1, 1.0]) / np.linalg.norm([-0.15, 0.1, 1.0])
    distance = 3.0 * normal[2]
    pixels = np.array([[220.0, 140.0], [420.0, 140.0], [220.0, 340.0], [420.0, 340.0]])
    for k in (10, 50, 109):
        T_b_0 = se3.inverse(poses[k])
        H = K @ (T_b_0[:3, :3] + np.outer(T_b_0[:3, 3], normal) / distance) @ np.linalg.inv(K)
        measured = results[k].H_b_0
        assert measured is not None
        error = warp_points(measured, pixels) - warp_points(H, pixels)
        assert np.linalg.norm(error, axis=1).max() < 4.0


def test_a_plane_out_of_sight_of_its_reference_hangs_on_the_newest_frame(
    plane: PointWorld,
) -> None:
    """To the second reference, on with a roll, and then a leap."""
    steps = [(0.1 * k, 0.04 * max(k - 15, 0)) for k in range(26)] + [(5.0, 0.4)]
    poses = [se3.exp(np.array([0.0, 0.0, 0.0, 0.0, 0.0, roll])) for _, roll in steps]
    for pose, (x, _) in zip(poses, steps, strict=True):
        pose[0, 3] = x - 4.0
    *results, last = run(VisualOdometry(config("homography")), plane, poses)
    references = [k for k, r in enumerate(results) if r.is_keyframe]
    assert 13 <= references[-1] <= 17
    assert last.state == TrackingState.TRACKING
    assert last.matches is not None
    assert last.matches.reference_stamp_ns == results[-1].stamp_ns
    assert last.H_b_0 is not None
    # Seen from the first camera the plane is z = 2.4 + 0.15 x - 0.1 y.
    normal = np.array([-0.15, 0.1, 1.0])
    T_b_0 = se3.inverse(poses[-1]) @ poses[0]
    H = K @ (T_b_0[:3, :3] + np.outer(T_b_0[:3, 3], normal) / 2.4) @ np.linalg.inv(K)
    pixels = np.array([[20.0, 100.0], [200.0, 100.0], [20.0, 400.0], [200.0, 400.0]])  # of b
    pixels_0 = warp_points(np.linalg.inv(H), pixels)
    assert np.linalg.norm(warp_points(last.H_b_0, pixels_0) - pixels, axis=1).max() < 6.0


def test_a_pan_goes_on_where_the_first_image_has_left_half_the_world(room: PointWorld) -> None:
    """From 58 degrees on pixel (0, 0) of the first image is behind the camera."""
    poses = [se3.exp(np.array([0.0, 0.0, 0.0, 0.0, np.deg2rad(k), 0.0])) for k in range(64)]
    results = run(VisualOdometry(config("homography")), room, poses)
    assert all(r.state == TrackingState.TRACKING for r in results)
    pixel = np.array([[639.0, 240.0]])
    for k in (30, 57, 58, 60, 63):
        measured = results[k].H_b_0
        assert measured is not None
        H = K @ se3.inverse(poses[k])[:3, :3] @ np.linalg.inv(K)
        assert np.linalg.norm(warp_points(measured, pixel) - warp_points(H, pixel)) < 3.0
        assert np.abs(measured).max() < 1e4


def test_a_blackout_ends_in_relocalisation_in_the_same_map(room: PointWorld) -> None:
    poses = forward_curve(50)
    results = run(VisualOdometry(config("rgbd")), room, poses, blind=range(25, 40))
    assert [r.state for r in results[25:40]] == [TrackingState.LOST] * 15
    assert all(r.T_world_cam is None for r in results[25:40])
    assert results[40].state == TrackingState.TRACKING
    assert {r.map_id for r in results} == {0}
    assert position_errors(results, poses).max() < 0.02


@pytest.mark.parametrize("mode", ["mono", "rgbd"])
def test_two_seconds_without_a_picture_do_not_cost_the_map(mode: str, room: PointWorld) -> None:
    """60 dark frames are more than `max_lost_frames`, but they do not speak against the map."""
    room.clutter = 3
    poses = forward_curve(50) + [forward_curve(75)[74]] * 60 + forward_curve(90)[75:]
    results = run(VisualOdometry(config(mode)), room, poses, blind=range(50, 110))
    assert {r.map_id for r in results} == {0}
    assert all(r.state == TrackingState.LOST for r in results[50:110])
    assert all(r.state == TrackingState.TRACKING for r in results[110:])
    errors = position_errors if mode == "rgbd" else aligned_errors
    assert errors(results, poses)[-15:].max() < 0.03


def test_a_long_blackout_starts_a_new_map_and_says_so(room: PointWorld) -> None:
    poses = forward_curve(60)
    odometry = VisualOdometry(config("rgbd", max_lost_frames=10))
    results = run(odometry, room, poses, blind=range(20, 40))
    assert results[39].T_world_cam is None
    assert results[40].state == TrackingState.TRACKING
    assert results[40].map_id == 1
    # The new map starts where the last pose was.
    before, after = results[19].T_world_cam, results[40].T_world_cam
    assert before is not None
    assert after is not None
    np.testing.assert_allclose(after, before, atol=1e-12)


def with_descriptors(observation: Observation, dim: int) -> Observation:
    """Return it as seen by a network whose descriptors are shorter."""
    descriptors = observation.features.descriptors[:, :dim]
    descriptors = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    features = dataclasses.replace(observation.features, descriptors=descriptors)
    return dataclasses.replace(observation, features=features)


@pytest.mark.parametrize("mode", ["mono", "rgbd", "homography"])
def test_another_network_starts_a_new_map_at_the_last_pose(mode: str, room: PointWorld) -> None:
    odometry = VisualOdometry(config(mode))
    poses = forward_curve(50)
    results = [
        odometry.track(with_descriptors(room.observe(k, T, mode == "rgbd"), 64 if k < 25 else 32))
        for k, T in enumerate(poses)
    ]
    odometry.close()
    assert [r.map_id for r in results] == [0] * 25 + [1] * 25
    assert results[-1].state == TrackingState.TRACKING
    if mode == "rgbd":
        before, after = results[24].T_world_cam, results[25].T_world_cam
        assert before is not None
        assert after is not None
        np.testing.assert_allclose(after, before, atol=1e-12)


def test_another_network_while_lost_does_not_make_the_pose_certain(room: PointWorld) -> None:
    """A map is due, but no frame could start it; then the network changes."""
    odometry = VisualOdometry(config("rgbd", max_lost_frames=4))
    poses = forward_curve(60)
    run(odometry, room, poses[:10])
    room.clutter = 40  # speaks against the map, and starts none without depth
    for k in range(10, 40):
        odometry.track(room.observe(k, poses[k], False, is_blind=True))
    result = odometry.track(with_descriptors(room.observe(40, poses[40], True), 32))
    odometry.close()
    assert result.map_id == 2
    assert result.covariance is not None
    assert np.sqrt(np.diag(result.covariance)[:3]).min() > 0.1  # a second at half a metre a second


def test_dark_frames_do_not_cost_a_homography_its_reference(plane: PointWorld) -> None:
    plane.clutter = 0
    odometry = VisualOdometry(config("homography", max_lost_frames=5))
    results = run(odometry, plane, [np.eye(4)] * 30, blind=range(5, 25))
    assert [r.state for r in results[5:25]] == [TrackingState.LOST] * 20
    assert all(r.state == TrackingState.TRACKING for r in results[25:])
    assert {r.map_id for r in results} == {0}


def test_the_camera_moves_on_from_where_an_adjusted_window_puts_it(
    room: PointWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window comes back moved as a whole: pose and prediction go with it."""
    odometry = VisualOdometry(config("rgbd"))
    for k, T in enumerate(forward_curve(40)):
        result = odometry.track(room.observe(k, T, True))
        adjusted = odometry._bundle.take() if result.is_keyframe else None
        if adjusted is not None:
            break
    assert adjusted is not None
    window, bundle = adjusted
    before = odometry._motion.predict(result.stamp_ns + FRAME_NS)
    now, newest = odometry._T_world_cam, odometry._map.keyframes[-1].T_world_cam
    T_new_old = se3.exp(np.array([0.3, -0.2, 0.1, 0.05, 0.1, -0.02]))
    moved = np.array(bundle.T_world_cam)
    moved[window.keyframe_indices.index(odometry._map.keyframes[-1].index)] = T_new_old @ newest
    monkeypatch.setattr(
        odometry._bundle, "take", lambda: (window, dataclasses.replace(bundle, T_world_cam=moved))
    )
    odometry._take_adjusted()
    after = odometry._motion.predict(result.stamp_ns + FRAME_NS)
    odometry.close()
    np.testing.assert_allclose(odometry._T_world_cam, T_new_old @ now, atol=1e-12)
    np.testing.assert_allclose(after, T_new_old @ before, atol=1e-12)


def test_the_same_input_gives_the_same_bits(room: PointWorld) -> None:
    observations = [room.observe(k, T, True) for k, T in enumerate(forward_curve(30))]
    runs = []
    for _ in range(2):
        odometry = VisualOdometry(config("rgbd"))
        runs.append([odometry.track(o).T_world_cam for o in observations])
    for first, second in zip(*runs, strict=True):
        assert first is not None
        assert second is not None
        assert first.tobytes() == second.tobytes()


def test_the_map_stays_bounded_and_can_be_read(room: PointWorld) -> None:
    odometry = VisualOdometry(
        config(
            "rgbd", local_map={"max_keyframes": 5, "max_landmarks": 800}, bundle={"enabled": False}
        )
    )
    turn = [se3.exp(np.array([0, 0, 0, 0, np.radians(4.0) * k, 0])) for k in range(90)]
    results = run(odometry, room, turn)
    assert max(r.num_keyframes for r in results) <= 5
    assert max(r.num_landmarks for r in results) <= 800 + 400  # a frame's worth before culling
    landmarks = odometry.landmarks_world()
    assert landmarks.shape == (results[-1].num_landmarks, 3)
    # They lie on the walls.
    distance = np.abs(np.abs(landmarks) / [3.0, 2.0, 4.0] - 1.0).min(axis=1)
    assert np.median(distance) < 0.03


def test_reset_starts_at_a_given_pose_with_a_new_map(room: PointWorld) -> None:
    odometry = VisualOdometry(config("rgbd"))
    run(odometry, room, forward_curve(3))
    T_start = se3.exp(np.array([1.0, 2, 3, 0.1, 0.2, 0.3]))
    odometry.reset(T_start)
    result = odometry.track(room.observe(0, np.eye(4), True))  # also time may start anew
    assert result.map_id == 1
    assert result.T_world_cam is not None
    np.testing.assert_allclose(result.T_world_cam, T_start, atol=1e-12)


def test_time_that_does_not_ascend_is_refused(room: PointWorld) -> None:
    odometry = VisualOdometry(config("rgbd"))
    odometry.track(room.observe(5, np.eye(4), True))
    with pytest.raises(ValueError, match="reset"):
        odometry.track(room.observe(5, np.eye(4), True))


@pytest.mark.parametrize("mode", ["mono", "rgbd", "homography"])
def test_frames_without_features_are_no_error(mode: str, room: PointWorld) -> None:
    room.clutter = 0
    odometry = VisualOdometry(config(mode))
    poses = forward_curve(4)
    results = run(odometry, room, poses, blind=range(4))
    assert all(r.T_world_cam is None and r.H_b_a is None for r in results)
    assert all(r.state == TrackingState.INITIALIZING for r in results)
