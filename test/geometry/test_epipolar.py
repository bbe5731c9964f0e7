# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from superpoint_ros.geometry import se3
from superpoint_ros.geometry.epipolar import (
    decompose_essential,
    essential_from_pose,
    estimate_essential,
    motion_deviations,
    refine_motion,
    sampson_error_px,
)
from superpoint_ros.geometry.triangulation import project

K_A = np.array([[420.0, 0, 355], [0, 421, 250], [0, 0, 1]])
K_B = np.array([[510.0, 0, 310], [0, 505, 235], [0, 0, 1]])
T_B_A = se3.exp(np.array([0.5, -0.1, 0.2, 0.03, -0.1, 0.05]))


def views(rng: np.random.Generator, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    points = rng.uniform([-2, -1.5, 3], [2, 1.5, 8], (count, 3))
    return project(points, K_A), project(se3.transform_points(T_B_A, points), K_B)


def test_the_essential_matrix_of_a_motion_holds_for_what_both_cameras_see() -> None:
    points = np.random.default_rng(6).uniform([-2, -1.5, 3], [2, 1.5, 8], (30, 3))
    moved = se3.transform_points(T_B_A, points)
    x_a, x_b = points / points[:, 2:], moved / moved[:, 2:]
    E_b_a = essential_from_pose(T_B_A)
    np.testing.assert_allclose(np.einsum("ni,ij,nj->n", x_b, E_b_a, x_a), 0.0, atol=1e-12)
    assert np.linalg.norm(E_b_a) == pytest.approx(1.0)
    assert np.abs(np.einsum("ni,ij,nj->n", x_a, E_b_a, x_b)).max() > 0.01  # no way round
    turn = np.eye(4)
    turn[:3, :3] = T_B_A[:3, :3]
    assert not essential_from_pose(turn).any()


def test_sampson_error_is_zero_on_the_line_and_the_distance_beside_it() -> None:
    # Pure motion along x: epipolar lines are rows, so one row off in one image is 1/sqrt(2).
    T = np.eye(4)
    T[0, 3] = 1.0
    E = essential_from_pose(T)
    a, b = np.array([[100.0, 50.0]] * 2), np.array([[300.0, 50.0], [300.0, 51.0]])
    error = sampson_error_px(E, a, b, K_A, K_A)
    np.testing.assert_allclose(error, [0.0, 1 / np.sqrt(2)], atol=1e-9)


def test_sampson_error_is_the_algebraic_one_over_its_slope() -> None:
    """Two cameras, a motion along no axis; the slope by finite differences in all four numbers."""
    a, b = views(np.random.default_rng(4), 20)
    b += np.random.default_rng(5).normal(0, 3.0, b.shape)
    E = essential_from_pose(T_B_A)
    F = np.linalg.inv(K_B).T @ E @ np.linalg.inv(K_A)

    def algebraic(pairs: np.ndarray) -> np.ndarray:
        one = np.ones(len(pairs))
        a, b = np.column_stack([pairs[:, :2], one]), np.column_stack([pairs[:, 2:], one])
        return np.einsum("ni,ij,nj->n", b, F, a)

    pairs = np.hstack([a, b])
    slopes = [(algebraic(pairs + step) - algebraic(pairs - step)) / 2.0 for step in np.eye(4)]
    expected = np.abs(algebraic(pairs)) / np.linalg.norm(slopes, axis=0)
    assert np.median(expected) > 0.5
    np.testing.assert_allclose(sampson_error_px(E, a, b, K_A, K_B), expected, rtol=1e-6)


def test_estimate_with_outliers_holds_the_true_motion() -> None:
    rng = np.random.default_rng(1)
    a, b = views(rng)
    a, b = a + rng.normal(0, 0.3, a.shape), b + rng.normal(0, 0.3, b.shape)
    b[120:] = rng.uniform([0, 0], [640, 480], (80, 2))
    result = estimate_essential(a, b, K_A, K_B)
    assert result is not None
    assert result.inliers[:120].mean() > 0.9
    direction = T_B_A[:3, 3] / np.linalg.norm(T_B_A[:3, 3])
    errors = [
        np.degrees(np.linalg.norm(se3.log_so3(T[:3, :3].T @ T_B_A[:3, :3])))
        + np.degrees(np.arccos(np.clip(T[:3, 3] @ direction, -1, 1)))
        for T in decompose_essential(result.E_b_a)
    ]
    # A minimal sample's motion, not yet adjusted: rotation and direction to a few degrees.
    assert min(errors) < 6.0


def test_too_few_or_no_agreement_gives_none() -> None:
    rng = np.random.default_rng(2)
    a, b = views(rng, 19)
    assert estimate_essential(a, b, K_A, K_B) is None
    noise = rng.uniform([0, 0], [640, 480], (2, 30, 2))
    assert estimate_essential(noise[0], noise[1], K_A, K_B) is None
    with pytest.raises(ValueError, match="do not pair"):
        estimate_essential(a, b[:5], K_A, K_B)


def test_refined_motion_errs_as_its_deviations_say() -> None:
    """From a start a degree off, with outliers; over 40 draws of a third of a pixel."""
    squares, sigmas = [], []
    truth = T_B_A.copy()
    truth[:3, 3] /= np.linalg.norm(truth[:3, 3])
    start = truth @ se3.exp(np.array([0.02, 0.02, -0.02, 0.002, -0.002, 0.001]))
    for seed in range(40):
        rng = np.random.default_rng(seed)
        a, b = views(rng)
        a, b = a + rng.normal(0, 0.3, a.shape), b + rng.normal(0, 0.3, b.shape)
        b[:30] += rng.uniform(-100, 100, (30, 2))
        result = refine_motion(start, a, b, K_A, K_B, 1.5)
        assert result is not None
        assert result.inliers[30:].mean() > 0.98
        sigmas.append(result.sigma_px)
        moved = motion_deviations(result.T_b_a, a[30:], b[30:], K_A, K_B)
        error = five_numbers(result.T_b_a, truth)
        roots = np.array([five_numbers(T, result.T_b_a) for T in moved])
        covariance = 0.3**2 * roots.T @ roots
        squares.append(error @ np.linalg.pinv(covariance, rcond=1e-9) @ error)
    assert np.mean(sigmas) == pytest.approx(0.3, rel=0.1)
    assert 4.0 < np.mean(squares) < 7.0  # 5 degrees of freedom; 95 of 100 such means: 4.1 to 6.0


def test_a_refined_motion_has_unit_translation_however_long_that_of_its_start_is() -> None:
    a, b = views(np.random.default_rng(7), 40)
    start = T_B_A @ se3.exp(np.array([0.05, 0.05, -0.05, 0.005, -0.005, 0.002]))
    truth = T_B_A.copy()
    truth[:3, 3] /= np.linalg.norm(truth[:3, 3])
    for length in (0.1, 10.0):
        scaled = start.copy()
        scaled[:3, 3] *= length
        result = refine_motion(scaled, a, b, K_A, K_B, 20.0)
        assert result is not None
        np.testing.assert_allclose(result.T_b_a, truth, atol=1e-6)
        for moved in motion_deviations(result.T_b_a, a, b, K_A, K_B):
            assert np.linalg.norm(moved[:3, 3]) == pytest.approx(1.0, abs=1e-12)


def five_numbers(T: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return rotation (3) and direction (3, of which 2 are free) of T against a reference."""
    turn = se3.log_so3(T[:3, :3] @ reference[:3, :3].T)
    return np.concatenate([turn, T[:3, 3] - reference[:3, 3]])


def test_a_motion_without_translation_or_pairs_is_not_refined() -> None:
    a, b = views(np.random.default_rng(3), 7)
    assert refine_motion(T_B_A, a, b, K_A, K_B, 1.5) is None
    a, b = views(np.random.default_rng(3))
    assert refine_motion(np.eye(4), a, b, K_A, K_B, 1.5) is None
