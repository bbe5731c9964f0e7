# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import statistics

import numpy as np
import pytest

from superpoint_ros.geometry import pnp, se3
from superpoint_ros.geometry.pnp import (
    PnpConfig,
    PnpResult,
    _Measurements,
    _residuals_with_shutter,
    refine_pose,
    reprojection_residuals,
    solve_pnp,
)
from superpoint_ros.geometry.triangulation import project

K = np.array([[517.0, 0, 318], [0, 515, 255], [0, 0, 1]])


def scene(
    rng: np.random.Generator, count: int, noise_px: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return T_world_cam, points_world, pixels and true depth."""
    T_world_cam = se3.exp(np.concatenate([rng.normal(0, 3, 3), rng.normal(0, 0.6, 3)]))
    points_cam = rng.uniform([-2, -1.5, 2], [2, 1.5, 6], (count, 3))
    pixels = project(points_cam, K) + rng.normal(0, noise_px, (count, 2))
    return T_world_cam, se3.transform_points(T_world_cam, points_cam), pixels, points_cam[:, 2]


def test_exact_points_give_the_exact_pose() -> None:
    T_world_cam, points, pixels, _ = scene(np.random.default_rng(1), 40, 0.0)
    result = solve_pnp(points, pixels, K)
    assert result is not None
    np.testing.assert_allclose(result.T_world_cam, T_world_cam, atol=1e-7)
    assert result.inliers.all()


def test_sixty_percent_outliers_far_from_the_origin() -> None:
    rng = np.random.default_rng(2)
    T_world_cam, points, pixels, _ = scene(rng, 300, 1.0)
    T_world_cam[:3, 3] += 1e4
    points += 1e4
    pixels[120:] = rng.uniform([0, 0], [640, 480], (180, 2))
    result = solve_pnp(points, pixels, K)
    assert result is not None
    error = se3.log(se3.inverse(T_world_cam) @ result.T_world_cam)
    assert np.linalg.norm(error[:3]) < 0.02
    assert result.inliers[120:].mean() < 0.03
    # The gate lets 95 % of true points pass.
    assert 0.85 < result.inliers[:120].mean() <= 1.0


def test_a_plane_is_enough() -> None:
    rng = np.random.default_rng(3)
    points_cam = np.column_stack([rng.uniform(-1, 1, (50, 2)), np.full(50, 3.0)])
    T_world_cam = se3.exp(np.array([1.0, 2, 3, 0.1, 0.2, -0.4]))
    result = solve_pnp(se3.transform_points(T_world_cam, points_cam), project(points_cam, K), K)
    assert result is not None
    np.testing.assert_allclose(result.T_world_cam, T_world_cam, atol=1e-6)


@pytest.mark.parametrize("case", ["few", "one point", "line of sight", "noise", "behind"])
def test_degenerate_data_gives_none(case: str) -> None:
    rng = np.random.default_rng(4)
    T_world_cam, points, pixels, _ = scene(rng, 40, 0.0)
    points_cam = se3.transform_points(se3.inverse(T_world_cam), points)
    if case == "few":
        points, pixels = points[:5], pixels[:5]
    elif case == "one point":
        points[:], pixels[:] = points[0], pixels[0]
    elif case == "line of sight":
        points = np.linspace(1, 5, 40)[:, None] * np.array([[0.1, 0.2, 1.0]])
        pixels[:] = project(points[:1], K)
    elif case == "noise":
        pixels = rng.uniform([0, 0], [640, 480], (40, 2))
    elif case == "behind":  # mirrored through the camera: the same pixels
        points = -points_cam
        assert refine_pose(-points, pixels, K, np.eye(4)) is not None
        assert refine_pose(points, pixels, K, np.eye(4)) is None
        residuals, J = reprojection_residuals(points, pixels, K, np.eye(4))
        assert (residuals == 1e6).all()
        assert not J.any()
        return
    assert solve_pnp(points, pixels, K) is None


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="do not pair"):
        solve_pnp(np.zeros((5, 3)), np.zeros((4, 2)), K)


def test_jacobians_against_finite_differences() -> None:
    rng = np.random.default_rng(5)
    T, points, pixels, depth = scene(rng, 9, 1.0)
    skewed = K.copy()
    skewed[0, 1] = 3.0
    rows = rng.uniform(-0.5, 0.5, 9)
    _, J = reprojection_residuals(points, pixels, skewed, T)
    measured = _Measurements(
        *(pixels, skewed, depth, np.full(9, 0.02), 0.5, np.array([0.8, 1.5])),
        depth_follows_x=0.4,
        stretch=np.linspace(1.0, 3.0, 9),
    )
    nowhere, row_fraction, psi = np.zeros((9, 3)), None, np.zeros(3)

    def whitened(T_world_cam: np.ndarray) -> np.ndarray:
        return measured.linearize(points, nowhere, T_world_cam, row_fraction, psi).residuals

    J_whitened = measured.linearize(points, nowhere, T, row_fraction, psi).J
    for k in range(6):
        step = np.zeros(6)
        step[k] = 1e-6
        plus, _ = reprojection_residuals(points, pixels, skewed, T @ se3.exp(step))
        minus, _ = reprojection_residuals(points, pixels, skewed, T @ se3.exp(-step))
        np.testing.assert_allclose(J[:, :, k], (plus - minus) / 2e-6, rtol=1e-5, atol=1e-4)
        expected = (whitened(T @ se3.exp(step)) - whitened(T @ se3.exp(-step))) / 2e-6
        np.testing.assert_allclose(J_whitened[:, :, k], expected, rtol=1e-5, atol=1e-4)
    # The columns of the shutter: each row sees its own pose T exp(s psi).
    _, J = _residuals_with_shutter(points, pixels, skewed, T, rows, np.zeros(3))
    for k in range(3):
        for n, s in enumerate(rows):
            step = np.zeros(6)
            step[3 + k] = 1e-6 * s
            one = slice(n, n + 1)
            plus, _ = reprojection_residuals(points[one], pixels[one], skewed, T @ se3.exp(step))
            minus, _ = reprojection_residuals(points[one], pixels[one], skewed, T @ se3.exp(-step))
            expected = (plus - minus)[0] / 2e-6
            np.testing.assert_allclose(J[n, :, 6 + k], expected, rtol=1e-5, atol=1e-4)


def test_depth_pins_the_distance_of_a_narrow_scene() -> None:
    rng = np.random.default_rng(6)
    points = np.column_stack([rng.uniform(-0.05, 0.05, (60, 2)), rng.uniform(2.9, 3.1, 60)])
    pixels = project(points, K) + rng.normal(0, 1.0, (60, 2))
    depth = points[:, 2] + rng.normal(0, 0.01, 60)
    plain = refine_pose(points, pixels, K, np.eye(4))
    helped = refine_pose(points, pixels, K, np.eye(4), None, depth, np.full(60, 0.01))
    assert plain is not None
    assert helped is not None
    assert helped.covariance[2, 2] < 0.1 * plain.covariance[2, 2]
    assert abs(helped.T_world_cam[2, 3]) < 4 * np.sqrt(helped.covariance[2, 2])


def test_covariance_is_consistent_over_many_draws() -> None:
    # NEES of six degrees of freedom: mean 6; 60 draws have a standard error of 0.45.
    rng = np.random.default_rng(7)
    nees = []
    for _ in range(60):
        T_world_cam, points, pixels, depth = scene(rng, 100, 1.0)
        sigma = 0.01 + 0.002 * depth**2
        measured = depth + rng.normal(0, 1, 100) * sigma
        result = refine_pose(points, pixels, K, T_world_cam, PnpConfig(), measured, sigma)
        assert result is not None
        error = se3.log(se3.inverse(T_world_cam) @ result.T_world_cam)
        nees.append(error @ np.linalg.solve(result.covariance, error))
    assert 4.0 < np.mean(nees) < 8.5


def test_a_pose_stays_determined_where_noise_is_larger_than_it_was_said_to_be() -> None:
    """A camera that stood still on equal images has learnt that there is hardly any."""
    rng = np.random.default_rng(10)
    T_world_cam, points, pixels, depth = scene(rng, 120, 0.7)
    scale = np.array([0.01, 0.01])
    result = refine_pose(
        points, pixels, K, T_world_cam, depth=depth + 0.01, depth_sigma=0.01 * depth,
        noise_scale=scale,
    )  # fmt: skip
    assert result is not None
    assert np.abs(se3.log(se3.inverse(T_world_cam) @ result.T_world_cam)).max() < 0.03


def test_a_rolling_shutter_is_found_and_undone() -> None:
    rng = np.random.default_rng(8)
    T_world_cam, points, pixels, _ = scene(rng, 300, 0.0)
    rows = pixels[:, 1] / 479.0 - 0.5
    psi = np.array([0.004, -0.008, 0.006])  # about 60 degrees a second, 10 ms
    seen = np.stack(
        [
            project(
                se3.transform_points(
                    se3.inverse(T_world_cam @ se3.exp(np.r_[np.zeros(3), s * psi])), p[None]
                ),
                K,
            )[0]
            for s, p in zip(rows, points, strict=True)
        ]
    )
    plain = refine_pose(points, seen, K, T_world_cam)
    freed = refine_pose(points, seen, K, T_world_cam, row_fraction=rows, shutter_sigma=0.1)
    assert plain is not None
    assert freed is not None
    np.testing.assert_allclose(freed.T_world_cam, T_world_cam, atol=2e-4)
    np.testing.assert_allclose(freed.shutter_rotation, psi, atol=2e-4)
    assert plain.spread[0] > 5 * freed.spread[0]


def test_a_prior_draws_the_turn_of_the_shutter_towards_nought() -> None:
    """By as much as two Gaussians say: what the pixels know of psi, and the prior."""
    rng = np.random.default_rng(11)
    T_world_cam, points, pixels, _ = scene(rng, 60, 0.0)
    rows, psi, sigma = pixels[:, 1] / 479.0 - 0.5, np.array([1e-3, -2e-3, 1.5e-3]), 1e-3
    _, J = _residuals_with_shutter(points, pixels, K, T_world_cam, rows, np.zeros(3))
    J_psi = J[:, :, 6:]
    seen = pixels + J_psi @ psi  # as residuals are: predicted minus seen
    system = np.einsum("nki,nkj->ij", J, J) / PnpConfig().pixel_sigma ** 2
    pose, cross = system[:6, :6], system[:6, 6:]
    known = system[6:, 6:] - cross.T @ np.linalg.solve(pose, cross)
    expected = np.linalg.solve(known + np.eye(3) / sigma**2, known @ psi)
    result = refine_pose(points, seen, K, T_world_cam, row_fraction=rows, shutter_sigma=sigma)
    assert result is not None
    assert (np.abs(expected) < 0.9 * np.abs(psi)).all()
    np.testing.assert_allclose(result.shutter_rotation, expected, atol=0.02 * psi[0])


def noisy_landmarks(
    rng: np.random.Generator, count: int = 800, noise: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Landmarks by stereo (0.12 m, half a pixel) from the origin, seen again 0.4 m to the left.

    Returns T_world_cam, points_world, their covariance, and pixels of the second view.
    """
    points = rng.uniform([-2, -1.5, 2], [2, 1.5, 6], (count, 3))
    sigma_px, per_depth = 0.5, K[0, 0] * 0.12
    left = project(points, K) + noise * rng.normal(0, sigma_px, (count, 2))
    disparity = per_depth / points[:, 2] + noise * rng.normal(0, sigma_px, count)
    depth = per_depth / disparity
    measured = np.column_stack([(left - K[:2, 2]) / [K[0, 0], K[1, 1]], np.ones(count)])
    measured *= depth[:, None]
    ray = measured / depth[:, None]
    covariance = np.zeros((count, 3, 3))
    covariance[:, 0, 0] = (depth / K[0, 0] * sigma_px) ** 2
    covariance[:, 1, 1] = (depth / K[1, 1] * sigma_px) ** 2
    covariance += ((depth / disparity * sigma_px) ** 2)[:, None, None] * (
        ray[:, :, None] * ray[:, None, :]
    )
    T_world_cam = np.eye(4)
    T_world_cam[0, 3] = -0.4
    pixels = project(points - T_world_cam[:3, 3], K)
    pixels += noise * rng.normal(0, sigma_px, (count, 2))
    return T_world_cam, measured, covariance, pixels


def test_landmarks_with_noisy_depth_do_not_shrink_the_way() -> None:
    """Errors in what multiplies the unknown do not average out: they have to be estimated too."""
    config = PnpConfig(pixel_sigma=0.5)
    errors = {"exact": [], "noisy": []}
    for seed in range(20):
        T_world_cam, points, covariance, pixels = noisy_landmarks(np.random.default_rng(seed))
        for name, given in (("exact", None), ("noisy", covariance)):
            result = refine_pose(points, pixels, K, T_world_cam, config, point_covariance=given)
            assert result is not None
            errors[name].append(se3.log(se3.inverse(T_world_cam) @ result.T_world_cam))
    exact, noisy = (np.mean(values, axis=0) for values in errors.values())
    standard_error = np.std(errors["noisy"], axis=0) / np.sqrt(20)
    # Taken for exact, they shorten the 400 mm by 3.4 mm and turn the camera instead.
    assert exact[0] > 4 * standard_error[0]
    assert exact[4] < -4 * standard_error[4]
    assert (np.abs(noisy) < 2 * standard_error).all()


def test_a_pose_and_its_error_do_not_depend_on_where_the_world_begins() -> None:
    T_world_cam, points, covariance, pixels = noisy_landmarks(np.random.default_rng(12), 80)
    T_map_world = se3.exp(np.array([4.0, -7.0, 2.0, 0.8, -1.1, 0.5]))
    R = T_map_world[:3, :3]
    sigma = 0.02 * points[:, 2]
    options = {"depth": points[:, 2], "depth_sigma": sigma}
    there = refine_pose(points, pixels, K, T_world_cam, point_covariance=covariance, **options)
    here = refine_pose(
        se3.transform_points(T_map_world, points), pixels, K, T_map_world @ T_world_cam,
        point_covariance=R @ covariance @ R.T, **options,
    )  # fmt: skip
    assert there is not None
    assert here is not None
    np.testing.assert_allclose(here.T_world_cam, T_map_world @ there.T_world_cam, atol=1e-6)
    np.testing.assert_allclose(here.to_noise, there.to_noise, atol=1e-6)
    np.testing.assert_allclose(here.to_landmarks, there.to_landmarks @ R.T, atol=1e-5)
    np.testing.assert_allclose(here.spread, there.spread, rtol=1e-4)


def test_a_shutter_that_hardly_turns_leaves_the_pose_as_sure_as_none_does() -> None:
    T_world_cam, points, pixels, _ = scene(np.random.default_rng(13), 60, 0.5)
    rows = pixels[:, 1] / 479.0 - 0.5
    none, hardly, freely = (
        refine_pose(points, pixels, K, T_world_cam, row_fraction=rows, shutter_sigma=sigma)
        for sigma in (0.0, 1e-6, 1.0)
    )
    assert none is not None
    assert hardly is not None
    assert freely is not None
    np.testing.assert_allclose(hardly.covariance, none.covariance, rtol=1e-3, atol=1e-9)
    assert np.trace(freely.covariance) > 1.2 * np.trace(none.covariance)


def test_depths_pull_no_harder_than_the_true_noise_of_depth_allows() -> None:
    """A fifth is too far by one configured sigma: five true ones. Their mean would be 0.2."""
    rng = np.random.default_rng(14)
    points = np.column_stack([rng.uniform(-0.05, 0.05, (100, 2)), rng.uniform(2.9, 3.1, 100)])
    depth, sigma = points[:, 2].copy(), np.full(100, 0.01)
    depth[:20] += 0.01
    result = refine_pose(
        points, project(points, K), K, np.eye(4), depth=depth, depth_sigma=sigma,
        noise_scale=np.array([1.0, 0.2]),
    )  # fmt: skip
    assert result is not None
    # In Huber's linear part: 1.96 times 0.2 of a sigma, over the four fifths that pull back.
    assert -result.T_world_cam[2, 3] == pytest.approx(0.25 * 1.96 * 0.2 * 0.01, rel=0.2)


def test_depths_that_are_wrong_by_many_sigmas_have_no_say() -> None:
    """Beyond three gates, 5.9 configured sigmas, whatever the true noise is."""
    rng = np.random.default_rng(15)
    points = np.column_stack([rng.uniform(-0.05, 0.05, (60, 2)), rng.uniform(2.9, 3.1, 60)])
    pixels, sigma = project(points, K), np.full(60, 0.01)
    unknown, wrong = points[:, 2].copy(), points[:, 2].copy()
    unknown[:20], wrong[:20] = np.nan, wrong[:20] + 0.08
    by_little = points[:, 2] + 0.05 * (np.arange(60) < 20)
    pulled = refine_pose(points, pixels, K, np.eye(4), depth=by_little, depth_sigma=sigma)
    assert pulled is not None
    assert pulled.T_world_cam[2, 3] < -0.003
    for noise_scale in (np.ones(2), np.full(2, 2.0)):
        without, spoiled = (
            refine_pose(
                points, pixels, K, np.eye(4), depth=depth, depth_sigma=sigma,
                noise_scale=noise_scale,
            )
            for depth in (unknown, wrong)
        )  # fmt: skip
        assert without is not None
        assert spoiled is not None
        np.testing.assert_allclose(spoiled.T_world_cam, without.T_world_cam, atol=1e-8)


def test_a_depth_without_a_say_does_not_vouch_for_its_landmark_either() -> None:
    """Were both still one, the landmark would seem to err along its ray by what was told."""
    T_world_cam, points, covariance, pixels = noisy_landmarks(np.random.default_rng(15), 60)
    depth, sigma = points[:, 2].copy(), np.full(60, 0.02)
    unknown, wrong = depth.copy(), depth.copy()
    unknown[:20], wrong[:20] = np.nan, 2.0 * wrong[:20]
    without, spoiled, right = (
        refine_pose(
            points, pixels, K, T_world_cam, depth=given, depth_sigma=sigma,
            point_covariance=covariance,
        )
        for given in (unknown, wrong, depth)
    )  # fmt: skip
    assert without is not None
    assert spoiled is not None
    assert right is not None
    np.testing.assert_allclose(spoiled.T_world_cam, without.T_world_cam, atol=1e-8)
    np.testing.assert_allclose(spoiled.to_landmarks, without.to_landmarks, atol=1e-6)
    np.testing.assert_allclose(spoiled.to_noise, without.to_noise, atol=1e-6)
    assert np.abs(right.T_world_cam - without.T_world_cam).max() > 1e-4  # a depth that is used


def test_a_keypoint_on_which_huber_pulls_steadily_hardly_answers_to_its_noise() -> None:
    rng = np.random.default_rng(16)
    T_world_cam, points, pixels, _ = scene(rng, 80, 0.0)
    points[1], pixels[1] = points[0], pixels[0]  # a twin
    pixels[1, 0] += 1.5  # within the gate, but 7.5 of the true sigmas
    result = refine_pose(points, pixels, K, T_world_cam, noise_scale=np.array([0.2, 1.0]))
    assert result is not None
    assert result.inliers.all()
    answers = np.linalg.norm(result.to_noise[:, :, 0], axis=0)
    assert answers[1] < 0.1 * answers[0]


@pytest.mark.parametrize("along", [[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, -1, 0], [0, 0, 1]])
def test_a_landmark_may_be_seen_where_its_own_error_puts_it(along: list[int]) -> None:
    """There it is no outlier: it answers as its twin, which is seen where the map has it."""
    rng = np.random.default_rng(18)
    points = rng.uniform([-2, -1.5, 2], [2, 1.5, 6], (80, 3))
    points[:2] = 0.0, 0.0, 3.0
    direction = np.array(along) / np.linalg.norm(along)
    covariance = np.tile(1e-10 * np.eye(3), (80, 1, 1))
    # One of its sigmas, 8 of the pixels' or the depth's.
    size = 0.02 * 8 if along[2] else 0.2 * 8 / K[0, 0] * 3.0
    covariance[:2] += size**2 * np.outer(direction, direction)
    pixels, depth = project(points, K), points[:, 2].copy()
    turned = np.array([-direction[1], direction[0], 0.0])
    across = turned if turned.any() else np.array([1.0, 0.0, 0.0])
    answers = []
    for shift in (direction, across):
        seen, measured = pixels.copy(), depth.copy()
        moved = points[:1] + 0.999 * (0.2 * 8 / K[0, 0] * 3.0 if shift[2] == 0 else size) * shift
        seen[:1] = project(moved, K)
        measured[0] = moved[0, 2]
        result = refine_pose(
            points, seen, K, np.eye(4), PnpConfig(), measured, np.full(80, 0.02),
            point_covariance=covariance, noise_scale=np.array([0.2, 0.2]),
        )  # fmt: skip
        assert result is not None
        columns = slice(2, 3) if shift[2] else slice(0, 2)
        norms = np.linalg.norm(result.to_noise[:, :2, columns], axis=(0, 2))
        answers.append(norms[0] / norms[1])
    assert answers[0] == pytest.approx(1.0, abs=0.1)
    assert answers[1] < 0.2


def test_the_robust_spread_of_normal_numbers_is_their_standard_deviation() -> None:
    normal = statistics.NormalDist(0.0, 0.3)
    numbers = np.array([normal.inv_cdf((k + 0.5) / 4000) for k in range(4000)])
    assert pnp.robust_spread(numbers) == pytest.approx(0.3, rel=0.01)


def test_what_is_left_of_depth_is_independent_of_x() -> None:
    """Rows are in units of the pixels' true noise; that of depth is 0.4 of it, and follows x."""
    rng = np.random.default_rng(20)
    scale, follows = np.array([2.0, 0.8]), 0.6
    x, own = rng.normal(size=(2, 20000))
    rows = np.stack([x, np.zeros(20000), 0.4 * (follows * x + 0.8 * own)], axis=1)
    has_depth = np.arange(20000) < 15000
    before = rows.copy()
    pnp.make_depth_independent(rows, has_depth, pnp.depth_mix(follows, scale))
    np.testing.assert_array_equal(rows[:, :2], before[:, :2])
    np.testing.assert_array_equal(rows[~has_depth], before[~has_depth])
    x, left = rows[has_depth][:, [0, 2]].T
    assert np.std(left) == pytest.approx(0.4, rel=0.02)
    assert np.corrcoef(x, left)[0, 1] == pytest.approx(0.0, abs=0.02)


def test_who_fits_is_told_in_pixels_of_the_raw_image() -> None:
    rng = np.random.default_rng(19)
    T_world_cam, points, pixels, _ = scene(rng, 300, 0.0)
    stretch = rng.uniform(1.0, 4.0, 300)
    raw = rng.normal(0, 0.5, (300, 2))
    raw[:10] = [3.0, 0.0]  # beyond the gate of 2.4 px
    result = refine_pose(
        points, pixels + stretch[:, None] * raw, K, T_world_cam, pixel_scale=stretch
    )
    assert result is not None
    np.testing.assert_array_equal(np.flatnonzero(~result.inliers), np.arange(10))
    assert result.spread[0] == pytest.approx(0.5, rel=0.1)


def test_the_spread_of_what_fits_is_in_units_of_its_noise() -> None:
    rng = np.random.default_rng(17)
    T_world_cam, points, pixels, depth = scene(rng, 400, 0.2)
    pixels[:80] += 30.0  # outliers do not count
    sigma = 0.02 * depth
    measured = depth + rng.normal(0, 0.5, 400) * sigma
    result = refine_pose(
        points, pixels, K, T_world_cam, PnpConfig(pixel_sigma=0.4), measured, sigma
    )
    assert result is not None
    np.testing.assert_allclose(result.spread, [0.5, 0.5], rtol=0.1)


@pytest.mark.parametrize("depth_follows_x", [0.0, 0.7])
def test_a_pose_answers_to_noise_as_it_says(
    depth_follows_x: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To first order, with landmarks that move and depths whose errors follow those of x."""
    monkeypatch.setattr(pnp, "_STEP_TOLERANCE", 1e-12)
    rng = np.random.default_rng(9)
    T_world_cam, points, covariance, pixels = noisy_landmarks(rng, 60, 0.0)
    config = PnpConfig(pixel_sigma=2.0, refine_iterations=50)  # nothing reaches Huber's bend
    depth = points[:, 2].copy()
    sigma = np.full(60, 0.1)

    def solve(points: np.ndarray, pixels: np.ndarray, depth: np.ndarray) -> PnpResult:
        options = {"point_covariance": covariance, "depth_follows_x": depth_follows_x}
        options["noise_scale"] = np.array([0.9, 0.7])
        found = refine_pose(points, pixels, K, T_world_cam, config, depth, sigma, **options)
        assert found is not None
        return found

    result = solve(points, pixels, depth)
    for axis in range(3):
        noise, moved = np.zeros((60, 3)), np.zeros((60, 3))
        noise[:, axis] = moved[:, axis] = rng.normal(0, 1, 60)
        for predicted, found in (
            (
                np.einsum("inj,nj->i", result.to_noise, 0.02 * noise),
                solve(
                    points, pixels + 0.02 * 2.0 * noise[:, :2], depth + 0.02 * sigma * noise[:, 2]
                ),
            ),
            (
                np.einsum("inj,nj->i", result.to_landmarks, 0.0002 * moved),
                solve(points + 0.0002 * moved, pixels, depth),
            ),
        ):
            change = se3.log(se3.inverse(result.T_world_cam) @ found.T_world_cam)
            np.testing.assert_allclose(change, predicted, atol=0.02 * np.abs(predicted).max())


@pytest.mark.parametrize("count", [15, 200])
def test_points_on_one_line_leave_the_turn_about_it_open(count: int) -> None:
    points = np.zeros((count, 3))
    points[:, 0], points[:, 2] = np.linspace(-1.0, 1.0, count), 4.0
    pixels = project(points, K) + np.random.default_rng(4).normal(0, 0.5, (count, 2))
    assert refine_pose(points, pixels, K, np.eye(4)) is None
