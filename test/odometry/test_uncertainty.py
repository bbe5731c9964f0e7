# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The covariance against the truth, over many worlds with known noise."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from superpoint_ros.config import from_mapping
from superpoint_ros.data import Array
from superpoint_ros.evaluation.trajectory import pose_nees
from superpoint_ros.geometry import se3
from superpoint_ros.odometry import OdometryConfig, VisualOdometry, bundle_thread, uncertainty
from superpoint_ros.odometry.keyframes import NO_LANDMARK
from superpoint_ros.odometry.local_map import LocalMap, LocalMapConfig
from superpoint_ros.odometry.uncertainty import (
    NoiseModel,
    PoseError,
    PoseSensitivity,
    keyframe_samples,
)

from .conftest import FRAME_NS, PointWorld

RUNS = 10
# 95 % of chi-square with 6 x 10 degrees of freedom, over 10: the frames of a run err alike.
BOUNDS = (4.05, 8.33)
CURVE = np.array([0.008, 0.002, 0.018, 0.001, 0.006, -0.001])


def small_room(seed: int) -> PointWorld:
    """Few points, so that many runs are cheap; pixel noise is half of what is configured."""
    rng = np.random.default_rng(seed)
    half = np.array([3.0, 2.0, 4.0])
    points = rng.uniform(-half, half, (1500, 3))
    wall = rng.integers(0, 3, 1500)
    points[np.arange(1500), wall] = half[wall] * rng.choice([-1, 1], 1500)
    descriptors = rng.normal(size=(1500, 64))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return PointWorld(points, descriptors, rng, clutter=10)


def run(seed: int, poses: list[Array]) -> tuple[list[float], list[float], list[Array]]:
    """Return the NEES of pose and of twist, and the covariances, of every frame but the first."""
    world, odometry = (
        small_room(seed),
        VisualOdometry(from_mapping(OdometryConfig, {"mode": "rgbd"})),
    )
    nees, twist_nees, covariances = [], [], []
    for k, T in enumerate(poses):
        result = odometry.track(world.observe(k, T, with_depth=True))
        assert result.T_world_cam is not None
        assert result.covariance is not None
        covariances.append(result.covariance)
        if k == 0:
            continue
        nees.append(pose_nees(result.T_world_cam, T, result.covariance))
        assert result.twist is not None
        assert result.twist_covariance is not None
        error = result.twist - se3.log(se3.inverse(poses[k - 1]) @ T) / (FRAME_NS * 1e-9)
        twist_nees.append(float(error @ np.linalg.solve(result.twist_covariance, error)))
    odometry.close()
    return nees, twist_nees, covariances


def test_nees_is_within_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drift included: forty frames on a curve, with some five keyframes."""
    # Unlike real keypoints, these have nothing in common from frame to frame.
    monkeypatch.setattr(uncertainty, "_HIDDEN_VARIANCE", 1.0)
    monkeypatch.setattr(uncertainty, "_LASTING_SHARE", 0.0)
    poses = [se3.exp(k * CURVE) for k in range(40)]
    runs = [run(seed, poses) for seed in range(RUNS)]
    assert BOUNDS[0] < np.mean([nees for nees, _, _ in runs]) < BOUNDS[1]
    # The noise of a frame is drawn anew for each: more of it is independent.
    assert 3.0 < np.mean([twist for _, twist, _ in runs]) < 8.1
    for _, _, covariances in runs:
        for covariance in covariances:
            np.testing.assert_array_equal(covariance, covariance.T)
            assert np.linalg.eigvalsh(covariance)[0] > 0.0
        # Only an adjusted window makes it fall, not far; and it grows with the way.
        for before, after in itertools.pairwise(covariances[1:]):
            assert np.trace(after) > 0.25 * np.trace(before)
    first, last = (np.mean([np.trace(c[k]) for _, _, c in runs]) for k in (2, -1))
    assert last > 1.3 * first


def test_the_first_pose_knows_the_noise_that_it_taught() -> None:
    """It is found anew: Huber's loss turned linear too late before the noise was known."""
    world = small_room(60)
    world.noise_px = 0.1
    frames = [world.observe(k, se3.exp(k * CURVE), True) for k in range(2)]
    for i, frame in enumerate(frames):  # wrong by a few of its sigmas, below the gate
        frame.pixels[::8] += [1.2, -0.6] if i else [0.0, 0.0]
    learning, knowing = (
        VisualOdometry(from_mapping(OdometryConfig, {"mode": "rgbd"})) for _ in range(2)
    )
    results = [learning.track(frame) for frame in frames]
    knowing.track(frames[0])
    knowing._map.noise.adapt(learning._map.noise.scale)
    knowing._follow_new_landmarks(0)
    expected = knowing.track(frames[1]).T_world_cam
    for odometry in (learning, knowing):
        odometry.close()
    assert results[1].T_world_cam is not None
    np.testing.assert_allclose(results[1].T_world_cam, expected, atol=2e-5)


