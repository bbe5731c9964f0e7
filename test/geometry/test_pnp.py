# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from superpoint_ros.geometry import se3
from superpoint_ros.geometry.pnp import (
    PnpConfig,
    _residuals_with_shutter,
    depth_residuals,
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
    _, points, pixels, _ = scene(rng, 40, 0.0)
    if case == "few":
        points, pixels = points[:5], pixels[:5]
    elif case == "one point":
        points[:], pixels[:] = points[0], pixels[0]
    elif case == "line of sight":
        points = np.linspace(1, 5, 40)[:, None] * np.array([[0.1, 0.2, 1.0]])
        pixels[:] = project(points[:1], K)
    elif case == "noise":
        pixels = rng.uniform([0, 0], [640, 480], (40, 2))
    elif case == "behind":
        assert refine_pose(np.array([[0.0, 0, -1]] * 40), pixels, K, np.eye(4)) is None
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
    _, J_depth = depth_residuals(points, depth, T)
    for k in range(6):
        step = np.zeros(6)
        step[k] = 1e-6
        plus, _ = reprojection_residuals(points, pixels, skewed, T @ se3.exp(step))
        minus, _ = reprojection_residuals(points, pixels, skewed, T @ se3.exp(-step))
        np.testing.assert_allclose(J[:, :, k], (plus - minus) / 2e-6, rtol=1e-5, atol=1e-4)
        plus, _ = depth_residuals(points, depth, T @ se3.exp(step))
        minus, _ = depth_residuals(points, depth, T @ se3.exp(-step))
        np.testing.assert_allclose(J_depth[:, k], (plus - minus) / 2e-6, atol=1e-6)
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
    assert plain.rms_px > 5 * freed.rms_px
