# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest

from superpoint_ros.data import Array
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.bundle_adjustment import (
    BundleProblem,
    BundleSamples,
    adjust_bundle,
    follow_points,
)
from superpoint_ros.geometry.triangulation import project

# Two cameras of another K each: K comes with the keyframe.
K = np.array([[500.0, 0, 322], [0, 505, 236], [0, 0, 1]])
K_OTHER = np.array([[620.0, 0, 300], [0, 610, 250], [0, 0, 1]])


def problem(
    rng: np.random.Generator, anchors: int, with_depth: bool, noise_px: float = 0.5
) -> tuple[BundleProblem, Array, Array]:
    """Return a disturbed problem of 5 cameras and 60 points, and the true poses and points."""
    poses = np.stack(
        [se3.exp(i * np.array([0.1, 0.02, 0.05, 0.01, 0.03, -0.02])) for i in range(5)]
    )
    points = rng.uniform([-1.5, -1, 3], [1.5, 1, 6], (60, 3))
    Ks = np.stack([K, K, K_OTHER, K, K])
    camera_index, point_index = (a.ravel() for a in np.meshgrid(range(5), range(60)))
    points_cam = np.stack(
        [
            se3.transform_points(se3.inverse(poses[c]), points[p : p + 1])[0]
            for c, p in zip(camera_index, point_index, strict=True)
        ]
    )
    pixels = np.stack(
        [project(p[None], Ks[c])[0] for c, p in zip(camera_index, points_cam, strict=True)]
    )
    start = np.stack(
        [T if i < anchors else T @ se3.exp(rng.normal(0, 0.01, 6)) for i, T in enumerate(poses)]
    )
    made = BundleProblem(
        T_world_cam=start,
        K=Ks,
        is_fixed=np.arange(5) < anchors,
        points_world=points + rng.normal(0, 0.05, points.shape),
        camera_index=camera_index,
        point_index=point_index,
        pixels=pixels + rng.normal(0, noise_px, pixels.shape),
        depth=points_cam[:, 2] + rng.normal(0, 0.01, 300) if with_depth else np.full(300, np.nan),
        depth_sigma=np.full(300, 0.01 if with_depth else np.nan),
    )
    return made, poses, points


def test_mono_with_two_anchors_finds_poses_and_points() -> None:
    # 0.05 px over 0.45 m of baseline: the points start 8 cm off and end below one.
    made, poses, points = problem(np.random.default_rng(1), 2, with_depth=False, noise_px=0.05)
    result = adjust_bundle(made, 0.05, 30)
    assert result is not None
    for T, truth in zip(result.T_world_cam, poses, strict=True):
        assert np.linalg.norm(se3.log(se3.inverse(truth) @ T)) < 0.002
    assert np.median(np.linalg.norm(result.points_world - points, axis=1)) < 0.01
    np.testing.assert_array_equal(result.T_world_cam[:2], poses[:2])
    assert result.is_inlier.mean() > 0.9


def test_depth_fixes_the_scale_with_one_anchor_and_a_wrong_match_is_cut() -> None:
    made, poses, points = problem(np.random.default_rng(2), 1, with_depth=True)
    made.pixels[7] += [40.0, -30.0]
    result = adjust_bundle(made, 0.5, 20)
    assert result is not None
    assert not result.is_inlier[7]
    for T, truth in zip(result.T_world_cam, poses, strict=True):
        assert np.linalg.norm(se3.log(se3.inverse(truth) @ T)) < 0.01
    assert np.median(np.linalg.norm(result.points_world - points, axis=1)) < 0.01


def test_mono_with_one_anchor_keeps_its_scale_and_mends_the_other_cameras() -> None:
    made, poses, points = problem(np.random.default_rng(8), 1, with_depth=False, noise_px=0.05)
    assert made.has_free_scale
    made = dataclasses.replace(
        made,
        samples=BundleSamples(
            np.zeros((5, 6, 16)), np.random.default_rng(9).normal(size=(300, 3, 16))
        ),
    )
    result = adjust_bundle(made, 0.05, 30)
    assert result is not None
    np.testing.assert_array_equal(result.T_world_cam[0], poses[0])
    ranges = [np.median(np.linalg.norm(p, axis=1)) for p in (result.points_world, points)]
    started = np.median(np.linalg.norm(made.points_world, axis=1))
    assert ranges[0] == pytest.approx(started, rel=1e-12)
    for T, truth in zip(result.T_world_cam[1:], poses[1:], strict=True):
        scaled = truth.copy()
        scaled[:3, 3] *= ranges[0] / ranges[1]
        assert np.linalg.norm(se3.log(se3.inverse(scaled) @ T)) < 0.002
    # The samples share the distance of the first free camera, and so are not boundless.
    assert result.camera_samples is not None
    assert result.point_samples is not None
    away = result.T_world_cam[1, :3, :3].T @ result.T_world_cam[1, :3, 3]
    np.testing.assert_allclose(away @ result.camera_samples[1, :3], 0.0, atol=1e-9)
    assert np.abs(result.point_samples).max() < 0.1