def test_a_new_map_after_a_blackout_says_how_little_is_known() -> None:
    world = small_room(40)
    world.clutter = 40  # what is seen while lost speaks against the map; darkness does not
    odometry = VisualOdometry(from_mapping(OdometryConfig, {"mode": "rgbd", "max_lost_frames": 8}))
    results = [
        odometry.track(world.observe(k, se3.exp(k * CURVE), True, is_blind=10 <= k < 25))
        for k in range(28)
    ]
    odometry.close()
    before, after = results[9].covariance, results[-1].covariance
    assert results[-1].map_id == 1
    assert before is not None
    assert after is not None
    # Half a second at half a metre a second.
    assert np.sqrt(np.diag(after)[:3]).min() > 0.15 > 10 * np.sqrt(np.diag(before)[:3]).max()


def test_a_lost_camera_may_be_half_a_metre_and_half_a_radian_away_a_second() -> None:
    np.testing.assert_allclose(uncertainty.after(np.zeros((6, 6)), 2.0), np.eye(6), atol=1e-9)


def test_after_a_night_a_camera_may_have_any_attitude() -> None:
    rng = np.random.default_rng(3)
    turned = [se3.pose_from_quaternion(np.zeros(3), q) for q in rng.normal(size=(4000, 4))]
    spread = np.std([se3.log_so3(T[:3, :3]) for T in turned])
    night = uncertainty.after(np.zeros((6, 6)), 8 * 3600.0)
    np.testing.assert_allclose(np.diag(night)[3:], spread**2, rtol=0.05)


def test_where_a_map_starts_does_not_tell_how_fast_the_camera_is() -> None:
    velocities = []
    for dark_frames in (30, 1_000_000):  # a second, or a night
        world = small_room(40)
        world.clutter = 40
        odometry = VisualOdometry(
            from_mapping(OdometryConfig, {"mode": "rgbd", "max_lost_frames": 1})
        )
        for k in range(14):
            index = k if k < 8 else k + dark_frames
            seen = world.observe(index, se3.exp(k * CURVE), True, is_blind=6 <= k < 8)
            result = odometry.track(seen)
        odometry.close()
        assert result.map_id == 1
        velocities.append(result.twist_covariance)
    np.testing.assert_allclose(*velocities, rtol=1e-6)


def test_the_inverse_of_a_sampled_covariance_is_right_on_average() -> None:
    rng = np.random.default_rng(1)
    inverses = [
        np.linalg.inv(uncertainty.covariance_of(rng.normal(size=(6, uncertainty.SAMPLES))))
        for _ in range(1000)
    ]
    np.testing.assert_allclose(np.mean(inverses, axis=0), np.eye(6), atol=0.03)


