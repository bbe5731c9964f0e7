# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from superpoint_ros.geometry import se3
from superpoint_ros.geometry.homography import (
    HomographyConfig,
    _residuals_and_jacobian,
    decompose_homography,
    estimate_homography,
    is_sane_homography,
    refine_homography,
    warp_points,
)

H_TRUE = np.array([[0.9, 0.1, 12.0], [-0.05, 1.1, -7.0], [2e-4, -1e-4, 1.0]])


def pairs(rng: np.random.Generator, count: int, noise_px: float) -> tuple[np.ndarray, np.ndarray]:
    a = rng.uniform([0, 0], [640, 480], (count, 2))
    return a, warp_points(H_TRUE, a) + rng.normal(0, noise_px, (count, 2))


def test_warp_of_a_known_point_and_of_the_horizon() -> None:
    H = np.array([[2.0, 0, 1], [0, 3, -1], [0.01, 0, 1]])
    np.testing.assert_allclose(warp_points(H, np.array([[10.0, 20.0]])), [[21 / 1.1, 59 / 1.1]])
    assert np.isnan(warp_points(H, np.array([[-100.0, 0.0], [-200.0, 0.0]]))).all()
    assert warp_points(H, np.empty((0, 2))).shape == (0, 2)


def test_exact_pairs_give_the_exact_map() -> None:
    a, b = pairs(np.random.default_rng(1), 30, 0.0)
    result = estimate_homography(a, b)
    assert result is not None
    assert np.linalg.det(result.H_b_a) == pytest.approx(1.0)
    np.testing.assert_allclose(result.H_b_a / result.H_b_a[2, 2], H_TRUE, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("forward_m", [1.3, 1.6])
def test_wrong_pairs_behind_the_camera_refuse_no_homography(forward_m: float) -> None:
    # A floor 1 m below, seen pitched down by 30 degrees; the camera walks over what it saw first.
    K = np.array([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
    R = se3.exp_so3(np.array([np.deg2rad(30.0), 0.0, 0.0]))  # R_cam_world, y down
    rng = np.random.default_rng(4)
    floor = np.column_stack([rng.uniform(-4, 4, 9000), np.ones(9000), rng.uniform(0.5, 9.0, 9000)])
    a, b = ((R @ (floor - [0.0, 0.0, z]).T).T @ K.T for z in (0.0, forward_m))
    pixels_a, pixels_b = a[:, :2] / a[:, 2:], b[:, :2] / b[:, 2:]
    seen_a = (a[:, 2] > 0.1) & (pixels_a >= 0).all(1) & (pixels_a < [640, 480]).all(1)
    seen_b = (b[:, 2] > 0.1) & (pixels_b >= 0).all(1) & (pixels_b < [640, 480]).all(1)
    both, passed = seen_a & seen_b, seen_a & (b[:, 2] < 0.0)
    assert both.sum() > 50
    assert passed.sum() >= 5
    wrong = rng.uniform([0, 0], [640, 480], (5, 2))
    result = estimate_homography(
        np.concatenate([pixels_a[both], pixels_a[passed][:5]]),
        np.concatenate([pixels_b[both], wrong]),
    )
    assert result is not None
    assert result.inliers.sum() == both.sum()


def test_half_outliers_and_noise() -> None:
    rng = np.random.default_rng(2)
    a, b = pairs(rng, 300, 0.7)
    b[150:] = rng.uniform([0, 0], [640, 480], (150, 2))
    result = estimate_homography(a, b)
    assert result is not None
    assert result.inliers[:150].mean() > 0.97
    assert result.inliers[150:].mean() < 0.02
    corners = np.array([[0.0, 0], [639, 0], [0, 479], [639, 479]])
    error = warp_points(result.H_b_a, corners) - warp_points(H_TRUE, corners)
    assert np.linalg.norm(error, axis=1).max() < 0.6
    error = (warp_points(result.H_b_a, a) - b)[result.inliers]
    assert result.rms_px == pytest.approx(np.sqrt((error**2).sum() / len(error)))
    assert result.rms_px == pytest.approx(0.7 * np.sqrt(2), rel=0.05)


def test_inliers_are_those_of_the_refined_map() -> None:
    a, b = pairs(np.random.default_rng(10), 200, 1.5)
    result = estimate_homography(a, b)
    assert result is not None
    error = np.linalg.norm(warp_points(result.H_b_a, a) - b, axis=1)
    np.testing.assert_array_equal(result.inliers, error < 3.0)


def test_refinement_ends_at_the_exact_map() -> None:
    a, b = pairs(np.random.default_rng(6), 40, 0.0)
    b[0] += [60.0, -40.0]  # Huber's loss bears it: some hundredths of a pixel
    start = H_TRUE + np.array([[0.01, -0.01, 3.0], [0.01, 0.01, -2.0], [1e-5, 1e-5, 0.0]])
    refined = refine_homography(start, a, b, 20, huber_px=0.01)
    np.testing.assert_allclose(warp_points(refined, a[1:]), b[1:], atol=0.05)


def test_refinement_ends_where_the_huber_loss_is_least() -> None:
    """Between images of different size, in pixels of the second; wrong pairs all pull one way."""
    zoom = np.diag([3.0, 3.0, 1.0])
    a, b = pairs(np.random.default_rng(9), 60, 0.5)
    b[:20] += [8.0, 3.0]
    b *= 3.0
    refined = refine_homography(zoom @ H_TRUE, a, b, 100, huber_px=2.0)

    def cost(corners: np.ndarray) -> float:
        H = cv2.getPerspectiveTransform(frame, corners.astype(np.float32))
        error = np.linalg.norm(warp_points(H, a) - b, axis=1)
        return float(np.where(error < 2.0, 0.5 * error**2, 2.0 * (error - 1.0)).sum())

    frame = np.array([[0, 0], [639, 0], [639, 479], [0, 479]], np.float32)
    found = warp_points(refined, frame)
    for k in range(8):
        step = np.zeros(8)
        step[k] = 0.1
        for moved in (found + step.reshape(4, 2), found - step.reshape(4, 2)):
            assert cost(moved) > cost(found)
    unmoved = refine_homography(zoom @ H_TRUE, a, b, 0, huber_px=2.0)
    np.testing.assert_allclose(warp_points(unmoved, a), 3.0 * warp_points(H_TRUE, a))


def test_the_same_input_gives_the_same_bits() -> None:
    rng = np.random.default_rng(3)
    a, b = pairs(rng, 200, 1.0)
    b[::3] = rng.uniform([0, 0], [640, 480], (67, 2))
    first, second = estimate_homography(a, b), estimate_homography(a, b)
    assert first is not None
    assert second is not None
    assert first.H_b_a.tobytes() == second.H_b_a.tobytes()


@pytest.mark.parametrize("spread_px", [0.5, 2.0])
def test_exact_pairs_almost_on_a_line_do_not_tell_the_map(spread_px: float) -> None:
    """RANSAC solves them; but less than a pixel beside the line noise would decide."""
    a, _ = pairs(np.random.default_rng(7), 60, 0.0)
    a[:, 1] = 0.5 * a[:, 0] + 3 + spread_px * np.random.default_rng(8).choice([-1.0, 1.0], 60)
    result = estimate_homography(a, warp_points(H_TRUE, a))
    assert (result is None) == (spread_px < 1.0)


def test_a_map_is_sane_where_all_its_points_keep_their_side() -> None:
    points = np.array([[10.0, 20.0], [600.0, 30.0], [300.0, 400.0]])
    assert is_sane_homography(H_TRUE, points)
    assert not is_sane_homography(np.diag([-1.0, 1.0, 1.0]), points)  # a mirror
    assert not is_sane_homography(np.diag([1e-5, 1e-5, 1.0]), points)  # all in one place
    assert not is_sane_homography(np.full((3, 3), np.nan), points)
    crossing = np.array([[1.0, 0, 0], [0, 1, 0], [-0.002, 0, 1]])  # the horizon is x = 500
    assert not is_sane_homography(crossing, points)
    assert is_sane_homography(crossing, points[[0, 2]])
    assert not is_sane_homography(H_TRUE, np.empty((0, 2)))


@pytest.mark.parametrize("case", ["line", "point", "collapse", "few", "noise", "mirror"])
def test_degenerate_data_gives_none(case: str) -> None:
    rng = np.random.default_rng(4)
    a, b = pairs(rng, 60, 0.0)
    if case == "line":
        a[:, 1] = 0.5 * a[:, 0] + 3
        b = warp_points(H_TRUE, a)
    elif case == "point":
        a[:], b[:] = a[0], b[0]
    elif case == "collapse":
        b = [300.0, 200.0] + 1e-5 * a
    elif case == "few":
        a, b = a[:11], b[:11]
    elif case == "noise":
        b = rng.uniform([0, 0], [640, 480], (60, 2))
    elif case == "mirror":
        b = np.column_stack([640 - a[:, 0], a[:, 1]])
    assert estimate_homography(a, b) is None


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="do not pair"):
        estimate_homography(np.zeros((5, 2)), np.zeros((4, 2)), HomographyConfig())


def test_jacobian_against_finite_differences() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(7, 2)), rng.normal(size=(7, 2))
    H = np.eye(3) + 0.1 * rng.normal(size=(3, 3))
    H /= H[2, 2]
    _, J = _residuals_and_jacobian(H, a, b)
    for k in range(8):
        step = np.zeros(9)
        step[k] = 1e-6
        plus, _ = _residuals_and_jacobian(H + step.reshape(3, 3), a, b)
        minus, _ = _residuals_and_jacobian(H - step.reshape(3, 3), a, b)
        np.testing.assert_allclose(J[:, :, k], (plus - minus) / 2e-6, atol=1e-6)


def test_decomposition_holds_the_true_motion_and_plane() -> None:
    K = np.array([[420.0, 0, 355], [0, 421, 250], [0, 0, 1]])
    T_b_a = se3.exp(np.array([0.2, -0.1, 0.05, 0.02, -0.1, 0.06]))
    normal, distance = np.array([0.1, -0.2, 1.0]) / np.linalg.norm([0.1, -0.2, 1.0]), 2.0
    H = K @ (T_b_a[:3, :3] + np.outer(T_b_a[:3, 3], normal) / distance) @ np.linalg.inv(K)
    expected = T_b_a.copy()
    expected[:3, 3] /= distance
    motions = decompose_homography(H, K)
    assert any(
        np.allclose(T, expected, atol=1e-6) and np.allclose(n, normal, atol=1e-6)
        for T, n in motions
    )