def optimum_by_gtsam(problem: BundleProblem, pixel_sigma: float) -> Array:
    """Return T_world_cam (C, 4, 4) of a problem without depth, by one factor per observation."""
    gtsam = pytest.importorskip("gtsam")
    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    camera, point = gtsam.symbol_shorthand.X, gtsam.symbol_shorthand.L
    for i, T in enumerate(problem.T_world_cam):
        values.insert(camera(i), gtsam.Pose3(T))
        if problem.is_fixed[i]:
            anchor = gtsam.noiseModel.Isotropic.Sigma(6, 1e-7)
            graph.add(gtsam.PriorFactorPose3(camera(i), gtsam.Pose3(T), anchor))
    for j, position in enumerate(problem.points_world):
        values.insert(point(j), position)
    noise = gtsam.noiseModel.Robust.Create(
        gtsam.noiseModel.mEstimator.Huber.Create(np.sqrt(5.991)),
        gtsam.noiseModel.Isotropic.Sigma(2, pixel_sigma),
    )
    for i, j, pixel in zip(problem.camera_index, problem.point_index, problem.pixels, strict=True):
        K = problem.K[i]
        graph.add(
            gtsam.GenericProjectionFactorCal3_S2(
                pixel,
                noise,
                camera(i),
                point(j),
                gtsam.Cal3_S2(K[0, 0], K[1, 1], 0.0, K[0, 2], K[1, 2]),
            )
        )
    optimum = gtsam.LevenbergMarquardtOptimizer(graph, values).optimize()
    return np.stack([optimum.atPose3(camera(i)).matrix() for i in range(len(problem.K))])


def test_gtsam_finds_the_same_optimum() -> None:
    """Also with outliers that Huber's loss has to weigh down."""
    made, _, _ = problem(np.random.default_rng(6), 2, with_depth=False)
    made.pixels[:20] += np.random.default_rng(7).normal(0, 8.0, (20, 2))
    result = adjust_bundle(made, 0.5, 50)
    assert result is not None
    for ours, theirs in zip(result.T_world_cam, optimum_by_gtsam(made, 0.5), strict=True):
        # A hundredth of the distance from the start to the optimum, and of what noise does.
        assert np.abs(se3.log(se3.inverse(ours) @ theirs)).max() < 1e-4


def test_the_same_problem_gives_the_same_bits() -> None:
    made, _, _ = problem(np.random.default_rng(3), 2, with_depth=True)
    first, second = adjust_bundle(made, 0.5, 5), adjust_bundle(made, 0.5, 5)
    assert first is not None
    assert second is not None
    assert first.T_world_cam.tobytes() == second.T_world_cam.tobytes()
    assert first.points_world.tobytes() == second.points_world.tobytes()


def test_an_undetermined_point_gives_no_nonsense() -> None:
    made, poses, _ = problem(np.random.default_rng(4), 2, with_depth=False)
    chosen = made.point_index != 9
    chosen[np.flatnonzero(~chosen)[0]] = True  # one ray, no depth
    lonely = dataclasses.replace(
        made,
        **{
            name: getattr(made, name)[chosen]
            for name in ("camera_index", "point_index", "pixels", "depth", "depth_sigma")
        },
    )
    result = adjust_bundle(lonely, 0.5, 10)
    if result is not None:  # Levenberg's damping may hold it
        assert np.isfinite(result.points_world).all()
        assert np.linalg.norm(se3.log(se3.inverse(poses[4]) @ result.T_world_cam[4])) < 0.02


def test_a_point_errs_the_way_that_its_depth_does() -> None:
    """The noise is that of depth: where it is too large, the inverse depth is too small."""
    made, _, _ = problem(np.random.default_rng(11), 1, with_depth=True)
    first = made.camera_index == 0
    noise = np.zeros((first.sum(), 3, 3))
    noise[:, [0, 1, 2], [0, 1, 2]] = 1.0  # sample k: one sigma along axis k
    seen = dataclasses.replace(
        made,
        T_world_cam=made.T_world_cam[:1],
        K=made.K[:1],
        is_fixed=np.ones(1, bool),
        camera_index=made.camera_index[first],
        point_index=made.point_index[first],
        pixels=made.pixels[first],
        depth=made.depth[first],
        depth_sigma=made.depth_sigma[first],
        samples=BundleSamples(np.zeros((1, 6, 3)), noise),
    )
    samples, _ = follow_points(seen, 0.5)
    in_camera = np.einsum("ji,njs->nis", made.T_world_cam[0, :3, :3], samples)
    assert (in_camera[:, [0, 1, 2], [0, 1, 2]] > 0.0).all()


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 1.5), (1.0, 0.3)])
def test_the_covariance_of_points_is_that_of_their_samples(scale: tuple[float, float]) -> None:
    """Two fixed cameras, and depth that errs with x as a disparity does."""
    made, _, _ = problem(np.random.default_rng(12), 2, with_depth=True, noise_px=0.0)
    seen = made.camera_index < 2
    independent = np.random.default_rng(13).normal(size=(seen.sum(), 3, 4000))
    noise = independent.copy()
    noise[:, 2] = -0.7 * independent[:, 0] + np.sqrt(1.0 - 0.7**2) * independent[:, 2]
    noise *= np.array(scale)[[0, 0, 1], None]
    _, _, points = problem(np.random.default_rng(12), 2, with_depth=True)
    window = dataclasses.replace(
        made,
        T_world_cam=made.T_world_cam[:2],
        K=made.K[:2],
        is_fixed=np.ones(2, bool),
        points_world=points,
        camera_index=made.camera_index[seen],
        point_index=made.point_index[seen],
        pixels=made.pixels[seen],
        depth=made.depth[seen],
        depth_sigma=np.full(seen.sum(), 0.05),
        depth_follows_x=0.7,
        noise_scale=np.array(scale),
        samples=BundleSamples(np.zeros((2, 6, 4000)), noise),
    )
    samples, covariance = follow_points(window, 0.5)
    sampled = np.einsum("nis,njs->nij", samples, samples) / 4000
    size = np.trace(covariance, axis1=1, axis2=2)[:, None, None]
    np.testing.assert_allclose(sampled / size, covariance / size, atol=0.06)