def test_a_turn_that_was_wrong_before_is_a_way_that_is_wrong_now() -> None:
    """The camera went 2 m ahead; before, its turn about y was known to 0.01 rad only.

    So it is where 2 cm of its x are open, and as much of its turn.
    """
    before = PoseError(np.zeros((6, uncertainty.SAMPLES)), np.diag([0, 0, 0, 0, 1e-4, 0]))
    T_before_now = np.eye(4)
    T_before_now[2, 3] = 2.0
    expected = np.zeros((6, 6))
    expected[0, 0], expected[4, 4] = 4e-4, 1e-4
    expected[0, 4] = expected[4, 0] = 2e-4
    covariance = uncertainty.exact().since(before, T_before_now)
    np.testing.assert_allclose(covariance, expected, atol=1e-9)
    # If the map errs so, it is the same error now: x follows from the turn.
    samples = np.zeros((2, 6, uncertainty.SAMPLES))
    samples[:, 4], samples[1, 0] = 0.01, 0.02
    in_map_before, in_map_now = (PoseError(drawn, np.zeros((6, 6))) for drawn in samples)
    np.testing.assert_allclose(in_map_now.since(in_map_before, T_before_now), 0.0, atol=1e-9)


def test_most_of_a_corners_noise_lasts_from_keyframe_to_keyframe() -> None:
    view = small_room(70).observe(0, np.eye(4), with_depth=True)
    count, half = len(view.features), len(view.features) // 2
    local_map = LocalMap(LocalMapConfig())
    ids = np.full((3, count), NO_LANDMARK)
    ids[0] = local_map.add_landmarks(np.ones((count, 3)), np.ones((count, 64)), np.eye(4))
    # Other keypoints see them later, and ever fewer.
    ids[1, :half], ids[2, : half // 2] = ids[0, ::-1][:half], ids[0, ::-1][: half // 2]
    noise = [local_map.add_keyframe(view, np.eye(4), own).noise for own in ids]

    def correlation(first: Array, second: Array) -> float:
        return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])

    pixels, depths = [drawn[:, :2] for drawn in noise], [drawn[:, 2] for drawn in noise]
    before = pixels[0][::-1]
    assert correlation(pixels[1][:half], before[:half]) == pytest.approx(0.69 * 0.85, abs=0.03)
    assert correlation(pixels[1][half:], before[half:]) == pytest.approx(0.0, abs=0.03)
    twice = pixels[2][: half // 2], before[: half // 2]
    assert correlation(*twice) == pytest.approx(0.69 * 0.85**2, abs=0.03)
    assert correlation(depths[1][:half], depths[0][::-1][:half]) == pytest.approx(0.0, abs=0.03)
    for drawn in noise:
        assert np.std(drawn) == pytest.approx(1.0, abs=0.02)


def test_depth_from_a_disparity_errs_with_x() -> None:
    noise = NoiseModel(is_stereo=True)
    lasting = noise.draw_lasting(2000, np.empty(0, int), np.empty((0, 2, uncertainty.SAMPLES)))
    drawn = noise.draw(lasting).transpose(1, 0, 2).reshape(3, -1)
    expected = np.eye(3)  # half of a disparity is of the left eye, of what both do not share
    expected[0, 2] = expected[2, 0] = -np.sqrt(0.5 * (1.0 - 0.69))
    np.testing.assert_allclose(np.cov(drawn), expected, atol=0.02)
    gain = np.zeros((3, 1, 3))
    gain[:, 0] = np.eye(3)
    np.testing.assert_allclose(noise.covariance(gain) / noise.scale[0] ** 2, expected, atol=1e-6)


def test_the_scale_of_noise_follows_what_residuals_say_within_limits() -> None:
    noise = NoiseModel(is_stereo=False)
    assert not noise.is_known
    for ratio, expected in (
        ([0.5, np.nan], [0.5, 1.0]),  # no depth: as before
        ([0.5, 2.0], [0.25, 2.0]),  # of noise that is that large already
        ([0.01, 0.01], [0.1, 0.05]),
        ([1000.0, 1000.0], [5.0, 5.0]),
    ):
        noise.adapt(np.array(ratio))
        np.testing.assert_allclose(noise.scale, expected)
        assert noise.is_known


def test_a_frame_errs_as_much_as_its_noise_is_large() -> None:
    """Here its x, y and z are those of one of its keypoints."""
    noise = NoiseModel(is_stereo=True)
    noise.adapt(np.array([0.5, 2.0]))
    gain = np.zeros((6, 1, 3))
    gain[:3, 0] = np.eye(3)
    follows = -np.sqrt(0.5 * (1.0 - 0.69)) * 0.5 * 2.0
    expected = [[0.25, 0.0, follows], [0.0, 0.25, 0.0], [follows, 0.0, 4.0]]
    np.testing.assert_allclose(noise.covariance(gain)[:3, :3], expected, atol=1e-12)

    count = 200  # frames, each by the second of its three keypoints
    nowhere = np.empty((0, 2, uncertainty.SAMPLES))
    exact, drawn = uncertainty.exact(), []
    sensitivity = PoseSensitivity(np.zeros(1, int), np.array([1]), np.zeros((6, 1, 3)), gain)
    for _ in range(count):
        of_keypoints = noise.draw(noise.draw_lasting(3, np.empty(0, int), nowhere))
        drawn.append(keyframe_samples(exact, sensitivity, of_keypoints, noise))
        scaled = of_keypoints[1] * noise.sigma[:, None]
        np.testing.assert_allclose(drawn[-1][:3], scaled, rtol=1e-6)
    spread = np.std(np.stack(drawn), axis=(0, 2))
    # What all views have in common, residuals do not show: twice the variance of x and y.
    np.testing.assert_allclose(spread, [np.sqrt(0.5), np.sqrt(0.5), 2.0, 0, 0, 0], rtol=0.05)
    known = PoseError(np.ones((6, uncertainty.SAMPLES)), np.zeros((6, 6)))
    on_top = keyframe_samples(known, sensitivity, of_keypoints, noise)
    np.testing.assert_allclose(on_top, 1.0 + drawn[-1])


def test_odometry_survives_its_bundle_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error there is logged."""

    def fail(*_: object) -> None:
        raise RuntimeError("out of order")

    world = small_room(50)
    odometry = VisualOdometry(from_mapping(OdometryConfig, {"mode": "rgbd"}))
    poses = [se3.exp(k * CURVE) for k in range(24)]
    with monkeypatch.context() as patched:
        patched.setattr(bundle_thread, "adjust_bundle", fail)
        results = [odometry.track(world.observe(k, T, True)) for k, T in enumerate(poses)]
    assert sum(r.is_keyframe for r in results) > 2
    assert results[-1].T_world_cam is not None
    assert "out of order" in caplog.text
    odometry.close()


def test_a_reset_while_a_window_is_out_leaves_the_new_map_alone() -> None:
    world = small_room(50)
    frames = [world.observe(k, se3.exp(k * CURVE), True) for k in range(24)]
    odometry, fresh = (
        VisualOdometry(from_mapping(OdometryConfig, {"mode": "rgbd"})) for _ in range(2)
    )
    for frame in frames:
        if odometry.track(frame).is_keyframe and odometry._bundle._window is not None:
            break
    assert odometry._bundle._window is not None
    odometry.reset()
    for frame in frames:
        late = dataclasses.replace(frame, stamp_ns=frame.stamp_ns + 10**9)
        T_again, T_fresh = (o.track(late).T_world_cam for o in (odometry, fresh))
        assert T_again is not None
        assert T_fresh is not None
        np.testing.assert_array_equal(T_again, T_fresh)
    odometry.close()
    fresh.close()


@pytest.mark.parametrize("still", [5, 10])
def test_a_start_on_equal_images_costs_no_frame_and_no_covariance(still: int) -> None:
    """As simulated cameras see before they move: residuals of nought, and then of noise."""
    world = small_room(80)
    poses = [se3.exp(k * CURVE) for k in range(40)]
    odometry = VisualOdometry(from_mapping(OdometryConfig, {"mode": "rgbd"}))
    first = world.observe(0, poses[0], True)
    for k in range(still):
        odometry.track(dataclasses.replace(first, stamp_ns=first.stamp_ns + k * FRAME_NS))
    nees = []
    for k, T in enumerate(poses[1:], still):
        result = odometry.track(world.observe(k, T, True))
        assert result.T_world_cam is not None
        assert result.covariance is not None
        nees.append(pose_nees(result.T_world_cam, T, result.covariance))
    odometry.close()
    assert np.median(nees) < 15.0
